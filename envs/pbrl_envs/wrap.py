"""The common tail of every suite: flat float32 observations, actions in [-1, 1], `info["success"]`, simulator state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, RescaleAction, TransformAction, TransformObservation

from pbrl.errors import UserError
from pbrl_envs.factors import Factors
from pbrl_envs.sim_state import SimState


def wrap(
    env: gym.Env,
    name: str,
    *,
    model_fields: tuple[str, ...] | None = (),
    attributes: tuple[str, ...] = (),
    frame_size: tuple[int, int] | None = None,
    factors: Mapping[str, str] | None = None,
) -> gym.Wrapper:
    """Bring any environment to the shape that training relies on.

    model_fields, attributes: what the task changes outside MuJoCo's own state, see `SimState`.
    frame_size: (height, width) of rendered frames where the environment itself cannot be told.
    factors: expressions for `info["factors"]`, see `Factors`.
    """
    spaces_of_task = env.observation_space, env.action_space
    env = _flat_observations(env, name)
    env = _unit_actions(env, name)
    env = Success(env)
    env = SimState(env, name, model_fields=model_fields, attributes=attributes, frame_size=frame_size)
    env.set_wrapper_attr("task_spaces", spaces_of_task)  # a policy that leaves pbrl has these again
    return Factors(env, factors) if factors else env


class Success(gym.Wrapper):
    """`info["success"]` as a float, also where the suite calls it `is_success`."""

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        success = info.get("success", info.get("is_success"))
        if success is not None:
            info["success"] = float(success)
        return obs, float(reward), bool(terminated), bool(truncated), info


def _flat_observations(env: gym.Env, name: str) -> gym.Env:
    if isinstance(env.observation_space, (spaces.Dict, spaces.Tuple)):
        env = FlattenObservation(env)  # in the space's order: Gymnasium sorts the keys of a Dict
    space = env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise UserError(f"env={name} has observations {space}; pbrl needs a vector (Box of one dimension)")
    if space.dtype == np.float32:
        return env
    as_float32 = spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return TransformObservation(env, lambda obs: obs.astype(np.float32), as_float32)


def _unit_actions(env: gym.Env, name: str) -> gym.Env:
    space = env.action_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not space.is_bounded():
        raise UserError(f"env={name} has actions {space}; pbrl needs a bounded Box of one dimension")
    if (space.low != -1).any() or (space.high != 1).any():
        env = RescaleAction(env, np.float32(-1), np.float32(1))
    if env.action_space.dtype != np.float32:
        env = TransformAction(env, np.asarray, spaces.Box(-1, 1, space.shape, np.float32))
    return env
