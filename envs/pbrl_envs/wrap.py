"""The common tail of every suite: flat float32 observations, actions in [-1, 1], `info["success"]`, simulator state."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium as gym
from gymnasium.wrappers import TimeLimit

from pbrl.errors import UserError
from pbrl_envs.door import Door
from pbrl_envs.factors import Factors
from pbrl_envs.sim_state import SimState


def wrap(
    env: gym.Env,
    name: str,
    *,
    limit: int | None = None,
    model_fields: tuple[str, ...] | None = (),
    attributes: tuple[str, ...] = (),
    frame_size: tuple[int, int] | None = None,
    factors: Mapping[str, str] | None = None,
) -> gym.Wrapper:
    """Bring any environment to the shape that training relies on.

    limit: steps after which an episode is cut off here; None where the environment itself does so, if it does.
    model_fields, attributes: what the task changes outside MuJoCo's own state, see `SimState`.
    frame_size: (height, width) of rendered frames where the environment itself cannot be told.
    factors: expressions for `info["factors"]`, see `Factors`.
    """
    env = Door(env, name, limit)
    if limit is not None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise UserError(f"max_episode_steps={limit}: expected a whole number of at least 1")
        env = TimeLimit(env, limit)
    env = SimState(env, name, model_fields=model_fields, attributes=attributes, frame_size=frame_size)
    return Factors(env, factors, name) if factors else env
