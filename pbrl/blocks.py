"""Work on many segments a block at a time, so that memory is bounded however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pbrl.types import SegmentPool, Segments

BLOCK_STEPS = 2**12  # an ensemble of three networks 256 wide takes 25 MB for so many steps, and is fast with so few


@dataclass(frozen=True)
class PartOf:
    """Some rows of a pool, in this order, which are still gathered only when they are asked for."""

    pool: SegmentPool
    rows: Tensor  # (N,)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Segments:
        return self.pool[self.rows[rows]]

    @property
    def steps(self) -> int:
        return self.pool.steps


def blocks(pool: SegmentPool) -> Iterator[Segments]:
    """All segments in order, at most BLOCK_STEPS steps at once."""
    size = max(1, BLOCK_STEPS // pool.steps)
    for first in range(0, len(pool), size):
        yield pool[slice(first, first + size)]


@torch.no_grad()
def score_in_blocks(score: Callable[[Segments], Tensor], pool: SegmentPool) -> Tensor:
    """What `score` makes of all segments, (..., N), without gradients."""
    return torch.cat([score(block) for block in blocks(pool)], dim=-1)
