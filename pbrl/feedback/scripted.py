"""A desk of a script, which answers at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pbrl.blocks import score_in_blocks
from pbrl.feedback.desk import Counts, Desk, OpenStore, Score, Shape, Standing, as_standing
from pbrl.feedback.settings import Feedback
from pbrl.labels.questions import SCRIPTED
from pbrl.labels.rows import StandingAnswer
from pbrl.losses import preference_accuracy
from pbrl.question_kinds import EpisodePair, SegmentPair
from pbrl.questions import Question
from pbrl.types import Episode, Segments


class ScriptedDesk(Desk):
    """Asks a script, which answers at once, and keeps what it said in the label store.

    Args:
        teacher: the script, a `pbrl.teachers.teacher.Teacher`.
        name: under which its answers are stored.
        feedback: the budget.
        open_store: opens where questions and answers are kept.
        shape: of the segments of this run.
    """

    kinds: tuple[type[Question], ...] = (SegmentPair, EpisodePair)

    def __init__(
        self, teacher: Any, *, name: str, feedback: Feedback, open_store: OpenStore, shape: Shape, **others: Any
    ) -> None:
        super().__init__()
        self.teacher, self.annotator = teacher, f"scripted:{name}"
        self.feedback, self.store, self.shape = feedback, open_store(), shape
        self.imported = 0  # the last imported query that was taken
        self.ready = False  # a session was held that nobody learned from yet
        self._standing: dict[tuple[str, str], Standing] = {}  # by kind and criterion
        self._asked: tuple[list[int], Question] | None = None
        self._fresh: tuple[Segments, Segments, Tensor] | None = None  # pairs of the last session that were answered

    @property
    def criterion(self) -> str:
        return self.feedback.criterion

    def observe(self, episodes: Sequence[Episode]) -> None:
        self.teacher.observe(episodes)

    def look(self, step: int) -> None:
        """Take in answers that `pbrl labels import` brought; they cost no budget."""
        known = self.store.queries(criterion=self.criterion)
        queries = [q.id for q in known if q.session < 0 and q.id > self.imported]
        self.imported = max(queries, default=self.imported)
        if rows := [a for a in self.store.standing_answers(queries) if a.value is not None] if queries else []:
            self.shape.require(self.store.segments([rows[0].query])[0], f"imported labels in {self.store.path}")
            self._take(rows, SegmentPair.kind, self.criterion)

    @property
    def exhausted(self) -> bool:
        return self.room(1) == 0

    def room(self, wanted: int) -> int:
        return max(min(wanted, self.feedback.budget - self.counts.charged(self.feedback.counts)), 0)

    def ask(self, questions: Question, *, step: int, sampler: str) -> None:
        questions = questions.about_criterion(self.criterion)
        queries = self.store.ask(self.sessions, step, questions, sampler=sampler)
        self.sessions += 1
        answers = questions.put_to(self.teacher)
        self.keep(queries, answers)
        # People may have given a second opinion, which is no answer of this desk.
        own = {a.query: a for a in self.store.standing_answers(queries) if a.kind == SCRIPTED}
        told = [own[query] for query in queries]
        self._take([a for a in told if a.value is not None], questions.kind, questions.form.criterion)
        self._asked, self._fresh = (queries, questions), None
        if hasattr(answers, "prefers_right"):
            (left, right), done = questions.items, answers.answered
            self._fresh = left[done], right[done], answers.prefers_right[done]
        self._count(told, questions.tie)
        self.ready = True  # whatever it brought

    @property
    def annotators(self) -> dict[int, str]:
        return self.store.annotators()

    def answers(self, kind: type[Question] = SegmentPair, criterion: str | None = None) -> Standing:
        about = criterion or self.criterion
        return self._standing.get((kind.kind, about)) or super().answers(kind, about)

    def questions(self, ids: Sequence[int]) -> Question:
        queries, asked = self._asked or ([], None)
        place = {query: row for row, query in enumerate(queries)}
        if asked is not None and all(q in place for q in ids):  # no need to read what was asked just now
            return asked[[place[q] for q in ids]]
        return self.store.questions(ids)

    def keep(self, queries: Sequence[int], answers: Any) -> None:
        """Stores what was just answered."""
        self.store.answer(queries, answers, self.annotator)

    def judge(self, score: Score, trained: bool) -> float:
        """Return the share of the last session alone: the sampler chose hard ones, so it is a lower bound."""
        if self._fresh is None or len(self._fresh[2]) == 0:
            return math.nan
        left, right, prefers_right = self._fresh
        return float(preference_accuracy(score_in_blocks(score, left), score_in_blocks(score, right), prefers_right))

    def note_learned(self, score: Score | None) -> None:
        self.ready, self._fresh = False, None

    def metrics(self) -> dict[str, float]:
        own = {name: value for name, value in self.teacher.metrics().items() if not math.isnan(value)}  # none asked yet
        return self.counts.metrics() | own

    def close(self) -> None:
        self.store.close()

    def _take(self, rows: Sequence[StandingAnswer], kind: str, criterion: str) -> None:
        if rows:
            numbers = {name: number for number, name in self.store.annotators().items()}
            before = self._standing.get((kind, criterion))
            new = as_standing(rows, numbers, criterion)
            self._standing[kind, criterion] = new if before is None else _joined(before, new)

    def _count(self, told: Sequence[StandingAnswer], tie: float | None) -> None:
        values = [a.value for a in told]
        skipped, equal = values.count(None), 0 if tie is None else values.count((tie,))
        self.counts.asked += len(values)
        self.counts.equal += equal
        self.counts.decisive += len(values) - equal - skipped
        self.counts.skipped += skipped

    def state_dict(self) -> dict[str, Any]:
        return {
            "teacher": self.teacher.state_dict(),
            "counts": vars(self.counts).copy(),
            "sessions": self.sessions,
            "imported": self.imported,
            "standing": [[*form, *standing[:4]] for form, standing in self._standing.items()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.teacher.load_state_dict(state["teacher"])
        self.counts = Counts(**state["counts"])
        self.sessions, self.imported = state["sessions"], state["imported"]
        self._standing = {
            (kind, criterion): Standing(ids, questions, values, annotator, criterion)
            for kind, criterion, ids, questions, values, annotator in state["standing"]
        }
        self.store.require_answers(int(i) for standing in self._standing.values() for i in standing.ids)


def _joined(one: Standing, other: Standing) -> Standing:
    ids, questions, values, annotator = (np.concatenate(pair) for pair in zip(one[:4], other[:4], strict=True))
    return Standing(ids, questions, values, annotator, one.criterion)
