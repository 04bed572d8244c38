"""The label store: what was asked and what was answered, by whom, in one SQLite file per run."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.data.label_rows import (
    Query,
    StandingAnswer,
    add_answer,
    add_batch,
    annotator_id,
    count_labels,
    find_batch,
    find_queries,
    find_standing,
    latest_answer,
    retract_answer,
)
from pbrl.data.label_schema import open_database, transaction
from pbrl.data.label_views import Check, View, find_checks, find_views
from pbrl.data.questions import open_queries
from pbrl.data.segment_files import SegmentPairs, content_hash, free_name, publish, stage
from pbrl.errors import UserError
from pbrl.reading import read_arrays
from pbrl.types import Answers, Comparisons, Segments

FILE_NAME = "labels.sqlite"


class LabelStore:
    """Queries and answers of one run. Any number of processes may read and write at once, each with its own store.

    A call that has returned is on the disk: every transaction is synced (synchronous=FULL), and segment files are
    synced and named before the rows that refer to them are committed. Use each store from one thread.
    """

    def __init__(self, run_dir: Path, *, create: bool = True) -> None:
        self.run_dir = Path(run_dir)
        self.path = self.run_dir / FILE_NAME
        if create:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        elif not self.path.exists():
            raise UserError(f"{self.path} is missing; a directory of a run that has asked queries has it")
        self._db = open_database(self.path)
        self._loaded: tuple[str, SegmentPairs] | None = None

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @property
    def db(self) -> sqlite3.Connection:
        """For the functions of `label_rows`, `label_views` and `questions`."""
        return self._db

    def transaction(self) -> AbstractContextManager[None]:
        """All calls inside are stored together or not at all."""
        return transaction(self._db, self.path)

    def ask(
        self,
        session: int,
        env_steps: int,
        left: Segments,
        right: Segments,
        *,
        left_states: np.ndarray | None = None,
        right_states: np.ndarray | None = None,
        sampler: str,
    ) -> list[int]:
        """Stores the pairs of a feedback session and returns their query ids, in order.

        Asking the same again, as a resumed run does, returns the ids there are. Different content under the same
        session number becomes another batch of that session.
        """
        if len(left) == len(right) == 0:
            return []
        session, pairs = int(session), SegmentPairs(left, right, left_states, right_states)
        hashes = pairs.hashes()
        content = content_hash(hashes)
        if known := find_batch(self._db, session, content):
            return known
        staged = stage(self.run_dir / "episodes", pairs.to_arrays())  # outside the transaction: nobody waits for it
        try:
            with self.transaction():
                if not find_batch(self._db, session, content):
                    file = self._publish(staged, session)
                    add_batch(self._db, session, int(env_steps), sampler, file, content, hashes)
                return find_batch(self._db, session, content)
        finally:
            staged.unlink(missing_ok=True)

    def answer(
        self,
        queries: Sequence[int],
        answers: Answers,
        annotator: str,
        response_s: Sequence[float | None] | None = None,
        *,
        kind: str = "scripted",
        client_id: str | None = None,
    ) -> list[int]:
        """Stores answers, all or none, and returns their ids.

        An answer equal to the one that stands writes nothing; a different one retracts it. A `client_id`, for one
        answer at a time, makes a retry write nothing even after the answer was retracted.
        """
        values = _values(answers)
        times = [None if t is None else float(t) for t in ([None] * len(values) if response_s is None else response_s)]
        if not len(queries) == len(values) == len(times) or (client_id is not None and len(values) != 1):
            n = (len(queries), len(values), len(times))
            raise ValueError(f"{n} queries, answers and times, expected as many of each, and 1 with a client_id")
        if bad := [t for t in times if t is not None and not (0 <= t < math.inf)]:
            raise UserError(f"response time {bad[0]} of {annotator!r}; valid are seconds from 0, or None if unknown")
        with self.transaction():
            self.queries(queries)
            who = annotator_id(self._db, annotator)
            return [
                add_answer(self._db, int(query), who, value, kind=kind, response_s=seconds, client_id=client_id)
                for query, value, seconds in zip(queries, values, times, strict=True)
            ]

    def retract(self, answer_id: int | None = None, *, query: int | None = None, annotator: str | None = None) -> int:
        """Undoes the answer with this id, or the latest of this annotator to this query; returns the retraction's id.

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

    def queries(self, ids: Sequence[int] | None = None) -> list[Query]:
        """The queries with these ids, in this order; by default all."""
        rows = find_queries(self._db, ids)
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

    def standing_answers(self, queries: Sequence[int] | None = None) -> list[StandingAnswer]:
        """What is not retracted, at most one per query and annotator, ordered by query and then by age."""
        return find_standing(self._db, queries)

    def answers_for(self, queries: Sequence[int], annotator: str | None = None) -> Answers:
        """Answers to these queries, by this annotator or, by default, the latest of anyone's.

        `answered` is False where it was skipped and where nothing stands; `unanswered` tells the two apart.
        """
        found = {a.query: a.prefers_right for a in self.standing_answers(queries) if annotator in (None, a.annotator)}
        values = [found.get(int(q)) for q in queries]
        return Answers(
            prefers_right=torch.tensor([0.5 if v is None else v for v in values], dtype=torch.float32),
            answered=torch.tensor([v is not None for v in values], dtype=torch.bool),
        )

    def unanswered(self, queries: Sequence[int] | None = None, annotator: str | None = None) -> list[int]:
        """Which of the queries this annotator (default: anyone) neither answered nor skipped, in the given order."""
        done = {a.query for a in self.standing_answers(queries) if annotator in (None, a.annotator)}
        asked = [int(q) for q in queries] if queries is not None else [q.id for q in self.queries()]
        return [q for q in asked if q not in done]

    def open_queries(self, overlap: int = 1, *, scripts_count: bool = True) -> list[Query]:
        """What waits for people, in the order they get it; see `pbrl.data.questions.open_queries`."""
        return open_queries(self._db, overlap, scripts_count=scripts_count)

    def views(self) -> list[View]:
        """How the answers of people came about, those of retracted answers too."""
        return find_views(self._db)

    def checks(self) -> list[Check]:
        """Second answers to pairs that were shown twice; nothing learns from them."""
        return find_checks(self._db)

    def ever_answered(self) -> set[tuple[int, str]]:
        """Every query and annotator with an answer to it, the retracted ones included."""
        sql = "SELECT query, name FROM answers JOIN annotators AS n ON n.id = annotator"
        return set(self._db.execute(sql))

    def counts(self) -> dict[str, Any]:
        """Queries, answers that stand and what they are, retractions; the answers by annotator as well."""
        return count_labels(self._db)

    def pairs(self, queries: Sequence[int]) -> SegmentPairs:
        """The segments of these queries with their simulator states, in order; each file is read once."""
        rows: dict[str, list[int]] = {}
        places: list[int] = []
        for place, query in sorted(enumerate(self.queries(queries)), key=lambda item: item[1].file):
            rows.setdefault(query.file, []).append(query.row)
            places.append(place)
        if not rows:
            raise ValueError("no queries given, so there are no segments")
        parts = [self._load(file)[self._inside(file, r)] for file, r in rows.items()]
        return SegmentPairs.cat(parts)[np.argsort(places).tolist()]

    def segments(self, queries: Sequence[int]) -> tuple[Segments, Segments]:
        pairs = self.pairs(queries)
        return pairs.left, pairs.right

    def states(self, queries: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
        """Simulator states (N, T+1, D) left and right, or None where any of them is unknown."""
        left, right = (pairs := self.pairs(queries)).left_states, pairs.right_states
        return None if left is None or right is None else (left, right)

    def comparisons(
        self, queries: Sequence[int] | None = None, annotators: Sequence[str] | None = None
    ) -> Comparisons | None:
        """All standing answers that are not skips, or those of some queries or people; None if there are none."""
        numbers = {name: number for number, name in self.annotators().items()}
        rows = [
            a
            for a in self.standing_answers(queries)
            if a.prefers_right is not None and (annotators is None or a.annotator in annotators)
        ]
        if not rows:
            return None
        left, right = self.segments([a.query for a in rows])
        prefers_right = torch.tensor([a.prefers_right for a in rows], dtype=torch.float32)
        return Comparisons(left, right, prefers_right, torch.tensor([numbers[a.annotator] for a in rows]))

    def _publish(self, staged: Path, session: int) -> str:
        stem = f"episodes/session_{session:05d}" if session >= 0 else f"episodes/import_{-session:05d}"
        taken = {row[0] for row in self._db.execute("SELECT file FROM batches")}
        file = free_name(self.run_dir, stem, staged, taken)
        publish(staged, self.run_dir / file)
        return file

    def _inside(self, file: str, rows: list[int]) -> list[int]:
        """These rows, all of which the file has."""
        if wrong := [row for row in rows if not 0 <= row < len(self._load(file))]:
            raise UserError(f"{self.path} names row {wrong[0]} of {file}, which has {len(self._load(file))}")
        return rows

    def _load(self, file: str) -> SegmentPairs:
        if self._loaded is None or self._loaded[0] != file:
            path = self.run_dir / file
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise UserError(f"{self.path} names {file!r}, which is outside of {self.run_dir}")
            pairs = SegmentPairs.from_arrays(read_arrays(path), path)
            expected = self._db.execute("SELECT content_hash FROM batches WHERE file = ?", (file,)).fetchone()[0]
            if content_hash(pairs.hashes()) != expected:
                raise UserError(f"{path} holds other segments than {self.path} says; restore the file of this run")
            self._loaded = (file, pairs)
        return self._loaded[1]


def _values(answers: Answers) -> list[float | None]:
    """The numbers to store, None where skipped."""
    pairs = zip(answers.prefers_right.tolist(), answers.answered.tolist(), strict=True)
    values = [float(value) if answered else None for value, answered in pairs]
    if bad := [v for v in values if v is not None and not 0 <= v <= 1]:
        raise UserError(f"answer prefers_right={bad[0]}; valid are 0 (left) to 1 (right), 0.5 for equal, or a skip")
    return values
