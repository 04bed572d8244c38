"""SB3's rollout buffer with rewards that are learned, never the environment's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from pbrl.agents.rewarding import rewards_of_episode, rewards_of_steps
from pbrl.errors import UserError
from pbrl.types import Episode, RewardSource, Steps


class LearnedRewardRollout(RolloutBuffer):
    """A rollout buffer whose rewards are learned, computed once per rollout in one batch.

    SB3 adds the bootstrapped value of a time limit to the stored reward, so the learned one is added to it: the
    environment's own must be hidden (0) by the recorder.

    A source of whole episodes is asked at the end of the rollout, about those that ended in it. What it gives to steps
    of an earlier rollout comes too late, which is refused.
    """

    source: RewardSource | None = None
    finished: Callable[[], list[list[Episode]]]  # by environment, the episodes that ended in this rollout

    @property
    def stored_obs(self) -> np.ndarray:
        """The observations (M, O) of the rollout."""
        return self.observations.reshape(self.buffer_size * self.n_envs, -1)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        if self.source is not None and self.source.when == "episode":
            self._add_of_episodes(self.source, dones)
        elif self.source is not None:
            obs = self.stored_obs
            # The environment sees clipped actions, and so must the reward.
            actions = np.clip(self.actions, -1, 1).reshape(len(obs), -1)
            rewards = rewards_of_steps(self.source, Steps(torch.from_numpy(obs), torch.from_numpy(actions)))
            self.rewards += rewards.reshape(self.rewards.shape)
        super().compute_returns_and_advantage(last_values, dones)

    def _add_of_episodes(self, source: RewardSource, dones: np.ndarray) -> None:
        last = np.concatenate([self.episode_starts[1:], np.asarray(dones)[None]]).astype(bool)  # (T, n_envs)
        episodes = [iter(ended) for ended in self.finished()]
        for row, env in np.argwhere(last):
            episode = next(episodes[env])
            rewards = rewards_of_episode(source, episode, len(episode))
            here = min(len(rewards), row + 1)
            if rewards[: len(rewards) - here].any():
                why = "all its steps are rewarded once it is over, when the first of them were learned from"
                say = "expected episodes of one length, of which it is a multiple"
                raise UserError(f"agent.n_steps={self.buffer_size}: an episode began a rollout earlier; {why}; {say}")
            self.rewards[row + 1 - here : row + 1, env] += rewards[len(rewards) - here :]
