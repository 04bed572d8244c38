"""A label set at the desk: the pairs of the file are asked, session by session, instead of new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.feedback.desk import Shape
from pbrl.feedback.scripted import ScriptedDesk
from pbrl.feedback.settings import Feedback
from pbrl.question_kinds import SegmentPair
from pbrl.types import OVERALL, Answers


class ReplayDesk(ScriptedDesk):
    """Asks the pairs of a file. teacher: a `pbrl.teachers.replay.ReplayTeacher`."""

    teacher: Any
    needed = 1  # its pairs come from the file

    def __init__(self, teacher: Any, *, feedback: Feedback, shape: Shape, **parts: Any) -> None:
        shape.require(teacher.labels.pairs.left, "the labels of teacher.labels")
        super().__init__(teacher, feedback=feedback, shape=shape, **parts)
        if feedback.criterion not in (OVERALL, self.criterion):
            said = f"the answers of teacher.labels are about {self.criterion}"
            raise UserError(f"feedback.criterion={feedback.criterion}: {said}; leave it out")

    @property
    def criterion(self) -> str:
        own: str = self.teacher.labels.questions.criterion
        return own

    @property
    def overlap(self) -> int:
        """Return how many annotators there are: each may have answered a pair."""
        return len(set(self.teacher.labels.annotator.tolist()))

    def room(self, wanted: int) -> int:
        return super().room(min(wanted, self.teacher.remaining))

    def keep(self, queries: Sequence[int], answers: Answers) -> None:
        """Keep answers under the names of those who once said so."""
        who = np.array(self.teacher.annotators(len(queries)))
        for name in dict.fromkeys(who.tolist()):
            rows = np.flatnonzero(who == name)
            told = Answers(answers.prefers_right[rows], answers.answered[rows])
            self.store.answer([queries[int(row)] for row in rows], told, f"replay:{name}")

    def own_questions(self, n: int) -> SegmentPair:
        pairs: SegmentPair = self.teacher.questions(n)
        return pairs
