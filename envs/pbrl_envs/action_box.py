"""Map actions in [-1, 1] to the box of a task and back: its ends are reached, and nothing leaves it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from pbrl.errors import UserError

LARGEST_WHOLE = 2**53  # beyond it float64, in which actions are scaled, does not know every whole number


class ActionBox:
    """Scales actions (A,) in [-1, 1] to a box and back.

    Whole numbers are the nearest ones, and a component whose ends are the same keeps that value whatever the action.

    Args:
        space: of the task; UserError unless it is a bounded Box of one dimension.
        where: whose it is, as "env=NAME" or a folder, for that message.
    """

    space: spaces.Box  # [-1, 1], float32

    def __init__(self, space: Any, where: object) -> None:
        if problem := _problem(space):
            raise UserError(f"{where} has actions {describe(space)}; {problem}")
        self.space = spaces.Box(-1, 1, space.shape, np.float32)
        self._dtype, self._whole = space.dtype, space.dtype.kind != "f"
        self._low, self._high = (np.array(end, np.float64) for end in (space.low, space.high))
        self._middle = self._low / 2 + self._high / 2  # each by itself: their sum may overflow
        self._half = np.maximum(self._high - self._middle, self._middle - self._low)
        self._is_unit = is_unit(space)

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """Return the action (A,) inside the box, in the task's own type; always an array of its own."""
        action = np.minimum(np.maximum(action, -1.0), 1.0)
        if self._is_unit:
            return action.astype(np.float32)
        scaled = self._middle + self._half * action
        if self._whole:
            scaled = np.rint(scaled)
        return np.minimum(np.maximum(scaled, self._low), self._high).astype(self._dtype)  # what rounding did

    def unit(self, actions: np.ndarray) -> np.ndarray:
        """Return actions (..., A) of the task as float64 ones in [-1, 1]; those outside the box stay outside."""
        offset = np.asarray(actions, np.float64) - self._middle
        with np.errstate(divide="ignore", invalid="ignore"):  # of fixed components
            return np.where(offset == 0, 0.0, offset / self._half)


def is_unit(space: spaces.Space[Any]) -> bool:
    """Return whether it is [-1, 1] in float32, to the last bit; Gymnasium's == passes over a difference of 1e-5."""
    if not isinstance(space, spaces.Box) or space.dtype != np.float32:
        return False
    return bool((space.low == -1).all() and (space.high == 1).all())


def describe(space: Any) -> str:
    """A space in one line."""
    words = " ".join(str(space).split())
    return words if len(words) <= 150 else f"{words[:147]}..."


def _problem(space: Any) -> str | None:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not space.is_bounded():
        return "pbrl needs a bounded Box of one dimension"
    if space.shape[0] == 0:
        return "pbrl needs at least one number to act with"
    if space.dtype.kind != "f" and max(map(abs, (*space.low.tolist(), *space.high.tolist()))) > LARGEST_WHOLE:
        return "pbrl needs whole numbers within 2^53"
    return None
