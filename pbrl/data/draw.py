"""Random pairs of things that are never the same thing twice."""

from __future__ import annotations

import torch
from torch import Tensor


def distinct_pairs(things: int, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rows (n,) left and (n,) right of `things`, each ordered pair of different ones equally likely.

    ValueError: fewer than two things.
    """
    if things < 2:
        raise ValueError(f"a pair compares two different things, and there {'is one' if things else 'are none'}")
    left = torch.randint(things, (n,), generator=rng)
    right = torch.randint(things - 1, (n,), generator=rng)
    return left, right + (right >= left)  # among the others: those from `left` on move up by one
