"""Answers of which an unknown share is wrong: the share is estimated along with the reward."""

from __future__ import annotations

import torch
from torch import Tensor

from pbrl.nets.devices import number
from pbrl.rewards.losses.loss import AnswerLoss, cross_entropy
from pbrl.rewards.losses.unbiased import require_flip_rate

LEAST, MOST = 0.001, 0.499  # of the estimate: at 0 all answers would be right for ever


class FlipEM(AnswerLoss):
    """Each answer counts as right with probability w and as wrong with 1 - w, as the model and its share h say.

        w = p h / (p h + (1 - p)(1 - h)),  L = -w log p - (1 - w) log(1 - p),  h <- mean w

    p is the model's probability of the answer. These are the E and M steps for labels that flip with probability 1 - h
    (Dawid and Skene 1979 for one annotator, with a model for the truth). Ties say nothing about flips and stay ties.
    A model that learns wrong answers by heart finds none: stop early, as for any fit to noisy answers.

    Args:
        flip_rate: 1 - h before the first answer.
        rate: how much of each batch's estimate is taken over.
    """

    flips: Tensor

    def __init__(self, *, flip_rate: float, rate: float) -> None:
        super().__init__()
        require_flip_rate(flip_rate, LEAST)
        if not 0 < rate <= 1:
            raise ValueError(f"rate={rate}: expected a number above 0, at most 1")
        self.rate = rate
        self.register_buffer("flips", torch.tensor(float(flip_rate)))

    def forward(self, gain: Tensor, target: Tensor, peers: Tensor | None = None) -> Tensor:
        right = self.weights(gain.detach(), target)
        decided = (target != 0.5).to(right.dtype)
        n = decided.sum()
        wrong = ((1 - right) * decided).sum() / n.clamp(min=1)
        self.flips += self.rate * (wrong - self.flips) * n.clamp(max=1)  # a batch of ties leaves it
        self.flips.clamp_(LEAST, MOST)
        return cross_entropy(gain, right * target + (1 - right) * (1 - target))

    def weights(self, gain: Tensor, target: Tensor) -> Tensor:
        """Return how likely each answer is to be right (E, b)."""
        says = torch.where(target > 0.5, gain, -gain)  # log odds of the answer
        return torch.sigmoid(says + torch.log1p(-self.flips) - torch.log(self.flips))

    def facts(self) -> dict[str, float]:
        return {"flip_rate": number(self.flips)}
