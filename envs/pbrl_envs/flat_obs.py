"""Observations of any structure as one vector: checked, copied and never shared with the task."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from pbrl.errors import UserError
from pbrl_envs.action_box import describe

NUMBERS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
LARGEST_TABLE = 1_000  # numbers in rows that are not yet a picture

# A float64 beyond float32 is refused below, in one line; and the square of a number may be too large where it is not.
warnings.filterwarnings("ignore", message="overflow encountered in (cast|dot)", module=re.escape(__name__))

Refuse = Callable[[str, str], UserError]
"""The error for what was given and what was expected instead."""


def flat_space(space: Any, where: object) -> spaces.Box:
    """The float32 box (O,) of what `flatten` returns; UserError where the space is no vector.

    Discrete numbers become one-hot. Pictures among other parts are refused, before they are asked for memory.
    """
    for name, part in _parts(space, "observation"):
        if part is not space and _is_picture(part):
            raise UserError(f"{where} has a picture, {name} {describe(part)}; pbrl needs numbers that make one vector")
        if not isinstance(part, NUMBERS):
            raise UserError(f"{where} has {name} {describe(part)}; pbrl needs numbers that make one vector")
    if not isinstance(space, spaces.Box):
        space = spaces.flatten_space(space)
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.shape[0] == 0:
        raise UserError(f"{where} has observations {describe(space)}; pbrl needs a vector (Box of one dimension)")
    with np.errstate(over="ignore"):  # the ends of float64 become infinite
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)


def _parts(space: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The spaces inside, with their places."""
    if isinstance(space, spaces.Dict):
        items = [(f"{name}[{key!r}]", part) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        items = [(f"{name}[{i}]", part) for i, part in enumerate(space.spaces)]
    else:
        yield name, space
        return
    for place, part in items:
        yield from _parts(part, place)


def _is_picture(space: spaces.Space) -> bool:
    """Colours of bytes, or large in any case; a few rows of numbers may be positions of several things."""
    shape = space.shape or ()
    colours = len(shape) == 3 and space.dtype == np.uint8
    return colours or (len(shape) > 1 and math.prod(shape) > LARGEST_TABLE)


def flatten(space: Any, value: Any, refuse: Refuse, what: str = "an observation") -> np.ndarray:
    """A vector (O,) float32 of its own, the parts in the space's order: Gymnasium sorts the keys of a Dict."""
    if isinstance(space, spaces.Box):
        return _numbers(space, value, refuse, what)
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            keys = sorted(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise refuse(f"{what} with {keys}", f"a dictionary of {sorted(space.spaces)}")
        parts = [flatten(part, value[key], refuse, f"{what}[{key!r}]") for key, part in space.spaces.items()]
        return np.concatenate(parts)
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
            raise refuse(f"{what} {value!r:.60}", f"a tuple of {len(space.spaces)}")
        parts = [flatten(part, value[i], refuse, f"{what}[{i}]") for i, part in enumerate(space.spaces)]
        return np.concatenate(parts)
    if not space.contains(value):
        raise refuse(f"{what} {value!r:.60}", f"one of {describe(space)}")
    return spaces.flatten(space, value).astype(np.float32)  # type: ignore[union-attr]


def _numbers(space: spaces.Box, value: Any, refuse: Refuse, what: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise refuse(f"{what} of type {type(value).__name__}", f"a NumPy array of shape {space.shape}")
    if value.shape != space.shape:
        raise refuse(f"{what} of shape {value.shape}", f"{space.shape}")
    if value.dtype.kind not in "fiub":
        raise refuse(f"{what} of type {value.dtype}", "numbers")
    copy = np.array(value, np.float32).reshape(-1)
    # The sum of squares first, which is quick: where it is finite, all are.
    if not math.isfinite(copy.dot(copy)) and not (finite := np.isfinite(copy)).all():
        entry = int(np.flatnonzero(~finite)[0])
        raise refuse(f"{what} that is not finite: entry {entry} is {value.flat[entry]},", "finite float32")
    return copy
