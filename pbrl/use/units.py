"""Observations and actions in the environment's own units, one or many, as pbrl's vectors; and actions back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from pbrl.agents.portable import task_spaces
from pbrl.errors import UserError
from pbrl.training.saved_run import SavedRun
from pbrl_envs.action_box import ActionBox
from pbrl_envs.flat_obs import FlatObs


class Units:
    """Converts between the spaces of an environment and the vectors that policies and rewards read.

    Args:
        obs_space, action_space: of the environment as Gymnasium has it; UserError where pbrl has no vector for them.
        where: whose they are, for messages.
        picture: observations are pictures, which stay as they are.
    """

    def __init__(
        self, obs_space: gym.Space[Any], action_space: gym.Space[Any], where: str, picture: bool = False
    ) -> None:
        self.obs_space, self.action_space, self.where = obs_space, action_space, where
        self._flat = None if picture else FlatObs(obs_space, where)
        self._box = ActionBox(action_space, where)

    @staticmethod
    def of_run(saved: SavedRun) -> Units:
        """Return the units of the run's environment; without one, of vectors and of actions in [-1, 1]."""
        if not saved.has_env:
            unit = spaces.Box(-1, 1, (saved.action_size,), np.float32)
            return Units(_any(saved.obs_shape), unit, str(saved.path), picture=len(saved.obs_shape) > 1)
        env = saved.make_env()
        obs_space, action_space = task_spaces(env)
        env.close()
        picture = len(saved.obs_shape) > 1  # of a wrapper that draws them: the task itself has a vector
        shown = env.observation_space if picture else obs_space
        return Units(shown, action_space, f"env={saved.config.env.name}", picture)

    def obs(self, value: Any) -> tuple[np.ndarray, bool]:
        """Return (M, *obs_shape) float32 of one observation or M of them, and whether there were several.

        UserError where it is neither; M observations have one more axis in front, in each part of a dictionary.
        """
        value = _arrays(self.obs_space, value, self._refuse)
        several = self._extra_axes(value) == 1
        if self._flat is None or isinstance(self.obs_space, spaces.Box):
            array = np.asarray(value, np.float32)
            array = array if several else array[None]
            flat = array if self._flat is None else array.reshape(len(array), -1)
            if not np.isfinite(flat).all():
                raise self._refuse("an observation that is not finite", "finite float32")
            return flat, several
        rows = list(_rows(self.obs_space, value)) if several else [value]
        size = self._flat.space.shape[0]
        return np.array([self._flat(row, self._refuse) for row in rows], np.float32).reshape(-1, size), several

    def unit_actions(self, actions: Any, count: int) -> np.ndarray:
        """Map actions (A,) or (M, A) in the environment's units to (M, A) float32 in [-1, 1]; count: M."""
        given = np.asarray(actions, np.float64)
        size = self._box.space.shape[0]
        if given.shape not in ((count, size), *(((size,),) if count == 1 else ())):
            raise self._refuse(f"actions of shape {given.shape}", f"({count}, {size})")
        return np.clip(self._box.unit(given.reshape(count, size)), -1, 1).astype(np.float32)

    def own_actions(self, unit: np.ndarray) -> np.ndarray:
        """Map actions (M, A) in [-1, 1] to the environment's units and type."""
        return self._box(unit)

    def require_same(self, obs_space: gym.Space[Any], action_space: gym.Space[Any], what: str) -> None:
        """Raise UserError where these are not the spaces of the run."""
        for name, ours, theirs in (
            ("observations", self.obs_space, obs_space),
            ("actions", self.action_space, action_space),
        ):
            if not _alike(ours, theirs):
                raise UserError(f"{what} has {name} {_short(theirs)}; {self.where} has {_short(ours)}")

    def _extra_axes(self, value: Any) -> int:
        found = {np.ndim(part) - len(space.shape or ()) for space, part in _leaves(self.obs_space, value)}
        if len(found) != 1 or not found <= {0, 1}:
            shapes = sorted({str(np.shape(part)) for _, part in _leaves(self.obs_space, value)})
            raise self._refuse(f"an observation of shape {' and '.join(shapes)}", f"one or several of {self.obs_space}")
        return found.pop()

    def _refuse(self, what: str, expected: str) -> UserError:
        return UserError(f"{self.where} was given {what}; expected {expected}")


def _leaves(space: gym.Space[Any], value: Any) -> Iterator[tuple[gym.Space[Any], Any]]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts: Any = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from _leaves(part, value[key])
    else:
        yield space, value


def _arrays(space: gym.Space[Any], value: Any, refuse: Any) -> Any:
    """Return the same, each part an array; UserError where the parts are others."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            keys = sorted(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise refuse(f"an observation with {keys}", f"a dictionary of {sorted(space.spaces)}")
        return {key: _arrays(part, value[key], refuse) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
            raise refuse(f"an observation of type {type(value).__name__}", f"a tuple of {len(space.spaces)}")
        return tuple(_arrays(part, one, refuse) for part, one in zip(space.spaces, value, strict=True))
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise refuse(f"an observation of type {array.dtype}", "numbers")
    if (shape := space.shape or ()) and array.shape[max(array.ndim - len(shape), 0) :] != shape:
        raise refuse(f"an observation of shape {array.shape}", f"{shape}, or (M, *{shape}) of several")
    return array


def _rows(space: gym.Space[Any], value: Any) -> Iterator[Any]:
    """Yield each of several observations by itself."""
    count = len(next(iter(_leaves(space, value)))[1])
    for i in range(count):
        yield _row(space, value, i)


def _row(space: gym.Space[Any], value: Any, i: int) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _row(part, value[key], i) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_row(part, one, i) for part, one in zip(space.spaces, value, strict=True))
    return value[i]


def _any(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def _alike(one: gym.Space[Any], other: gym.Space[Any]) -> bool:
    """Return whether spaces are equal, or boxes of one shape and the same ends: wrappers change the type of a box."""
    if isinstance(one, spaces.Box) and isinstance(other, spaces.Box):
        both = one.is_bounded() and other.is_bounded()
        return one.shape == other.shape and (
            not both or bool(np.allclose(one.low, other.low) and np.allclose(one.high, other.high))
        )
    if isinstance(one, spaces.Dict) and isinstance(other, spaces.Dict):
        return one.spaces.keys() == other.spaces.keys() and all(_alike(one[k], other[k]) for k in one.spaces)
    return one == other


def _short(space: gym.Space[Any]) -> str:
    words = " ".join(str(space).split())
    return words if len(words) <= 150 else f"{words[:147]}..."
