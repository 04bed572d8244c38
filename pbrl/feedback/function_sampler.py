"""A Python function as the sampler: `queries=function queries.function=my_module.choose`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.errors import UserError
from pbrl.given import call, find, name_of
from pbrl.types import Comparisons, RewardModel, SegmentPool

TAKES = ("model", "left", "right", "n", "asked", "rng")


def by_function(
    model: RewardModel,
    left: SegmentPool,
    right: SegmentPool,
    n: int,
    asked: Comparisons | None,
    rng: torch.Generator,
    function: Callable[..., Any] | str,
) -> Tensor:
    """The rows that a function of the same arguments chooses, checked: at most n different ones of the candidates.

    function: (model, left, right, n, asked, rng) -> (<= n,) row numbers: an array, a tensor or a list. A config has
        the name by which Python imports it.
    """
    chosen = find(function, "queries.function", TAKES)
    name = f"queries.function={name_of(chosen)}"
    said = np.asarray(call(chosen, "queries.function", model, left, right, n, asked, rng))
    if said.ndim != 1 or (said.size and said.dtype.kind not in "iu"):
        raise UserError(f"{name} returned {said.dtype} of shape {said.shape}, expected whole numbers of shape (n,)")
    if len(said) > n or len(np.unique(said)) < len(said):
        raise UserError(f"{name} returned {len(said)} rows, expected at most {n} different ones")
    if said.size and not (said.min() >= 0 and said.max() < len(left)):
        raise UserError(f"{name} returned row {said.max() if said.min() >= 0 else said.min()} of {len(left)} pairs")
    return torch.as_tensor(said, dtype=torch.long)
