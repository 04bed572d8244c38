"""The desk, one interface to whoever answers: a method asks and looks for answers, and never knows who it was."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from pbrl.errors import UserError
from pbrl.feedback.schedule import next_time
from pbrl.labels.rows import StandingAnswer
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import SegmentPair
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

    def why_nothing(self) -> str | None:
        """Say why nothing can be learned from the answers so far; None: something can, or there are none."""
        return None if self.decisive or not self.equal + self.skipped else f"{self.equal} ties, {self.skipped} skips"

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

    def __init__(self, labels: int = 0, ties: int = 0) -> None:
        """Begin with labels that a method was given before, so many ties among them."""
        self.counts, self.sessions = Counts(decisive=labels - ties, equal=ties), 0
        self.stopped: Callable[[], bool] = lambda: False

    def observe(self, episodes: Sequence[Episode]) -> None:
        """Hear what the agent did since the last question."""

    def look(self, step: int) -> None:
        """Take note of what was answered, at this step of the run."""

    def room(self, wanted: int) -> int:
        """Return how many questions may be asked now, of so many that are due."""
        return 0

    def next_look(self, due: int, every: int, step: int) -> int:
        """Return when a method that came at `due` comes again, after `step`; every: steps between its sessions."""
        return next_time(due, self.poll or every, step)

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

    def learned(self, score: Score | None) -> None:
        """Do what `note_learned` does, for methods that were written for 0.1."""
        warnings.warn("desk.learned is desk.note_learned now", DeprecationWarning, stacklevel=2)
        self.note_learned(score)

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


def as_standing(rows: Sequence[StandingAnswer], numbers: dict[str, int], criterion: str) -> Standing:
    """Return rows of one kind of question, none skipped, as answers. numbers: of annotators by name."""
    return Standing(
        np.array([a.id for a in rows], np.int64),
        np.array([a.query for a in rows], np.int64),
        np.array([a.value for a in rows], np.float64).reshape(len(rows), -1 if rows else 1),
        np.array([numbers[a.annotator] for a in rows], np.int64),
        criterion,
    )
