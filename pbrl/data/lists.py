"""Answered lists of segments: rankings, and segments judged one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pbrl.types import Comparisons, Segments


@dataclass(frozen=True)
class Lists:
    """B lists of k segments. Of a ranking the best comes first; one alone was judged, from 0 (bad) to 1 (good)."""

    segments: Segments  # B * k, list after list
    told: Tensor  # (B,) the judgement; 1 of a ranking
    k: int

    def __len__(self) -> int:
        return len(self.told)

    def __getitem__(self, rows: Tensor) -> Lists:
        return Lists(self.segments[(rows[:, None] * self.k + torch.arange(self.k)).flatten()], self.told[rows], self.k)

    @property
    def items(self) -> tuple[Segments, ...]:
        """Return the items, k times B segments."""
        return tuple(self.segments[torch.arange(j, len(self.segments), self.k)] for j in range(self.k))

    @property
    def all_alike(self) -> bool:
        """Whether they tell no segment from another: there are none, or all were judged alone and alike."""
        return len(self) == 0 or (self.k == 1 and bool((self.told == self.told[0]).all()))

    @staticmethod
    def cat(parts: Sequence[Lists]) -> Lists:
        return Lists(Segments.cat([p.segments for p in parts]), torch.cat([p.told for p in parts]), parts[0].k)

    def pairs(self) -> Comparisons:
        """The comparisons that follow, the better one on the left: all of a ranking; each good one with a bad one."""
        if self.k > 1:
            better, worse = torch.triu_indices(self.k, self.k, 1)
            first = torch.arange(len(self))[:, None] * self.k
            left, right = (first + better).flatten(), (first + worse).flatten()
        else:
            good, bad = (torch.nonzero(side).flatten() for side in (self.told > 0.5, self.told < 0.5))
            n = max(len(good), len(bad)) if len(good) and len(bad) else 0
            left, right = (side[torch.arange(n) % max(len(side), 1)] for side in (good, bad))
        nobody = torch.zeros(len(left), dtype=torch.long)
        return Comparisons(self.segments[left], self.segments[right], torch.zeros(len(left)), nobody)
