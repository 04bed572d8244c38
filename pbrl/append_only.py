"""Rows that are written once: what a checkpoint has of them, the next one need not write again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class AppendOnly:
    """Consecutive rows of a longer history, of which new ones come and the oldest may go, but none ever changes.

    A row has the same number for ever, counted over all that there ever were; whoever keeps rows sees to that.
    """

    array: np.ndarray  # (M, ...)
    first: int  # number of the oldest row
    start: int = 0  # where in the array it lies; the others follow it, from the end back to the front

    @property
    def end(self) -> int:
        """The number of the next row to come."""
        return self.first + len(self.array)

    def rows(self, begin: int, end: int) -> np.ndarray:
        """Return the rows with numbers from begin to end, in order."""
        if self.start == 0:
            return self.array[begin - self.first : end - self.first]
        return self.array[(self.start + np.arange(begin - self.first, end - self.first)) % len(self.array)]


def as_array(value: AppendOnly | np.ndarray | Any) -> Any:
    """The rows as they lie; of older checkpoints, which had plain arrays, the array itself."""
    return value.array if isinstance(value, AppendOnly) else value
