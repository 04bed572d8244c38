"""The label store: what was asked and what was answered, by whom, in one SQLite file per run."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pbrl.errors import UserError, choices
from pbrl.labels.database import BUSY_TIMEOUT_S, open_database, transaction
from pbrl.labels.files import QuestionFiles
from pbrl.labels.questions import open_queries
from pbrl.labels.rows import (
    ALL,
    Query,
    Scope,
    StandingAnswer,
    add_answer,
    add_batch,
    annotator_id,
    check_value,
    count_labels,
    find_batch,
    find_forms,
    find_queries,
    find_standing,
    latest_answer,
    retract_answer,
    stored_values,
)
from pbrl.labels.segment_files import content_hash
from pbrl.labels.trust import find_left_out, leave_out, take_in
from pbrl.labels.views import Check, View, find_checks, find_views
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Question
from pbrl.types import OVERALL, Comparisons, Segments

FILE_NAME = "labels.sqlite"
Kind = type[Question] | None


class Answered(NamedTuple):
    """Questions of one kind with the answers that stand, one row each; none of them is a skip."""

    questions: Question
    answers: Any  # of the questions' kind
    annotator: torch.Tensor  # (n,) long, see `LabelStore.annotators`


class LabelStore:
    """Queries and answers of one run. Any number of processes may read and write at once, each with its own store.

    There are questions of any kind and by any criterion. Where a method does not say which, or names their ids, it
    means pairs of segments, overall; kind=None and criterion=None mean whatever there is.

    A call that has returned is on the disk: every transaction is synced (synchronous=FULL), and segment files are
    synced and named before the rows that refer to them are committed. Use each store from one thread.
    """

    def __init__(self, run_dir: Path, *, create: bool = True, busy_s: float = BUSY_TIMEOUT_S) -> None:
        self.run_dir = Path(run_dir)
        self.path = self.run_dir / FILE_NAME
        if create:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        elif not self.path.exists():
            raise UserError(f"{self.path} is missing; a directory of a run that has asked queries has it")
        self._db = open_database(self.path, busy_s)
        self._files = QuestionFiles(self.path, self._db)

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for the functions of `pbrl.labels.rows`, `views`, `trust` and `questions`."""
        return self._db

    def transaction(self) -> AbstractContextManager[None]:
        """Store all calls inside together or not at all."""
        return transaction(self._db, self.path)

    def ask(
        self,
        session: int,
        env_steps: int,
        questions: Question | Segments,
        right: Segments | None = None,
        *,
        left_states: np.ndarray | None = None,
        right_states: np.ndarray | None = None,
        sampler: str,
    ) -> list[int]:
        """Store the questions of a feedback session and return their query ids, in order.

        Asking the same again, as a resumed run does, returns the ids there are. Different content under the same
        session number, or another criterion, becomes another batch of that session.

        Args:
            questions: of any kind; or the left segments of pairs, whose others are `right`, with the simulator states
                of both.
        """
        if isinstance(questions, Segments):
            if right is None:
                raise ValueError("segments are asked as pairs, or as questions of another kind; right is missing")
            questions = SegmentPair(questions, right, left_states, right_states)
        if len(questions) == 0:
            return []
        session, hashes, form = int(session), questions.hashes(), questions.form
        content = content_hash(hashes, form)
        if known := find_batch(self._db, session, content):
            return known
        staged = self._files.stage(questions)  # outside the transaction: nobody waits for it
        try:
            with self.transaction():
                if not find_batch(self._db, session, content):
                    file = self._files.publish(staged, session)
                    add_batch(self._db, session, int(env_steps), sampler, file, content, hashes, form)
                return find_batch(self._db, session, content)
        finally:
            staged.unlink(missing_ok=True)

    def answer(
        self,
        queries: Sequence[int],
        answers: Any,
        annotator: str,
        response_s: Sequence[float | None] | None = None,
        *,
        kind: str = "scripted",
        client_id: str | None = None,
    ) -> list[int]:
        """Store answers, all or none, and return their ids. To pairs they are `Answers`, see `Question.answers`.

        An answer retracts the one that stands; one equal to it and without a `client_id` writes nothing. A `client_id`,
        for one answer at a time, makes a retry write nothing even after the answer was retracted.
        """
        n = len(answers.answered)
        times = [None if t is None else float(t) for t in ([None] * n if response_s is None else response_s)]
        if not len(queries) == n == len(times) or (client_id is not None and n != 1):
            given = (len(queries), n, len(times))
            raise ValueError(f"{given} queries, answers and times, expected as many of each, and 1 with a client_id")
        if bad := [t for t in times if t is not None and not (0 <= t < math.inf)]:
            raise UserError(f"response time {bad[0]} of {annotator!r}; valid are seconds from 0, or None if unknown")
        with self.transaction():
            asked = self.queries(queries)
            told = stored_values(answers, asked)
            who = annotator_id(self._db, annotator)
            return [
                add_answer(self._db, query.id, who, value, kind=kind, response_s=seconds, client_id=client_id)
                for query, value, seconds in zip(asked, told, times, strict=True)
            ]

    def retract(self, answer_id: int | None = None, *, query: int | None = None, annotator: str | None = None) -> int:
        """Undo the answer with this id, or the latest of this annotator to this query; return the retraction's id.

        Retracting what is retracted already changes nothing.
        """
        with self.transaction():
            if answer_id is None:
                answer_id = latest_answer(self._db, query, annotator)
            retraction = retract_answer(self._db, answer_id) if answer_id is not None else None
        if retraction is None:
            what = f"answer {answer_id}" if answer_id is not None else f"answer of {annotator!r} to query {query}"
            raise UserError(f"{self.path} has no {what} that could be retracted")
        return retraction

    def queries(
        self, ids: Sequence[int] | None = None, *, kind: Kind = SegmentPair, criterion: str | None = OVERALL
    ) -> list[Query]:
        """The queries with these ids, in this order; by default all of this kind and criterion."""
        rows = find_queries(self._db, ids, _scope(ids, kind, criterion))
        if ids is None:
            return rows
        found = {row.id: row for row in rows}
        if missing := [int(i) for i in ids if int(i) not in found]:
            last = self._db.execute("SELECT max(id) FROM queries").fetchone()[0]
            valid = f"1 to {last}" if last else "none yet"
            raise UserError(f"{self.path} has no query {missing[0]}; valid are {valid}")
        return [found[int(i)] for i in ids]

    def annotators(self) -> dict[int, str]:
        """Names by the number that `Comparisons.annotator` holds."""
        return dict(self._db.execute("SELECT id, name FROM annotators ORDER BY id").fetchall())

    def standing_answers(
        self,
        queries: Sequence[int] | None = None,
        *,
        kind: Kind = SegmentPair,
        criterion: str | None = OVERALL,
        to_learn: bool = False,
    ) -> list[StandingAnswer]:
        """Return what is not retracted, at most one per query and annotator, ordered by query and then by age.

        to_learn: without the answers of people who are left out, see `leave_out`.
        """
        return find_standing(self._db, queries, _scope(queries, kind, criterion), to_learn=to_learn)

    def leave_out(self, annotator: str, reason: str) -> None:
        """Keep this person's answers out of learning and exports from here on; they stay in the store."""
        with self.transaction():
            leave_out(self._db, self._known(annotator), reason)

    def take_in(self, annotator: str) -> None:
        """Let the answers of this person count again."""
        with self.transaction():
            take_in(self._db, self._known(annotator))

    def left_out(self) -> dict[str, str]:
        """Return why each of the people who are left out is."""
        return find_left_out(self._db)

    def _known(self, annotator: str) -> str:
        names = list(self.annotators().values())
        if annotator not in names:
            raise UserError(f"{self.path} has no answers of {annotator!r}: {choices(annotator, names)}")
        return annotator

    def open_queries(
        self,
        overlap: int = 1,
        *,
        scripts_count: bool = True,
        kind: Kind = SegmentPair,
        criterion: str | None = OVERALL,
    ) -> list[Query]:
        """Return what waits for people, in the order they get it; see `pbrl.labels.questions.open_queries`."""
        scope = _scope(None, kind, criterion)
        return open_queries(self._db, overlap, scripts_count=scripts_count, scope=scope)

    def views(self) -> list[View]:
        """Return how the answers of people came about, those of retracted answers too."""
        return find_views(self._db)

    def checks(self) -> list[Check]:
        """Second answers to pairs that were shown twice; nothing learns from them."""
        return find_checks(self._db)

    def require_answers(self, ids: Iterable[int]) -> None:
        """Raise UserError unless the store has all these answers, retracted or not: those that a checkpoint knows."""
        there = {answer for (answer,) in self._db.execute("SELECT id FROM answers")}
        if missing := sorted(set(ids) - there):
            known = f"{len(missing)} answers that the checkpoint has learned from, {missing[0]} the first"
            raise UserError(f"{self.path} lacks {known}; put this run's file back, or begin a new run")

    def ever_answered(self) -> set[tuple[int, str]]:
        """Every query and annotator with an answer to it, the retracted ones included."""
        sql = "SELECT query, name FROM answers JOIN annotators AS n ON n.id = annotator"
        return set(self._db.execute(sql))

    def counts(self, *, kind: Kind = SegmentPair, criterion: str | None = OVERALL) -> dict[str, Any]:
        """Queries, answers that stand and what they are, retractions; the answers by annotator as well."""
        return count_labels(self._db, _scope(None, kind, criterion), kind.tie if kind is not None else None)

    def forms(self) -> dict[tuple[str, str], int]:
        """Return how many answers stand, by kind and criterion of the question."""
        return find_forms(self._db)

    def questions(self, queries: Sequence[int]) -> Question:
        """Read these queries, all of one form, with simulator states of their segments; each file is read once."""
        return self._files.read(self.queries(queries))

    def pairs(self, queries: Sequence[int]) -> SegmentPair:
        """Return the questions of queries that are pairs of segments."""
        found = self.questions(queries)
        if not isinstance(found, SegmentPair):
            raise UserError(f"{self.path}: query {int(queries[0])} is of kind {found.kind}; valid here are pairs")
        return found

    def segments(self, queries: Sequence[int]) -> tuple[Segments, Segments]:
        pairs = self.pairs(queries)
        return pairs.left, pairs.right

    def comparisons(
        self,
        queries: Sequence[int] | None = None,
        annotators: Sequence[str] | None = None,
        *,
        kind: type[SegmentPair] = SegmentPair,
        criterion: str = OVERALL,
    ) -> Comparisons | None:
        """Return answered pairs; those among `queries` that are of another kind or criterion are left out."""
        found = self.answered(queries, annotators, kind=kind, criterion=criterion)
        if found is None:
            return None
        left, right = found.questions.items
        return Comparisons(left, right, found.answers.prefers_right, found.annotator, criterion)

    def answered(
        self,
        queries: Sequence[int] | None = None,
        annotators: Sequence[str] | None = None,
        *,
        kind: type[Question],
        criterion: str = OVERALL,
    ) -> Answered | None:
        """All standing answers to learn from, or those of some queries or people; None if there are none.

        Neither skips nor what people who are left out said.
        """
        numbers = {name: number for number, name in self.annotators().items()}
        rows = [
            a
            for a in find_standing(self._db, queries, Scope(kind.kind, criterion), to_learn=True)
            if a.value is not None and (annotators is None or a.annotator in annotators)
        ]
        if not rows:
            return None
        questions = self.questions([a.query for a in rows])
        values = [a.value for a in rows if a.value is not None]
        for a, value in zip(rows, values, strict=True):
            check_value(value, questions.form, f"{self.path}: answer {a.id}")
        answers = kind.make_answers(values, questions.form)
        return Answered(questions, answers, torch.tensor([numbers[a.annotator] for a in rows]))


def _scope(ids: Sequence[int] | None, kind: Kind, criterion: str | None) -> Scope:
    """Return what "all" means; ids that are given say themselves what they are."""
    return ALL if ids is not None else Scope(None if kind is None else kind.kind, criterion)
