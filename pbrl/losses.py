"""Pure losses: tensors in, scalar out, each with the equation it implements."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bradley_terry_loss(left: Tensor, right: Tensor, prefers_right: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of P(right > left) = sigmoid(right - left); Christiano et al. 2017, eq. 1. Mean over everything.

    left, right: (E, B) segment scores. prefers_right: (B,) or (E, B) in [0, 1], 0.5 is a tie.
    smoothing: the probability that a label is taken to be wrong; targets become (1 - m) y + m (1 - y).
    """
    logits = right - left  # (E, B)
    target = smooth_labels(prefers_right, smoothing)
    return F.binary_cross_entropy_with_logits(logits, target.expand_as(logits))


def smooth_labels(prefers_right: Tensor, smoothing: float) -> Tensor:
    """(1 - m) y + m (1 - y): a tie stays a tie."""
    return prefers_right + smoothing * (1 - 2 * prefers_right)


def preference_accuracy(left: Tensor, right: Tensor, prefers_right: Tensor) -> Tensor:
    """Share of decided comparisons (not ties) that the scores order as the teacher did; NaN if all are ties.

    left, right: (..., B) scores. prefers_right: (B,) or (..., B).
    """
    prefers_right = prefers_right.expand_as(left)
    decided = prefers_right != 0.5
    return ((right > left) == (prefers_right > 0.5))[decided].float().mean()
