"""Answers that say how much better: |2 y - 1| is 1 for "clearly", 1/2 for "slightly" (y = 0.75) and 0 for a tie."""

from __future__ import annotations

import torch
from torch import Tensor

from pbrl.checks import between
from pbrl.rewards.losses.loss import AnswerLoss, cross_entropy


class Margin(AnswerLoss):
    """-log s(gain - margin * strength): what is clearly better must be better by the margin.

    gain counts towards the preferred side; a tie has no margin and its usual loss. Touvron et al. 2023 (Llama 2),
    eq. 2, with people's own strengths.

    Args:
        margin: of a clear answer, in log odds.
    """

    strengths = True

    def __init__(self, *, margin: float) -> None:
        super().__init__()
        between(0, 100, margin=margin)
        self.margin = margin

    def forward(self, gain: Tensor, target: Tensor, peers: Tensor | None = None) -> Tensor:
        return cross_entropy(gain - self.margin * (2 * target - 1), decided(target))


class SoftLabels(AnswerLoss):
    """Cross-entropy to a probability for each strength, straight lines between: a tie is 1/2.

    Plain Bradley-Terry is slight = 0.75 and clear = 1; with 1 and 1 strengths count for nothing.

    Args:
        slight: how likely the side that was called slightly better is the better one.
        clear: the same of one that was called better.
    """

    strengths = True

    def __init__(self, *, slight: float, clear: float) -> None:
        super().__init__()
        between(0.5, 1, slight=slight, clear=clear)
        if slight > clear:
            raise ValueError(f"slight={slight}: expected at most clear={clear}")
        self.slight, self.clear = slight, clear

    def forward(self, gain: Tensor, target: Tensor, peers: Tensor | None = None) -> Tensor:
        return cross_entropy(gain, self.soft(target))

    def soft(self, target: Tensor) -> Tensor:
        strength = (2 * target - 1).abs()
        low = 0.5 + 2 * strength * (self.slight - 0.5)
        high = self.slight + (2 * strength - 1) * (self.clear - self.slight)
        sure = torch.where(strength < 0.5, low, high)
        return torch.where(target > 0.5, sure, 1 - sure)


def decided(target: Tensor) -> Tensor:
    """Return 1 or 0 for the preferred side; a tie stays 1/2."""
    return 0.5 + 0.5 * (target - 0.5).sign()
