"""MO-Gymnasium: tasks whose reward is a vector, one number for each objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.errors import UserError
from pbrl_envs.registry import require, unknown
from pbrl_envs.wrap import wrap


class Objectives(gym.Wrapper):
    """Reports a vector of rewards as factors `objective_1`, `objective_2`, ...; the reward is their sum."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, given, terminated, truncated, info = self.env.step(action)
        rewards: Any = given
        named = {f"objective_{i}": float(value) for i, value in enumerate(np.atleast_1d(rewards), 1)}
        return obs, sum(named.values()), terminated, truncated, {**info, "factors": named}


def make_objectives(
    id: str,
    *,
    render_mode: str | None = None,
    width: int | None = None,
    height: int | None = None,
    max_episode_steps: int | None = None,
    factors: Mapping[str, str] | None = None,
) -> gym.Wrapper:
    """An environment of MO-Gymnasium with continuous actions.

    factors: what to add to `info["factors"]`, see `Factors`.
    """
    require("objectives", id)
    known = tasks()
    if id not in known:
        raise unknown("env.id", id, known, "`pbrl list envs objectives` shows all")
    size = {"width": width or 256, "height": height or 256} if render_mode and _draws_with_mujoco(id) else {}
    limit = gym.spec(id).max_episode_steps if max_episode_steps is None else max_episode_steps
    try:
        env = gym.make(id, render_mode=render_mode, max_episode_steps=-1, disable_env_checker=True, **size)
    except gym.error.DependencyNotInstalled as error:
        raise UserError(f"env.id={id} cannot be made: {error}") from error
    return wrap(Objectives(env), id, limit=limit, factors=factors)


def tasks() -> list[str]:
    """The ids of MO-Gymnasium that need nothing beyond it; those with finitely many actions are refused when made."""
    import mo_gymnasium  # noqa: F401  registers them

    entries = {spec.id: str(spec.entry_point) for spec in gym.registry.values()}
    ours = (id for id, entry in entries.items() if entry.startswith("mo_gymnasium.envs.mujoco"))
    current = (id for id in ours if not id.endswith("-v4"))  # which need an older MuJoCo
    return sorted([*current, *(id for id in entries if id.startswith("mo-mountaincarcontinuous"))])


def _draws_with_mujoco(id: str) -> bool:
    return "mujoco" in str(gym.spec(id).entry_point)
