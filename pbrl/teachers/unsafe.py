"""The teacher of safety: it says what is unsafe, by a factor of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pbrl.checks import finite_number, share
from pbrl.question_kinds import Rating, RatingAnswers, SegmentPair
from pbrl.questions import Question
from pbrl.teachers.levels import columns_of
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Segments


class UnsafeTeacher(Teacher):
    """Calls a segment unsafe if any step is; of two it prefers the one with fewer such steps, and as many are a tie.

    Args:
        factor: of the task, that a step is unsafe by.
        above: a step is unsafe where the factor is larger.
        mistake: probability that an answer is turned round.
        rng: of mistakes.
    """

    reads = "factors"
    kinds = (SegmentPair, Rating)

    def __init__(self, *, factor: str | None, above: float, mistake: float, rng: torch.Generator) -> None:
        share(mistake=mistake)
        finite_number(above=above)
        if factor is None:
            raise ValueError("factor=None: name the factor of the task that a step is unsafe by")
        self.factor, self.above, self.mistake, self.rng = factor, above, mistake, rng
        self.column = 0

    def use_factors(self, names: Sequence[str]) -> None:
        (self.column,) = columns_of([self.factor], names, "factor")

    def answer(self, left: Segments, right: Segments) -> Answers:
        gain = self._unsafe_steps(left) - self._unsafe_steps(right)
        return Answers(self._mistaken(0.5 + 0.5 * gain.sign()), torch.ones(len(left), dtype=torch.bool))

    def judge(self, questions: Question) -> Any:
        asked: Any = questions
        safe = self._mistaken((self._unsafe_steps(asked.segments) == 0).float())
        return RatingAnswers(asked.low + safe * (asked.high - asked.low), torch.ones(len(safe), dtype=torch.bool))

    def _unsafe_steps(self, segments: Segments) -> Tensor:
        if segments.factors is None:
            raise ValueError("teacher=unsafe was given segments without factors")
        return ((segments.factors[..., self.column] > self.above) * segments.mask).sum(1)

    def _mistaken(self, told: Tensor) -> Tensor:
        wrong = torch.rand(told.shape, generator=self.rng) < self.mistake
        return torch.where(wrong, 1 - told, told)
