"""Choice of the triplets of videos to ask, and the triplets that a ranked list says."""

from __future__ import annotations

import torch
from torch import Tensor

from pbrl.data.videos import Triplets
from pbrl.errors import UserError


def uniform_triplets(videos: int, n: int, rng: torch.Generator) -> Tensor:
    """Draw rows (n, 3) of anchor, first and second: three different ones of `videos`, no question twice.

    Two candidates in the other order are the same question. UserError where there are fewer than n.
    """
    possible = videos * (videos - 1) * (videos - 2) // 2 if videos > 2 else 0
    if n > possible:
        raise UserError(f"{n} different triplets wanted of {videos} videos, which have {possible}")
    rows: dict[tuple[int, int, int], list[int]] = {}
    while len(rows) < n:
        anchor, first, second = torch.randperm(videos, generator=rng)[:3].tolist()
        rows.setdefault((anchor, min(first, second), max(first, second)), [anchor, first, second])
    return torch.tensor(list(rows.values()), dtype=torch.long).view(-1, 3)


def uniform_pairs(videos: int, n: int, rng: torch.Generator) -> Tensor:
    """Draw rows (n, 2) of left and right: two different ones of `videos`, no question twice.

    UserError where there are fewer than n.
    """
    possible = videos * (videos - 1) // 2
    if n > possible:
        raise UserError(f"{n} different pairs wanted of {videos} videos, which have {possible}")
    pairs = torch.triu_indices(videos, videos, offset=1).T[torch.randperm(possible, generator=rng)[:n]]
    swap = torch.rand(n, generator=rng) < 0.5
    return torch.where(swap[:, None], pairs.flip(1), pairs)


def triplets_around(anchor: int, order: Tensor) -> Triplets:
    """All n (n - 1) / 2 triplets of one anchor and n videos ranked from the closest to it to the farthest: (n,) rows.

    The closer one is the second in every other triplet, so that a model without an opinion is right in half of them.
    """
    near, far = order[torch.triu_indices(len(order), len(order), offset=1)]
    swap = torch.arange(len(near)) % 2 == 1
    first, second = torch.where(swap, far, near), torch.where(swap, near, far)
    return Triplets(torch.full_like(near, anchor), first, second, swap.float())


def triplets_from_ranking(order: Tensor) -> Triplets:
    """All n (n - 1) (n - 2) / 6 triplets of n videos ranked by preference, the best first: (n,) rows.

    Each is taken as anchor for those behind it: of two worse videos the better one is closer to it, as RAPL assumes
    of a ranked list (Tian et al. 2024).
    """
    if order.ndim != 1 or len(order) < 3:
        raise ValueError(f"a ranking of shape {tuple(order.shape)} makes no triplets, expected at least 3 videos")
    parts = [triplets_around(int(order[i]), order[i + 1 :]) for i in range(len(order))]
    columns = zip(*((p.anchor, p.first, p.second, p.closer_second) for p in parts), strict=True)
    return Triplets(*(torch.cat(column) for column in columns))
