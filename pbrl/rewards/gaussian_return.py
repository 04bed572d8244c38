"""A partial return whose rewards are Gaussians, so that answers which contradict each other make it unsure there."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pbrl.losses import preference_accuracy
from pbrl.nets.networks import StackedMLP, descend
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Comparisons, Segments

NARROWEST, WIDEST = -5.0, 3.0  # logarithms of a standard deviation


class GaussianReturn(PartialReturn):
    """r(s, a) ~ N(mu, sigma^2) independently at each step; what drives an agent is mu (PEARL's robust reward).

    The probability of an answer is the mean of sigmoid(d) over d ~ N(D, V), where D is the difference of the sums of mu
    and V the sum of all sigma^2 of both segments, in MacKay's approximation sigmoid(D / sqrt(1 + pi V / 8)). An answer
    that does not fit its neighbours is explained by a larger sigma rather than by another mu.

    Args:
        others: as for `PartialReturn`.
    """

    def __init__(self, *, rng: torch.Generator, **others: Any) -> None:
        super().__init__(rng=rng, **others)
        sizes = [self.obs_size + self.action_size, *others["hidden"], 1]
        self.log_spread = StackedMLP(others["members"], sizes, others["activation"], rng)
        both = [*self.net.parameters(), *self.log_spread.parameters()]
        self.optimizer = torch.optim.Adam(both, lr=others["lr"], fused=True)

    def reset(self) -> None:
        super().reset()
        self.log_spread.reset(self.rng)

    def own_variance(self, segments: Segments) -> Tensor:
        """Return the variance (E, b) of the sums of `own_score`: E * b segments, b for each member in turn."""
        e, t = self.members, segments.steps
        obs = segments.obs[:, :-1].reshape(e, -1, segments.obs.shape[-1])
        obs = self.norm(obs) if self.norm is not None else obs
        steps = torch.cat([obs, segments.actions.reshape(e, -1, segments.actions.shape[-1])], -1)
        log_spread = self.log_spread(steps).squeeze(-1).clamp(NARROWEST, WIDEST)
        return ((2 * log_spread).exp().view(e, -1, t) * segments.mask.view(e, -1, t)).sum(-1)

    def update(self, comparisons: Comparisons) -> dict[str, float]:  # type: ignore[override]
        """Take one gradient step. E * b comparisons are E batches of b, one for each member in turn."""
        left, right = self._crop(comparisons)
        target = comparisons.prefers_right.view(self.members, -1)
        scores = self.own_score(left), self.own_score(right)
        variance = self.own_variance(left) + self.own_variance(right)
        logits = expected_logit(scores[1] - scores[0], variance)
        loss = F.binary_cross_entropy_with_logits(logits, target + self.smoothing * (1 - 2 * target))
        descend(self.optimizer, self.members * loss)
        return {
            "loss": float(loss.detach()),
            "accuracy": float(preference_accuracy(scores[0].detach(), scores[1].detach(), target)),
            "spread": float(variance.detach().mean().sqrt()),
        }


def expected_logit(gain: Tensor, variance: Tensor) -> Tensor:
    """Return the logit of E[sigmoid(x)], x ~ N(gain, variance), approximately; MacKay 1992."""
    return gain / (1 + math.pi * variance / 8).sqrt()
