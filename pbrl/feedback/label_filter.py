"""RIME's filter (Cheng et al. 2024): the answers that a reward trusts, and those that it turns round."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pbrl.blocks import score_in_blocks
from pbrl.checks import between, positive, share, whole
from pbrl.types import Comparisons, Segments

TINY = 1e-8
FIRST_DOUBT, LAST_DOUBT = 3.0, 1.0  # beta before the first epoch, and after `doubt_epochs`


class Chosen(NamedTuple):
    """A choice among n answers; one both trusted and flipped is learned from twice, flipped both times, as released."""

    trusted: Tensor  # (n,) bool
    flipped: Tensor  # (n,) bool

    @property
    def rows(self) -> Tensor:
        """Return the rows to learn from."""
        return torch.cat([torch.nonzero(which).flatten() for which in (self.trusted, self.flipped)])


class LabelFilter:
    """Trusts answers that surprise the reward less than a bound, and turns round those that it finds impossible.

        bound = -ln(rho) + weight * rho + min(beta * v, widest),    beta = max(1, 3 - 2 t / doubt_epochs)

    The surprise is d = -ln P(answer). After each epoch t of the run, rho goes a little towards the largest d among the
    trusted answers, and v is the variance of all d that were ever trusted; before the first, everything is trusted.
    The paper has the standard deviation in place of v, and its released code the variance.

    Args:
        weight: alpha.
        widest: at most so much is added for uncertainty.
        doubt_epochs: over which beta falls from 3 to 1.
        pace: how far rho goes in an epoch.
        flip_below: an answer that is less probable than this is turned round.
    """

    def __init__(self, *, weight: float, widest: float, doubt_epochs: int, pace: float, flip_below: float) -> None:
        between(0, 100, weight=weight, widest=widest)
        whole(1, doubt_epochs=doubt_epochs)
        share(pace=pace)
        positive(flip_below=flip_below)
        share(0.5, flip_below=flip_below)
        self.weight, self.widest, self.doubt_epochs = weight, widest, doubt_epochs
        self.pace, self.flip_bound = pace, -math.log(flip_below)
        self.epoch, self.rho = 0, 0.0
        self.count, self.mean, self.variance = 0, 0.0, 1.0  # of what was ever trusted

    @property
    def bound(self) -> float:
        beta = max(LAST_DOUBT, FIRST_DOUBT - (FIRST_DOUBT - LAST_DOUBT) * self.epoch / self.doubt_epochs)
        return -math.log(self.rho + TINY) + self.weight * self.rho + min(beta * self.variance, self.widest)

    def choose(self, surprise: Tensor) -> Chosen:
        """Choose among answers. surprise: (n,) of them before an epoch."""
        return Chosen(surprise < self.bound, surprise > self.flip_bound)

    def note_learned(self, trusted: Tensor) -> None:
        """Note that an epoch over trusted answers of these surprises (n,) is over."""
        self.epoch += 1
        if (n := len(trusted)) == 0:
            return
        self.rho += self.pace * (float(trusted.max()) - self.rho)
        mean, total = float(trusted.mean()), self.count + n
        before = self.count * (self.variance + (self.mean - mean) ** 2)  # about the mean of the new ones
        about = (before + n * float(trusted.var(unbiased=False))) / total
        shift = self.count * (self.mean - mean) / total
        self.mean, self.variance, self.count = mean + shift, about - shift**2, total

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("epoch", "rho", "count", "mean", "variance")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def surprise(score: Callable[[Segments], Tensor], comparisons: Comparisons) -> Tensor:
    """Return the cross-entropy (n,) of the answers under the members' mean probability. score: (E, N) of segments."""
    left, right = (score_in_blocks(score, side) for side in (comparisons.left, comparisons.right))  # (E, n)
    probability = torch.sigmoid(right - left).mean(0)
    return torch.nn.functional.binary_cross_entropy(probability, comparisons.prefers_right, reduction="none")
