"""People at the desk: questions wait in the label store, answers are taken as they come, and minds may change."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from pbrl.feedback.desk import Counts, Desk, OpenStore, Score, Shape, Standing, as_standing
from pbrl.feedback.foresight import Foresight, rank_newest
from pbrl.feedback.settings import Feedback
from pbrl.feedback.status import LEARNED_FILE, read_drawing_problem, write_status
from pbrl.files import write_json
from pbrl.labels.files import group_by_form
from pbrl.labels.questions import answers_given, drop_leases, last_answer, last_signal, retire, unretire
from pbrl.labels.rows import Query, StandingAnswer
from pbrl.question_kinds import Choice, EpisodePair, Outcome, Rating, SegmentPair
from pbrl.questions import Form, Question
from pbrl.types import Episode

Row = TypeVar("Row")
STAND_IN = "scripted:stand-in"
LOOK_S = 0.2  # seconds between looks into the store while waiting
TELL_S = 2.0


class PeopleDesk(Desk):
    """People answer later, in any order, and may take answers back; the label store is the truth.

    What is learned from is, at each look, the answers that stand there, those given before a crash and those to
    questions taken back included. Questions that nobody has answered yet are charged to the budget until they are
    taken back.

    Args:
        teacher: how the run goes on meanwhile, a `pbrl.teachers.human.HumanTeacher`.
        overlap: how many people answer each question.
        asks: the kinds of question that this run asks; others in its store are not of its concern.
        keep: keeps the pictures of questions where they cannot be drawn again; returns the questions with where they
            are as states.
        feedback, open_store, shape: see `ScriptedDesk`.
    """

    kinds: tuple[type[Question], ...] = (SegmentPair, EpisodePair, Choice, Rating, Outcome)
    needs_people = True

    def __init__(
        self,
        teacher: Any,
        *,
        overlap: int,
        asks: Sequence[type[Question]] = (SegmentPair,),
        feedback: Feedback,
        open_store: OpenStore,
        shape: Shape,
        keep: Callable[[Question], Question] | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        self.teacher, self.overlap, self._keep = teacher, overlap, keep
        self.feedback, self.store, self.shape, self.asks = feedback, open_store(), shape, asks
        teacher.require(asks)
        self.poll: int | None = teacher.poll if teacher.mode == "async" else None
        self.waited_for: Sequence[int] = []  # the queries of a session that is not over
        self.standing: list[StandingAnswer] = []
        self.forms: dict[int, Form] = {}  # of all queries of the kinds that are asked
        self.seen: set[int] = set()  # ids of the answers that were learned from
        self.foresight = Foresight()
        self.waited_s = 0.0
        self._over = False  # a session was waited for, and nobody learned from it yet
        self._newest: tuple[int | str, ...] = ()  # the newest row of answers at the last look, and who was left out
        self._continue = last_signal(self.store.db, "continue")
        self._told: dict[str, Any] = {}
        self._step = 0

    @property
    def ready(self) -> bool:
        if not (news := self.news):
            return False
        if self.poll is None:
            return self._over
        return news >= self.teacher.learn_every or not self.open

    @property
    def waiting(self) -> bool:
        return bool(self.waited_for)

    @property
    def news(self) -> int:
        """The number of answers that came or went since the reward learned last."""
        return len(self.seen ^ {a.id for a in self.standing})

    @property
    def criterion(self) -> str:
        return self.feedback.criterion

    @property
    def open(self) -> list[int]:
        """The queries that wait for an answer, the newest first."""
        return [query.id for query in self._open()]

    @property
    def spent(self) -> int:
        """The part of the budget that was charged so far, by `feedback.counts`."""
        charged = self.counts.charged(self.feedback.counts)
        if self.feedback.counts == "asked":
            return charged
        given = answers_given(self.store.db)
        return charged + sum(self.overlap - given.get(query, 0) for query in self.open)

    @property
    def affordable(self) -> int:
        """The number of new questions that the budget is good for."""
        each = 1 if self.feedback.counts == "asked" else self.overlap
        return (self.feedback.budget - self.spent) // each

    @property
    def exhausted(self) -> bool:
        return self.affordable < 1

    @property
    def expects_answers(self) -> bool:
        """Return whether there may be answers: once there were questions, also after a crash forgot the session."""
        return bool(self._each(self.store.queries))

    def observe(self, episodes: Sequence[Episode]) -> None:
        self.teacher.observe(episodes)

    def look(self, step: int) -> None:
        self._step = self._told["env_steps"] = step
        self._over = False
        self._look()

    def _look(self) -> None:
        newest: tuple[int | str, ...] = (last_answer(self.store.db), *self.store.left_out())
        if newest != self._newest:
            self._newest = newest
            known = {a.id for a in self.standing}
            answers = [a for a in self._each(self.store.standing_answers, to_learn=True) if a.value is not None]
            self.standing = sorted(answers, key=lambda a: a.id)
            self.forms = {query.id: query.form for query in self._each(self.store.queries)}
            self._require_shape([a.query for a in self.standing if a.id not in known])
        self._count_all()

    def room(self, wanted: int) -> int:
        if self.poll is None:
            # Open questions were asked by a process that was killed; their answers are waited for first.
            return 0 if self.waiting or self.open else max(min(wanted, self.affordable), 0)
        self._retire_old()
        open_now = len(self.open)
        few = open_now <= self.feedback.per_session // 2
        return max(min(self.feedback.per_session - open_now, self.affordable), 0) if few else 0

    def ask(self, questions: Question, *, step: int, sampler: str) -> None:
        questions = questions.about_criterion(self.criterion)
        shown = questions if self._keep is None else self._keep(questions)
        queries = self.store.ask(self.sessions, step, shown, sampler=sampler)
        self.sessions += 1
        with self.store.transaction():
            unretire(self.store.db, queries)  # a resumed run asks again what it asked before it was killed
        self._count_all()

    def wait(self) -> None:
        """Wait until the session is answered, its time is over or somebody says to go on; Ctrl-C leaves it waiting."""
        if self.poll is not None:
            return
        self.waited_for = self.waited_for or self.open
        if self.waited_for:
            print(f"pbrl: waiting for answers to {len(self.waited_for)} questions", file=sys.stderr)
        self._continue = last_signal(self.store.db, "continue")
        begun, told, problem = time.monotonic(), 0.0, None
        while (left := set(self.waited_for) & set(self.open)) and not self.stopped():
            waited = time.monotonic() - begun
            if self._told_to_go_on() or (self.teacher.timeout_s is not None and waited > self.teacher.timeout_s):
                self._go_on_without(left)
                break
            if not told or time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self._write_status("waiting", waiting_s=round(waited, 1))
                before, problem = problem, read_drawing_problem(self.store.run_dir)
                if problem not in (None, before):
                    print(f"pbrl: nobody can answer: {problem}", file=sys.stderr)
            time.sleep(LOOK_S)
        self.waited_s += time.monotonic() - begun
        self._look()
        if not (set(self.waited_for) & set(self.open) and self.stopped()):
            self.waited_for, self._over = [], True

    @property
    def annotators(self) -> dict[int, str]:
        return self.store.annotators()

    def answers(self, kind: type[Question] = SegmentPair, criterion: str | None = None) -> Standing:
        numbers = {name: number for number, name in self.store.annotators().items()}
        about = criterion or self.criterion
        return as_standing(self._about(self.standing, kind, about), numbers, about)

    def questions(self, ids: Sequence[int]) -> Question:
        return self.store.questions(ids)

    def judge(self, score: Score, trained: bool) -> float:
        """Return the share of people's first answers about pairs, ties aside, that the reward foresaw; NaN: none."""
        new = [a for a in self.standing if a.id not in self.seen]
        return self.foresight.judge(self.store, self._about(new, SegmentPair, self.criterion), score, trained)

    def note_learned(self, score: Score | None) -> None:
        """Writes for the viewer which of the newest segments the reward likes most and least, and what it foresaw."""
        self.seen, self._over = {a.id for a in self.standing}, False
        if score is None:
            return
        found = rank_newest(self.store, self._each(self.store.queries), score)
        told = {"answers": self.counts.labels, "foreseen": self.foresight.facts(), **found}
        write_json(self.store.run_dir / LEARNED_FILE, told)

    def tell(self, state: str, step: int, next_at: int | None) -> None:
        soon = next_at if self.affordable >= 1 else None
        self._told = {"env_steps": step, "steps": self.feedback.steps, "next_questions_at": soon}
        self._write_status(state)

    def metrics(self) -> dict[str, float]:
        waiting = {"feedback/queue": len(self.open), "feedback/wait_s": round(self.waited_s, 1)}
        return self.counts.metrics() | waiting

    def close(self) -> None:
        self.store.close()

    def _retire_old(self) -> None:
        if self.teacher.max_age_steps is None:
            return
        waiting, oldest = self._open(), self._step - self.teacher.max_age_steps
        with self.store.transaction():
            retire(self.store.db, [q.id for q in waiting if q.env_steps < oldest], "too old")
        self._count_all()

    def _go_on_without(self, queries: set[int]) -> None:
        """Go on without answers to these: a script answers them, or nobody. What people still say takes its place."""
        with self.store.transaction():
            left_over = sorted(queries & set(self.open))  # somebody may have answered since
            if self.teacher.script is None:
                drop_leases(self.store.db, left_over)
                retire(self.store.db, left_over, "went on without")
            else:
                for same in group_by_form(self.store.queries(left_over)):
                    self.store.answer(same, self.store.questions(same).put_to(self.teacher), STAND_IN)

    def _told_to_go_on(self) -> bool:
        newest, before = last_signal(self.store.db, "continue"), self._continue
        self._continue = newest
        return newest > before

    def _count_all(self) -> None:
        asked_here = {q.id: q.form.type.tie for q in self._each(self.store.queries) if q.session >= 0}
        answers = [a for a in self._each(self.store.standing_answers) if a.query in asked_here]
        values = [a.value for a in answers]
        equal = sum(a.value == (asked_here[a.query],) for a in answers)
        skipped = values.count(None)
        asked = len({a.query for a in answers} | set(self.open))
        self.counts = Counts(asked=asked, decisive=len(values) - equal - skipped, equal=equal, skipped=skipped)

    def _open(self) -> list[Query]:
        return self._each(partial(self.store.open_queries, self.overlap))

    def _each(self, find: Callable[..., list[Row]], **more: Any) -> list[Row]:
        """Return what the store has about questions of the kinds that are asked, by whatever criterion."""
        return [row for kind in self.asks for row in find(kind=kind, criterion=None, **more)]

    def _about(self, rows: Sequence[StandingAnswer], kind: type[Question], criterion: str) -> list[StandingAnswer]:
        return [a for a in rows if self.forms[a.query][::2] == (kind.kind, criterion)]

    def _require_shape(self, queries: Sequence[int]) -> None:
        """Raise UserError where what was answered cannot be learned from here."""
        for same in group_by_form(self.store.queries(queries)):
            questions = self.store.questions(same)
            segments = questions.items[0]
            shape = self.shape._replace(steps=segments.steps) if questions.whole else self.shape
            shape.require(segments, f"labels in {self.store.path}")

    def _write_status(self, state: str, **more: Any) -> None:
        feedback = {"budget": self.feedback.budget, "spent": self.spent, "mode": self.teacher.mode}
        feedback |= {"timeout_s": self.teacher.timeout_s if self.poll is None else None}
        write_status(self.store.run_dir, state, **self._told, **feedback, **more)

    def state_dict(self) -> dict[str, Any]:
        return {
            "sessions": self.sessions,
            "waited_for": list(self.waited_for),
            "seen": sorted(self.seen),
            "judged": sorted(self.foresight.judged),
            "foreseen": [self.foresight.right, self.foresight.of],
            "waited_s": self.waited_s,
            "teacher": self.teacher.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sessions, self.waited_for = state["sessions"], list(state["waited_for"])
        self.seen, self.foresight.judged = set(state["seen"]), set(state["judged"])
        self.store.require_answers(self.seen)
        self.foresight.right, self.foresight.of = state["foreseen"]
        self.waited_s = state["waited_s"]
        self.teacher.load_state_dict(state["teacher"])
