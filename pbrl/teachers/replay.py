"""Answers from a label set, in the order of the file: what a person once said teaches another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.errors import UserError
from pbrl.feedback.replay import ReplayDesk
from pbrl.labels.sets import load_label_set
from pbrl.question_kinds import SegmentPair
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Segments


class ReplayTeacher(Teacher):
    """Brings its questions along: the pairs of the file are asked instead of new ones.

    Args:
        labels: folder of a label set, as `pbrl labels export` makes it.
    """

    desk = ReplayDesk
    at_once = False

    def __init__(self, labels: str | None, rng: torch.Generator) -> None:
        if labels is None:
            raise UserError("labels=None: teacher=replay needs it, the folder of a label set from pbrl labels export")
        self.labels = load_label_set(Path(labels))
        if self.labels.questions.kind != SegmentPair.kind:
            kind = self.labels.questions.kind
            raise UserError(f"labels={labels} has answers of kind {kind}; valid is {SegmentPair.kind}")
        if not len(self.labels):
            raise UserError(f"labels={labels} has no answers")
        if not self.labels.last_obs:
            raise UserError(f"labels={labels} does not know the last observation of its segments")
        self._next = 0

    @property
    def remaining(self) -> int:
        return len(self.labels) - self._next

    def questions(self, n: int) -> SegmentPair:
        """Return the next n pairs of the file; `answer` then answers these."""
        return self.labels.pairs[list(range(self._next, self._next + n))]

    def answer(self, left: Segments, right: Segments) -> Answers:
        rows = np.arange(self._next, self._next + len(left))
        self._next += len(left)
        answered = torch.from_numpy(self.labels.answered[rows])
        values = torch.from_numpy(self.labels.prefers_right[rows]).float()
        return Answers(torch.where(answered, values, 0.5), answered)

    def annotators(self, n: int) -> list[str]:
        """Return who gave the last n answers."""
        names = self.labels.meta["annotators"]
        return [names[number] for number in self.labels.annotator[self._next - n : self._next]]

    def state_dict(self) -> dict[str, Any]:
        return {"next": self._next, "sha256": self.labels.meta["sha256"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["sha256"] != self.labels.meta["sha256"]:
            raise UserError("the labels of teacher.labels are not those this run began with; put the old files back")
        self._next = int(state["next"])
