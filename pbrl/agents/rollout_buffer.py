"""SB3's rollout buffer with rewards that are learned, never the environment's."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from pbrl.nets.devices import array
from pbrl.types import RewardSource, Steps


class LearnedRewardRollout(RolloutBuffer):
    """A rollout buffer whose rewards are learned, computed once per rollout in one batch.

    SB3 adds the bootstrapped value of a time limit to the stored reward, so the learned one is added to it: the
    environment's own must be hidden (0) by the recorder.
    """

    source: RewardSource | None = None

    @property
    def stored_obs(self) -> np.ndarray:
        """(M, O) those of the rollout."""
        return self.observations.reshape(self.buffer_size * self.n_envs, -1)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        if self.source is not None:
            obs = self.stored_obs
            # The environment sees clipped actions, and so must the reward.
            actions = np.clip(self.actions, -1, 1).reshape(len(obs), -1)
            rewards = self.source.of_steps(Steps(torch.from_numpy(obs), torch.from_numpy(actions)))
            self.rewards += array(rewards).reshape(self.rewards.shape)
        super().compute_returns_and_advantage(last_values, dones)
