"""Segments judged one at a time: good or bad."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pbrl.data.lists import Lists
from pbrl.nets.devices import number
from pbrl.question_kinds import Rating
from pbrl.questions import Question, States
from pbrl.rewards.losses.loss import ListLoss, cross_entropy
from pbrl.types import Segments


class Thumbs(ListLoss):
    """Cross-entropy of P(good) = sigmoid(s - d), with d the running mean of the scores (BCO, Jung et al. 2024).

    Args:
        rate: how much of each batch's mean is taken over into d.
    """

    asks = Rating
    items = 1
    shift: Tensor

    def __init__(self, *, rate: float) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(f"rate={rate}: expected a number above 0, at most 1")
        self.rate = rate
        self.register_buffer("shift", torch.zeros(()))

    def question(self, items: tuple[Segments, ...], states: States) -> Question:
        return Rating(items[0], scale="thumbs", low=0.0, high=1.0, states=states)

    def of_lists(self, scores: Tensor, told: Tensor) -> Tensor:
        self.shift += self.rate * (scores.detach().mean() - self.shift)
        return cross_entropy(scores[..., 0] - self.shift, told)

    def read(self, questions: Any, values: Tensor) -> Lists:
        told = (values[:, 0] - questions.low) / (questions.high - questions.low)
        return Lists(questions.segments, told.float(), 1)

    def accuracy(self, scores: Tensor, told: Tensor) -> float:
        said = (told != 0.5).float()
        right = ((scores[..., 0] > self.shift) == (told > 0.5)).float() * said
        return number(right.sum() / said.sum())

    def facts(self) -> dict[str, float]:
        return {"shift": number(self.shift)}
