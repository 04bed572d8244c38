"""A Gymnasium environment whose reward is a learned one."""

from __future__ import annotations

from os import PathLike
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from pbrl.use.load import reward_of
from pbrl.use.reward import Reward


class RewardWrapper(gym.Wrapper):
    """Gives the learned reward at each step; what the environment gives itself is in `info["true_reward"]`.

    At a step that ends the MDP (`terminated`) the reward is that of the step; pbrl's agents value what follows at 0.

    Args:
        env: with the spaces of the environment that the run learned in; UserError where they are others.
        reward: of `pbrl.load_reward`, a `Run`, or the folder of one.
    """

    def __init__(self, env: gym.Env, reward: Reward | str | PathLike[str]) -> None:
        super().__init__(env)
        self._reward = reward_of(reward)
        self._reward.check_spaces(env.observation_space, env.action_space, "the environment")
        self._before: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._before = copied(obs)
        return obs, info

    def step(self, action: ArrayLike) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        obs, true_reward, terminated, truncated, info = self.env.step(action)
        learned = self._reward(self._before, action)
        self._before = copied(obs)
        return obs, learned, terminated, truncated, {**info, "true_reward": float(true_reward)}


def copied(obs: Any) -> Any:
    """Copy an observation: an environment may write into the one it gave."""
    if isinstance(obs, dict):
        return {key: copied(part) for key, part in obs.items()}
    if isinstance(obs, tuple):
        return tuple(copied(part) for part in obs)
    return np.array(obs)
