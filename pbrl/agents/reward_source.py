"""Rewards that are functions of observations and actions, as sources that drive an agent."""

from __future__ import annotations

import numpy as np
import torch

from pbrl.data.episodes import Episode
from pbrl.types import RewardFn, Steps


class StoredReward:
    """A `RewardSource` of a function of observations (M, O) and actions (M, A), computed once per step."""

    when = "stored"

    def __init__(self, reward: RewardFn) -> None:
        self.reward = reward

    def of_steps(self, steps: Steps) -> torch.Tensor:
        return torch.from_numpy(self.reward(steps.obs.numpy(), steps.actions.numpy()))

    def of_episode(self, episode: Episode) -> np.ndarray:
        return self.reward(episode.obs[:-1], episode.actions)
