"""Pure losses: tensors in, scalar out, each with the equation it implements."""

from __future__ import annotations

import torch
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
    return (((right > left) == (prefers_right > 0.5)) & decided).sum() / decided.sum()


def cpl_loss(left: Tensor, right: Tensor, prefers_right: Tensor, bias: float) -> Tensor:
    """-log e^win / (e^win + e^(bias * lose)) in soft-label form; CPL (Hejna et al. 2024), eqs. 5 and 9. Mean over B.

    left, right: (B,) sums of alpha * log pi. bias: lambda in (0, 1]; at 1 this is `bradley_terry_loss`, below 1 a
    losing segment is pushed away less than the winning one is pulled near.
    """
    right_wins = F.softplus(bias * left - right)
    left_wins = F.softplus(bias * right - left)
    return (prefers_right * right_wins + (1 - prefers_right) * left_wins).mean()


def ranked_cpl_loss(scores: Tensor, order: Tensor, bias: float) -> Tensor:
    """`cpl_loss` over all pairs of a batch whose teacher's scores differ; 0 where all are equal.

    scores: (N,) sums of alpha * log pi. order: (N,) what the teacher ranks by, higher = better.
    """
    wins = order[None, :] > order[:, None]  # (loser, winner): explicit, so that ties are no preference
    pairs = F.softplus(bias * scores[:, None] - scores[None, :])
    return (pairs * wins).sum() / wins.sum().clamp(min=1)


def expectile_square(error: Tensor, expectile: float) -> Tensor:
    """|expectile - 1(error < 0)| * error^2 of each error = target - prediction; IQL (Kostrikov et al. 2022), eq. 5."""
    return torch.where(error > 0, expectile, 1 - expectile) * error.square()


def discounted_sum(values: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """sum_t gamma^t values_t over the real steps: (..., T), mask (..., T) -> (...)."""
    values = values * mask
    if gamma == 1:
        return values.sum(-1)
    return values @ gamma ** torch.arange(values.shape[-1], dtype=values.dtype, device=values.device)
