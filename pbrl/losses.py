"""Pure losses: tensors in, scalar out, each with the equation it implements."""

from __future__ import annotations

import math

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
    """Return (1 - m) y + m (1 - y): a tie stays a tie."""
    return prefers_right + smoothing * (1 - 2 * prefers_right)


def preference_accuracy(left: Tensor, right: Tensor, prefers_right: Tensor) -> Tensor:
    """Share of decided comparisons (not ties) that the scores order as the teacher did; NaN if all are ties.

    Equal scores are half right, so that it does not matter which side is which. left, right: (..., B) scores.
    prefers_right: (B,) or (..., B).
    """
    prefers_right = prefers_right.expand_as(left)
    decided = prefers_right != 0.5
    ordered = ((right > left) == (prefers_right > 0.5)).to(left.dtype)
    return (torch.where(left == right, 0.5, ordered) * decided).sum() / decided.sum()


def cpl_loss(left: Tensor, right: Tensor, prefers_right: Tensor, bias: float, margin: float = 0.0) -> Tensor:
    """-log e^win / (e^win + e^(bias * lose + margin)), soft labels; CPL (Hejna et al. 2024), eqs. 5 and 9. Mean over B.

    left, right: (B,) sums of alpha * log pi. bias: lambda in (0, 1]; at 1 this is `bradley_terry_loss`, below 1 a
    losing segment is pushed away less than the winning one is pulled near. margin: by how much the winning one is to
    be ahead (SimPO, Meng et al. 2024).
    """
    right_wins = F.softplus(bias * left - right + margin)
    left_wins = F.softplus(bias * right - left + margin)
    return (prefers_right * right_wins + (1 - prefers_right) * left_wins).mean()


def ipo_loss(left: Tensor, right: Tensor, prefers_right: Tensor, gap: float) -> Tensor:
    """Return (right - left - gap * (2 y - 1))^2: a gap of scores no larger than asked for; IPO (Azar et al. 2024).

    Where answers are sure, the logistic loss drives scores apart for ever; here they end `gap` apart. Mean over B.
    """
    return (right - left - gap * (2 * prefers_right - 1)).square().mean()


def ranked_cpl_loss(scores: Tensor, order: Tensor, bias: float, margin: float = 0.0) -> Tensor:
    """`cpl_loss` over all pairs of a batch whose teacher's scores differ; 0 where all are equal.

    scores: (N,) sums of alpha * log pi. order: (N,) what the teacher ranks by, higher = better.
    """
    wins = order[None, :] > order[:, None]  # (loser, winner): explicit, so that ties are no preference
    pairs = F.softplus(bias * scores[:, None] - scores[None, :] + margin)
    return (pairs * wins).sum() / wins.sum().clamp(min=1)


LEAST_LOG_RATIO = -10.0
DIVERGENCES = ("reverse_kl", "forward_kl", "jensen_shannon")


def divergence_score(log_ratio: Tensor, divergence: str) -> Tensor:
    """f'(u) of u = pi / reference, the score of a step in f-DPO (Wang et al. 2024), less what is the same for all.

        reverse_kl: log u      forward_kl: 1 - 1 / u      jensen_shannon: log(2 u / (1 + u))

    Each is 0 at u = 1 and grows with u; forward_kl and jensen_shannon are bounded above, so that a preferred action
    gains little by being made ever more likely. Of forward_kl, ratios below e^-10 count as that.
    """
    if divergence == "forward_kl":
        return -torch.expm1(-log_ratio.clamp(min=LEAST_LOG_RATIO))
    if divergence == "jensen_shannon":
        return math.log(2) - F.softplus(-log_ratio)
    return log_ratio


def expectile_square(error: Tensor, expectile: float) -> Tensor:
    """|expectile - 1(error < 0)| * error^2 of each error = target - prediction; IQL (Kostrikov et al. 2022), eq. 5."""
    return torch.where(error > 0, expectile, 1 - expectile) * error.square()


def discounted_sum(values: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """sum_t gamma^t values_t over the real steps: (..., T), mask (..., T) -> (...)."""
    values = values * mask
    if gamma == 1:
        return values.sum(-1)
    return values @ gamma ** torch.arange(values.shape[-1], dtype=values.dtype, device=values.device)
