"""The desk, one interface to whoever answers: a method asks and looks for answers, and never knows who it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from pbrl.blocks import score_in_blocks
from pbrl.errors import UserError
from pbrl.feedback.settings import Feedback
from pbrl.labels.questions import SCRIPTED
from pbrl.labels.rows import StandingAnswer
from pbrl.labels.store import LabelStore
from pbrl.losses import preference_accuracy
from pbrl.question_kinds import EpisodePair, SegmentPair
from pbrl.questions import Question
from pbrl.types import OVERALL, Episode, Segments

OpenStore = Callable[[], LabelStore]
Score = Callable[[Segments], Tensor]
"""(N,) how good a reward finds segments."""


class Standing(NamedTuple):
    """All answers that stand now, skips aside. Minds may change: an answer that was here before may be gone."""

    ids: np.ndarray  # (n,) int64, of the answers, in the order in which they are to be learned from
    questions: np.ndarray  # (n,) int64
    values: np.ndarray  # (n, w), what was answered; of pairs (n, 1), see `prefers_right`
    annotator: np.ndarray  # (n,) int64, see `LabelStore.annotators`
    criterion: str  # what was asked for

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prefers_right(self) -> np.ndarray:
        """Return the probability (n,) float32 that the right one is preferred; 0.5 is a tie."""
        return self.values[:, 0].astype(np.float32)


class Shape(NamedTuple):
    """The shape of a run's segments; those from elsewhere must be like them."""

    steps: int
    obs_size: int
    action_size: int

    def require(self, given: Segments, where: str) -> None:
        """Raise UserError where segments are of another shape. where: what has them, as "the labels of ..."."""
        found = Shape(given.steps, given.obs.shape[-1], given.actions.shape[-1])
        if found != self:
            said, wanted = ("{} steps, {} observations and {} actions".format(*sizes) for sizes in (found, self))
            raise UserError(f"{where} have segments of {said}; those of this run have {wanted}")


@dataclass
class Counts:
    """The number of questions so far and of each kind of answer."""

    asked: int = 0
    decisive: int = 0
    equal: int = 0
    skipped: int = 0

    @property
    def labels(self) -> int:
        return self.decisive + self.equal

    def charged(self, counts: str) -> int:
        """Return what the budget was charged, by `feedback.counts`."""
        return {"asked": self.asked, "answered": self.labels, "decisive": self.decisive}[counts]

    def metrics(self) -> dict[str, float]:
        return {
            "feedback/labels": self.labels,
            "feedback/decisive": self.decisive,
            "feedback/equal": self.equal,
            "feedback/skipped": self.skipped,
        }


class Desk:
    """A desk that takes questions and gives answers: of a script, people, or an earlier file. This one has nobody.

    kinds: of questions that it can put to somebody.
    needs_people: somebody has to sit there, who is shown clips.
    of_videos: it is asked about recorded videos, before an agent starts.
    stream: of the run's random numbers, which its teacher draws from.
    needed: segments of the pool before a session: the two sides of a question are never the same one.
    criterion: by which it asks, where a method names none.
    poll: steps between looks for answers; None: those of the sessions.
    ready: there are answers to learn from, enough of them to learn again.
    waiting: a session is not over yet, and the run was told to stop.
    exhausted: the budget is spent.
    expects_answers: answers may come without a question being asked.
    overlap: how many people answer each question.
    sessions: that were asked.
    stopped: tells whether the run is to end, so that nothing may wait longer.
    """

    kinds: tuple[type[Question], ...] = ()
    needs_people = False
    of_videos = False
    stream = "teacher"
    needed = 2
    criterion: Any = OVERALL
    poll: int | None = None
    ready: Any = False
    waiting: Any = False
    exhausted: Any = True
    expects_answers: Any = False
    overlap: Any = 1

    def __init__(self, labels: int = 0) -> None:
        """Begin with labels that a method was given before."""
        self.counts, self.sessions = Counts(decisive=labels), 0
        self.stopped: Callable[[], bool] = lambda: False

    def observe(self, episodes: Sequence[Episode]) -> None:
        """Hear what the agent did since the last question."""

    def look(self, step: int) -> None:
        """Take note of what was answered, at this step of the run."""

    def room(self, wanted: int) -> int:
        """Return how many questions may be asked now, of so many that are due."""
        return 0

    def own_questions(self, n: int) -> Question | None:
        """Return the questions that a file brings along."""
        return None

    def ask(self, questions: Question, *, step: int, sampler: str) -> None:
        raise ValueError("nobody is asked in this run: the method's `asks` names no kind of question")

    def wait(self) -> None:
        """Wait until what was asked is answered, where somebody is waited for."""

    def answers(self, kind: type[Question] = SegmentPair, criterion: str | None = None) -> Standing:
        """Return all answers that stand. criterion: None: that of the desk."""
        return as_standing([], {}, criterion or self.criterion)

    def questions(self, ids: Sequence[int]) -> Question:
        """Return the questions of answers, by their numbers in `Standing`."""
        raise ValueError(f"nobody was asked {list(ids)}")

    @property
    def annotators(self) -> dict[int, str]:
        """Names of those who answered, by their numbers in `Standing`."""
        return {}

    def judge(self, score: Score, trained: bool) -> float:
        """Return the share of the news that the reward foresaw; NaN: not known. trained: it has learned something."""
        return math.nan

    def note_learned(self, score: Score | None) -> None:
        """Note that the news were learned from; score None: they taught nothing."""

    def tell(self, state: str, step: int, next_at: int | None) -> None:
        """Tell those who answer what the run does now, and when it asks next."""

    def metrics(self) -> dict[str, float]:
        """feedback/* for progress.csv."""
        return {}

    def close(self) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class ScriptedDesk(Desk):
    """A script at the desk, which answers at once.

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
        """Judge the last session alone: the sampler chose hard ones, so it is a lower bound."""
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


def as_standing(rows: Sequence[StandingAnswer], numbers: dict[str, int], criterion: str) -> Standing:
    """Return rows of one kind of question, none skipped, as answers. numbers: of annotators by name."""
    return Standing(
        np.array([a.id for a in rows], np.int64),
        np.array([a.query for a in rows], np.int64),
        np.array([a.value for a in rows], np.float64).reshape(len(rows), -1 if rows else 1),
        np.array([numbers[a.annotator] for a in rows], np.int64),
        criterion,
    )


def _joined(one: Standing, other: Standing) -> Standing:
    ids, questions, values, annotator = (np.concatenate(pair) for pair in zip(one[:4], other[:4], strict=True))
    return Standing(ids, questions, values, annotator, one.criterion)
