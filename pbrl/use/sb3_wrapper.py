"""A vectorised environment of Stable-Baselines3 whose reward is a learned one."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from pbrl.use.load import reward_of
from pbrl.use.reward import Reward
from pbrl.use.wrapper import copied


class RewardVecEnvWrapper(VecEnvWrapper):
    """Gives learned rewards (n,) at each step; the environment's own are in `infos[i]["true_reward"]`.

    A `Monitor` or `VecMonitor` inside reports the environment's own return, one outside the learned one.

    Args:
        venv: with the spaces of the environment that the run learned in; UserError where they are others.
        reward: of `pbrl.load_reward`, a `Run`, or the folder of one.
    """

    def __init__(self, venv: VecEnv, reward: Reward | str | PathLike[str]) -> None:
        super().__init__(venv)
        self._reward = reward_of(reward)
        self._reward.check_spaces(venv.observation_space, venv.action_space, "the environment")
        self._before: Any = None
        self._actions: np.ndarray | None = None

    def reset(self) -> Any:
        obs = self.venv.reset()
        self._before = copied(obs)
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        obs, true_rewards, dones, infos = self.venv.step_wait()
        learned = self._reward(self._before, self._actions)
        for info, true_reward in zip(infos, true_rewards, strict=True):
            info["true_reward"] = float(true_reward)
        self._before = copied(obs)  # of a new episode where one has ended
        return obs, learned, dones, infos
