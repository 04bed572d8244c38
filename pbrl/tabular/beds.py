"""Small test beds, one for each system: what it claims, shown beside its control in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Measured(NamedTuple):
    """The outcome of one arm in one case with one seed."""

    case: str  # as "expert wrong in 30 % of states"
    arm: str  # the system, or one of its controls
    value: float


@dataclass(frozen=True)
class Bed:
    """A test bed; `run(seed)` measures all its arms in all its cases, and depends on the seed alone."""

    claim: str
    task: str
    measure: str  # what the values are, as "share of starts that reach the goal"
    run: Callable[[int], Sequence[Measured]]
    seeds: int = 5  # unless told otherwise
