"""Observations of any structure as one vector: checked, copied and never shared with the task."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces

from pbrl.errors import UserError
from pbrl_envs.action_box import describe

NUMBERS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
LARGEST_TABLE = 1_000  # numbers in rows that are not yet a picture
EXACT = 2**24  # up to here float32 knows every whole number

# A float64 beyond float32 is refused below, in one line; and the square of a number may be too large where it is not.
warnings.filterwarnings("ignore", message="overflow encountered in (cast|dot)", module=re.escape(__name__))

Refuse = Callable[[str, str], UserError]
"""The error for what was given and what was expected instead."""

Write = Callable[[np.ndarray, Any, Refuse], None]

_noted: set[str] = set()


def flat_space(space: Any, where: object) -> spaces.Box:
    """The float32 box (O,) of what `FlatObs` makes; UserError where the space is no vector.

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
    """Yield the spaces inside, with their places."""
    if isinstance(space, spaces.Dict):
        items = [(f"{name}[{key!r}]", part) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        items = [(f"{name}[{i}]", part) for i, part in enumerate(space.spaces)]
    else:
        yield name, space
        return
    for place, part in items:
        yield from _parts(part, place)


def _is_picture(space: spaces.Space[Any]) -> bool:
    """Colours of bytes, or large in any case; a few rows of numbers may be positions of several things."""
    shape = space.shape or ()
    colours = len(shape) == 3 and space.dtype == np.uint8
    return colours or (len(shape) > 1 and math.prod(shape) > LARGEST_TABLE)


class FlatObs:
    """Makes vectors (O,) float32 of observations: checked, copied and never shared with the task.

    The parts are in the space's order: Gymnasium sorts the keys of a Dict. Discrete numbers become one-hot.

    Args:
        space: of the task; UserError where it is no vector, see `flat_space`.
        where: whose it is, as "env=NAME", for messages.
    """

    def __init__(self, space: Any, where: object) -> None:
        self.space = flat_space(space, where)
        self._size = math.prod(self.space.shape)
        self._whole = isinstance(space, spaces.Box)  # no parts
        self._where = where
        self._write = self._part(space, 0, "an observation")

    def __call__(self, value: Any, refuse: Refuse) -> np.ndarray:
        vector = np.zeros(self._size, np.float32)
        self._write(vector, value, refuse)
        return vector

    def _part(self, space: Any, start: int, name: str) -> Write:
        """Return what writes the observation of this part into the vector, from this place on."""
        if isinstance(space, spaces.Box):
            return partial(self._write_numbers, space, slice(start, start + math.prod(space.shape)), name)
        if not isinstance(space, (spaces.Dict, spaces.Tuple)):
            return partial(_write_choice, space, start + _first_places(space), name)
        items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        writes: list[tuple[Any, Write]] = []
        for key, part in items:
            writes.append((key, self._part(part, start, f"{name}[{key!r}]")))
            start += spaces.flatdim(part)
        return partial(_write_parts, space, writes, name)

    def _write_numbers(
        self, space: spaces.Box, places: slice, name: str, vector: np.ndarray, value: Any, refuse: Refuse
    ) -> None:
        if not isinstance(value, np.ndarray):
            raise refuse(f"{name} of type {type(value).__name__}", f"a NumPy array of shape {space.shape}")
        if value.shape != space.shape:
            raise refuse(f"{name} of shape {value.shape}", f"{space.shape}")
        if value.dtype.kind not in "fiub":
            raise refuse(f"{name} of type {value.dtype}", "numbers")
        kept = vector if self._whole else vector[places]
        kept[:] = value if value.ndim == 1 else value.reshape(-1)
        if kept.dot(kept) < EXACT**2:  # which is quick: then all are finite, and whole numbers exact
            return
        if not (finite := np.isfinite(kept)).all():
            entry = int(np.flatnonzero(~finite)[0])
            raise refuse(f"{name} that is not finite: entry {entry} is {value.flat[entry]},", "finite float32")
        note_rounding(value, kept, self._where)


def note_rounding(given: np.ndarray, kept: np.ndarray, where: object) -> None:
    """Say, once for each `where`, that a whole number of an observation is another one in float32."""
    if given.dtype.kind not in "iu" or str(where) in _noted:
        return
    for place in np.flatnonzero(np.abs(kept) >= EXACT):
        number, rounded = int(given.flat[place]), int(kept.flat[place])
        if number != rounded:
            _noted.add(str(where))
            what = f"{where} has the whole number {number} in an observation, which is {rounded} in float32"
            print(f"pbrl: {what}; what is learned sees numbers beyond 2^24 rounded", file=sys.stderr, flush=True)
            return


def _write_parts(
    space: spaces.Dict | spaces.Tuple[Any],
    parts: Sequence[tuple[Any, Write]],
    name: str,
    vector: np.ndarray,
    value: Any,
    refuse: Refuse,
) -> None:
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            keys = sorted(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise refuse(f"{name} with {keys}", f"a dictionary of {sorted(space.spaces)}")
    elif not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
        raise refuse(f"{name} {value!r:.60}", f"a tuple of {len(space.spaces)}")
    for key, write in parts:
        write(vector, value[key], refuse)


def _write_choice(
    space: spaces.Space[Any], first: np.ndarray, name: str, vector: np.ndarray, value: Any, refuse: Refuse
) -> None:
    if not space.contains(value):
        raise refuse(f"{name} {value!r:.60}", f"one of {describe(space)}")
    numbers = np.asarray(value).reshape(-1)
    if isinstance(space, spaces.MultiBinary):
        vector[first] = numbers
    else:
        vector[first + numbers] = 1


def _first_places(space: Any) -> np.ndarray:
    """Return where the number 0 of each choice stands, in its one-hot; of bits, where each of them does."""
    if isinstance(space, spaces.MultiBinary):
        return np.arange(spaces.flatdim(space))
    if isinstance(space, spaces.Discrete):
        return np.array([-int(space.start)])
    sizes = space.nvec.reshape(-1).astype(np.int64)
    return np.cumsum(sizes) - sizes - space.start.reshape(-1).astype(np.int64)
