"""SB3's buffers with rewards that are learned, never the environment's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from pbrl.types import RewardFn

RELABEL_BLOCK = 65_536


class LearnedRewardBuffer(ReplayBuffer):
    """A replay buffer that stores the reward of `reward_fn`, and can be relabelled as a whole.

    Without a `reward_fn` it keeps what the environment gives. While `reward_at_sampling` is set, it decides the
    reward of each sampled observation instead: an intrinsic reward changes with every step.
    """

    reward_fn: RewardFn | None = None
    reward_at_sampling: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    def __len__(self) -> int:
        return self.buffer_size if self.full else self.pos

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        if self.reward_fn is not None:
            reward = self.reward_fn(obs, action)
        super().add(obs, next_obs, action, reward, done, infos)

    def relabel(self) -> None:
        """Gives every stored transition the reward of `reward_fn`."""
        size = len(self)
        if self.reward_fn is None or size == 0:
            return
        obs = self.observations[:size].reshape(size * self.n_envs, -1)
        actions = self.actions[:size].reshape(size * self.n_envs, -1)
        rewards = self.rewards[:size].reshape(-1)  # a view: the first rows of a contiguous array
        for i in range(0, len(rewards), RELABEL_BLOCK):
            block = slice(i, i + RELABEL_BLOCK)
            rewards[block] = self.reward_fn(obs[block], actions[block])

    def sample_arrays(self, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """obs (B, O), actions (B, A), next_obs (B, O), dones (B, 1) without time limits, rewards (B, 1)."""
        return self._rows(np.random.randint(0, len(self), size=batch_size))  # noqa: NPY002  as SB3: one global stream

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        return ReplayBufferSamples(*map(self.to_torch, self._rows(batch_inds)))

    def _rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        envs = np.random.randint(0, self.n_envs, size=len(rows)) if self.n_envs > 1 else 0  # noqa: NPY002
        obs = self.observations[rows, envs]
        if self.reward_at_sampling is None:
            rewards = self.rewards[rows, envs]
        else:
            stored = self.observations[: len(self)].reshape(-1, obs.shape[1])
            rewards = self.reward_at_sampling(obs, stored)
        dones = self.dones[rows, envs] * (1 - self.timeouts[rows, envs])
        return obs, self.actions[rows, envs], self.next_observations[rows, envs], dones[:, None], rewards[:, None]

    ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")

    def state_dict(self) -> dict[str, Any]:
        return {k: getattr(self, k)[: len(self)] for k in self.ARRAYS} | {"pos": self.pos, "full": self.full}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.ARRAYS:
            getattr(self, name)[: len(state[name])] = state[name]
        self.pos, self.full = int(state["pos"]), bool(state["full"])


class LearnedRewardRollout(RolloutBuffer):
    """A rollout buffer whose rewards are learned, computed once per rollout in one batch.

    SB3 adds the bootstrapped value of a time limit to the stored reward, so the learned one is added to it: the
    environment's own must be hidden (0) by the recorder.
    """

    reward_fn: RewardFn | None = None
    reward_at_sampling: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        shape = self.rewards.shape
        obs = self.observations.reshape(shape[0] * shape[1], -1)
        if self.reward_at_sampling is not None:
            self.rewards += self.reward_at_sampling(obs, obs).reshape(shape)
        elif self.reward_fn is not None:
            # The environment sees clipped actions, and so must the reward.
            actions = np.clip(self.actions, -1, 1).reshape(shape[0] * shape[1], -1)
            self.rewards += self.reward_fn(obs, actions).reshape(shape)
        super().compute_returns_and_advantage(last_values, dones)
