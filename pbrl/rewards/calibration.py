"""Calibration of a reward: whether its probabilities mean what they say, and the one number that mends them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pbrl.losses import bradley_terry_loss

BINS = 10
COLDEST, HOTTEST = 0.05, 20.0


def expected_calibration_error(gain: Tensor, prefers_right: Tensor) -> float:
    """Return sum_b n_b / N |mean confidence - mean agreement| over ten equal bins of confidence (Guo et al. 2017).

    The confidence is that of the side which the scores prefer, from 1/2 to 1; agreement is how far the answer is that
    side, 1/2 for a tie, so that swapping sides changes nothing. Few answers make it too large: with n of them in a bin,
    even a perfect model is off by some 0.4 / sqrt(n).

    gain: (B,) score of the right side less that of the left. prefers_right: (B,) in [0, 1]. NaN without answers,
    and where a score is not finite.
    """
    if len(gain) == 0 or not gain.isfinite().all():
        return math.nan
    gain, prefers_right = gain.double(), prefers_right.double()
    confidence = torch.sigmoid(gain.abs())
    agreement = torch.where(gain > 0, prefers_right, 1 - prefers_right)
    agreement = torch.where(gain == 0, 0.5, agreement)
    bins = ((confidence - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    off = (
        torch.zeros_like(gain[:1]).repeat(BINS).index_add_(0, bins, confidence - agreement)
    )  # n_b times the difference
    return float(off.abs().sum() / len(gain))


def fit_temperature(gain: Tensor, prefers_right: Tensor) -> float:
    """Return the T with which sigmoid(gain / T) explains answers best, in [0.05, 20]; above 1 for too sure scores.

    Minimises the summed cross-entropy + (log T)^2 / 2: a handful of answers, all foreseen, is no reason to be sure of
    everything. Dividing by T changes no order, hence no accuracy. 1 without answers, NaN where a score is not finite.
    """
    from scipy.optimize import minimize_scalar

    if len(gain) == 0:
        return 1.0
    if not gain.isfinite().all():
        return math.nan
    gain, prefers_right = gain.double()[None], prefers_right.double()
    nothing = torch.zeros_like(gain)

    def cost(log_t: float) -> float:
        explained = bradley_terry_loss(nothing, gain / math.exp(log_t), prefers_right)
        return len(prefers_right) * float(explained) + log_t**2 / 2

    found = minimize_scalar(cost, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    return math.exp(found.x)


def calibration(gain: Tensor, prefers_right: Tensor) -> dict[str, float]:
    """Return `ece` as the scores are; `temperature`; and `calibrated_loss` and `calibrated_ece` with it.

    The last two divide each half of the answers by the temperature of the other half, so that no answer is judged by a
    number that it had a say in. NaN for fewer than two answers.
    """
    found = {
        "ece": expected_calibration_error(gain, prefers_right),
        "temperature": fit_temperature(gain, prefers_right),
    }
    if len(gain) < 2:
        return found | {"calibrated_loss": math.nan, "calibrated_ece": math.nan}
    cooled = gain.clone()
    for half in (slice(0, None, 2), slice(1, None, 2)):
        other = slice(1 - (half.start or 0), None, 2)
        cooled[half] = gain[half] / fit_temperature(gain[other], prefers_right[other])
    loss = float(bradley_terry_loss(torch.zeros_like(cooled)[None], cooled[None], prefers_right))
    return found | {"calibrated_loss": loss, "calibrated_ece": expected_calibration_error(cooled, prefers_right)}
