"""One number per segment from a factor's steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

OVER = ("mean", "max", "last")


def segment_values(factor: Tensor, mask: Tensor, over: str) -> Tensor:
    """Aggregate (N, T) over the real steps to (N,) float64, so that a scale changes no comparison.

    mean: the sum over T, so that the steps after an end count as 0, as rewards do there. max, last: of real steps.
    """
    factor = factor.double()
    if over == "mean":
        return (factor * mask).mean(1)
    if over == "max":
        return factor.masked_fill(mask == 0, -torch.inf).amax(1)
    return factor.gather(1, (mask.sum(1).long() - 1)[:, None]).squeeze(1)


def windows_of(factor: np.ndarray, steps: int) -> tuple[Tensor, Tensor]:
    """Cut (L,) of an episode into whole windows (n, steps) with their mask; a shorter episode is padded."""
    mask = np.ones_like(factor)
    if len(factor) < steps:
        factor, mask = (np.pad(x, (0, steps - len(x))) for x in (factor, mask))
    windows, masks = (torch.from_numpy(x[: len(x) // steps * steps].reshape(-1, steps)) for x in (factor, mask))
    return windows, masks
