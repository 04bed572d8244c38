"""Work on many segments a block at a time, so that memory is bounded however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pbrl.nets.devices import brought
from pbrl.types import SegmentPool, Segments

Score = Callable[[Segments], Tensor]
"""Segments -> (..., N)."""

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


class ScoredOnce:
    """A pool that keeps the last scores made of it: several who ask the same of it share one pass.

    Whoever holds one sees to it that what scores does not learn meanwhile.
    """

    def __init__(self, pool: SegmentPool) -> None:
        self.pool = pool
        self.known: tuple[Score, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, rows: Any) -> Segments:
        return self.pool[rows]

    @property
    def steps(self) -> int:
        return self.pool.steps


def blocks(pool: SegmentPool) -> Iterator[Segments]:
    """Yield all segments in order, at most BLOCK_STEPS steps at once."""
    size = max(1, BLOCK_STEPS // pool.steps)
    for first in range(0, len(pool), size):
        yield pool[slice(first, first + size)]


def padded(rows: Tensor) -> Tensor:
    """Pad rows (M, D) with zeros up to a power of two: for each new number torch would compile products anew."""
    more = (1 << max(len(rows) - 1, 0).bit_length()) - len(rows)
    return torch.nn.functional.pad(rows, (0, 0, 0, more)) if more and len(rows) else rows


@torch.no_grad()
def score_in_blocks(score: Score, pool: SegmentPool) -> Tensor:
    """Return what `score` makes of all segments, (..., N), without gradients."""
    whole = pool.pool if isinstance(pool, PartOf) else pool
    if isinstance(whole, ScoredOnce) and whole.known is not None and whole.known[0] == score:
        return whole.known[1][..., pool.rows] if isinstance(pool, PartOf) else whole.known[1]
    scores = torch.cat([brought(score(block), block.obs.device) for block in blocks(pool)], dim=-1)
    if isinstance(pool, ScoredOnce):
        pool.known = score, scores
    return scores
