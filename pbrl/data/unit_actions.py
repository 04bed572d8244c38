"""Actions of recordings in [-1, 1], in which pbrl's policies act: from their own range, or as a choice one of n."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbrl.errors import UserError

OF_DATA = "data"
DISCRETE = "discrete"
ROUNDING = 1e-5  # by how much of its range an action may be outside for having been rounded to float32
BLOCK = 1 << 16  # rows at a time
HOW = (
    "actions=low,high scales that range to -1..1, actions=data the smallest and largest of the data, clip=true cuts off"
)


@dataclass(frozen=True)
class ActionRange:
    """The range of each number of an action: what becomes -1 and what becomes 1."""

    low: np.ndarray  # (A,) or ()
    high: np.ndarray  # (A,) or ()

    def unit(self, actions: np.ndarray) -> np.ndarray:
        """Scale actions to (L, A) float32 in [-1, 1]; a number that never changes becomes 0."""
        middle = self.low / 2 + self.high / 2  # each by itself: their sum may overflow
        offset = actions.astype(np.float64) - middle
        with np.errstate(divide="ignore", invalid="ignore"):  # of what never changes
            return np.where(offset == 0, 0, offset / np.maximum(self.high - middle, middle - self.low)).astype(
                np.float32
            )

    def describe(self, size: int) -> dict[str, list[float]]:
        """Describe it for meta.json."""
        return {name: np.broadcast_to(getattr(self, name), size).tolist() for name in ("low", "high")}


def parse_actions(text: str | None) -> ActionRange | str | int | None:
    """Parse `low,high`, `low:high,low:high,...` with a range for each number, `data`, `discrete` or `discrete:N`.

    Returns the range, "data", "discrete", N, or None where nothing was given.
    """
    if text is None or text in (OF_DATA, DISCRETE):
        return text
    if text.startswith(f"{DISCRETE}:") and text.split(":")[1].isdecimal() and int(text.split(":")[1]) > 1:
        return int(text.split(":")[1])
    try:
        if ":" in text:
            low, high = zip(*([float(n) for n in part.split(":", 1)] for part in text.split(",")), strict=True)
        else:
            low, high = (float(n) for n in text.split(","))  # type: ignore[assignment]
        found = ActionRange(np.array(low), np.array(high))
        if (found.low < found.high).all() and all(map(math.isfinite, [*np.ravel(low), *np.ravel(high)])):
            return found
    except ValueError:
        pass
    raise UserError(
        f"actions={text}: expected low,high as -2,2, a range for each number as -2:2,0:1, data, discrete or discrete:N"
    )


def scale_rows(
    rows: np.ndarray,
    wanted: ActionRange | str | int | None,
    said: ActionRange | None,
    clip: bool,
    where: str,
    name_row: Callable[[int], str],
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """Scale the actions (M, A) of all episodes, in place and block by block; return them and meta.json's word on it.

    Choices (M, 1) of whole numbers become a new array (M, n) with a 1 at what was chosen. meta.json has no word (None)
    where nothing was scaled. UserError for actions outside of the range, unless `clip`.

    wanted: what the user said. said: what the file says of the range. name_row: where a row is, in words.
    """
    if rows.dtype.kind in "iu" or wanted == DISCRETE or isinstance(wanted, int):
        return _one_of_n(rows, wanted, where)
    found = said if wanted is None else wanted
    if wanted == OF_DATA:
        found = ActionRange(_blockwise(rows, np.min), _blockwise(rows, np.max))
    if not isinstance(found, ActionRange):
        _bring_inside(rows, None, clip, where, name_row)
        return rows, None
    size = rows.shape[1]
    if found.low.ndim and len(found.low) != size:
        raise UserError(f"{where}: actions have {size} numbers, actions= gives {len(found.low)} ranges")
    _bring_inside(rows, found, clip, where, name_row)
    return rows, found.describe(size)


def _bring_inside(
    rows: np.ndarray, scale: ActionRange | None, clip: bool, where: str, name_row: Callable[[int], str]
) -> None:
    for begin in range(0, len(rows), BLOCK):
        block = rows[begin : begin + BLOCK]
        unit = block if scale is None else scale.unit(block)
        limit = 1 if clip else 1 + ROUNDING
        wrong = ~np.isfinite(unit) | ((np.abs(unit) > limit) & (not clip))
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            valid = "-1 to 1" if scale is None else _range_of(scale, column)
            found = f"action[{column}] of {name_row(begin + row)} is {block[row, column]:g}"
            raise UserError(f"{where}: {found}, expected {valid}; {HOW}")
        rows[begin : begin + BLOCK] = np.clip(unit, -1, 1)


def _range_of(scale: ActionRange, column: int) -> str:
    low, high = (float(end if end.ndim == 0 else end[column]) for end in (scale.low, scale.high))
    return f"{low:g} to {high:g}"


def _one_of_n(rows: np.ndarray, wanted: Any, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    chosen = rows.astype(np.int64)
    if wanted not in (None, DISCRETE) and not isinstance(wanted, int):
        raise UserError(f"{where}: actions are choices, whole numbers; valid are actions=discrete and discrete:N")
    if rows.shape[1] != 1 or (chosen != rows).any() or (chosen < 0).any():
        raise UserError(f"{where}: actions are no choices, which are one whole number from 0 each; {HOW}")
    n = wanted if isinstance(wanted, int) else max(int(chosen.max()) + 1, 2)
    if chosen.max() >= n:
        raise UserError(
            f"{where}: an action is {chosen.max()}, expected a choice below {n} as actions=discrete:{n} says"
        )
    if n > 4096:
        raise UserError(f"{where}: an action is {chosen.max()}, expected one of at most 4096 choices")
    return (chosen == np.arange(n)).astype(np.float32), {"discrete": n}


def _blockwise(rows: np.ndarray, reduce: Any) -> np.ndarray:
    parts = [reduce(rows[begin : begin + BLOCK], axis=0) for begin in range(0, len(rows), BLOCK)]
    return reduce(np.stack(parts), axis=0).astype(np.float64)
