"""Answers of which a known share is wrong: a loss that is right on average."""

from __future__ import annotations

from torch import Tensor

from pbrl.rewards.losses.loss import AnswerLoss, cross_entropy


class Unbiased(AnswerLoss):
    """[(1 - e) l(y) - e l(1 - y)] / (1 - 2 e), whose mean over flips of y with probability e is l of the true answer.

    Natarajan et al. 2013, lemma 1; for preferences Chowdhury et al. 2024. It has no lower bound: a pair whose answer
    the model explains well enough is worth making surer for ever, so end the fit early (`method.fit.stop_accuracy`, or
    `patience` with held-out answers) or bound the reward (`method.model.head=tanh`).

    Args:
        flip_rate: e, the probability that an answer is the wrong way round, below 1/2.
    """

    def __init__(self, *, flip_rate: float) -> None:
        super().__init__()
        require_flip_rate(flip_rate)
        self.flip_rate = flip_rate

    def forward(self, gain: Tensor, target: Tensor, peers: Tensor | None = None) -> Tensor:
        # The cross-entropy is linear in its target, so the mixture of two is that of one target outside [0, 1].
        return cross_entropy(gain, (target - self.flip_rate) / (1 - 2 * self.flip_rate))


def require_flip_rate(flip_rate: float, least: float = 0.0) -> None:
    """Raise ValueError unless it is a probability from `least` to below 1/2: with more, answers say the opposite."""
    number = isinstance(flip_rate, (int, float)) and not isinstance(flip_rate, bool)
    if not number or not least <= flip_rate < 0.5:
        raise ValueError(f"flip_rate={flip_rate}: expected a probability of at least {least:g} and below 0.5")
