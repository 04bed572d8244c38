"""The rows of the label database: how they are found, counted and added."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pbrl.errors import UserError, is_name
from pbrl.question_kinds import EpisodePair, SegmentPair
from pbrl.questions import Form, Value
from pbrl.types import OVERALL

PAIRS = (SegmentPair.kind, EpisodePair.kind)  # kinds whose answers are in the column prefers_right


class Query(NamedTuple):
    id: int
    session: int  # number of the feedback session; imported ones are negative
    env_steps: int
    sampler: str
    file: str  # npz with the segments, relative to the run directory
    row: int  # in that file
    hashes: tuple[str, ...]  # of each item
    form: Form  # what is asked


class StandingAnswer(NamedTuple):
    id: int
    query: int
    annotator: str
    prefers_right: float | None  # None = skipped, or no answer to a pair
    response_s: float | None
    kind: str  # "scripted", "human", "imported"
    created_at: float  # Unix time
    value: Value | None  # whatever the kind of the question; None = skipped


class Scope(NamedTuple):
    """A choice of questions, which "all" means; None: of any kind, by any criterion."""

    kind: str | None = SegmentPair.kind
    criterion: str | None = OVERALL

    def where(self) -> tuple[str, tuple[str, ...]]:
        """Return a condition on `batches AS b` and its parameters."""
        named = {f"b.{name}": value for name, value in self._asdict().items() if value is not None}
        return " AND ".join(["TRUE", *(f"{column} = ?" for column in named)]), tuple(named.values())


USUAL = Scope()
ALL = Scope(None, None)


class Told(NamedTuple):
    """The columns that hold an answer; both None: skipped."""

    prefers_right: float | None
    value: str | None  # JSON

    @staticmethod
    def of(value: Value | None, kind: str) -> Told:
        if value is None:
            return Told(None, None)
        return Told(value[0], None) if kind in PAIRS else Told(None, json.dumps(value))

    def read(self) -> Value | None:
        if self.prefers_right is not None:
            return (self.prefers_right,)
        return None if self.value is None else tuple(json.loads(self.value))


def find_queries(db: sqlite3.Connection, ids: Sequence[int] | None, scope: Scope = ALL) -> list[Query]:
    """Find the queries of the scope, or of these among them."""
    condition, values = _among("q.id", ids, scope)
    rows = db.execute(
        "SELECT q.id, session, env_steps, sampler, file, row,"
        " left_hash || ' ' || right_hash || ' ' || more_hashes, kind, items, criterion, details"
        f" FROM queries AS q JOIN batches AS b ON b.id = batch WHERE {condition} ORDER BY q.id",
        values,
    )
    return [Query._make((*row[:6], tuple(row[6].split()), Form._make(row[7:]))) for row in rows]


def find_standing(
    db: sqlite3.Connection, queries: Sequence[int] | None, scope: Scope = ALL, *, to_learn: bool = False
) -> list[StandingAnswer]:
    """Find what stands for the scope or for these among it. to_learn: less that of people who are left out."""
    condition, values = _among("query", queries, scope)
    condition += " AND annotator NOT IN (SELECT annotator FROM left_out)" if to_learn else ""
    rows = db.execute(
        "SELECT s.id, query, name, prefers_right, response_s, s.kind, s.created_at, value FROM standing AS s"
        " JOIN annotators AS n ON n.id = annotator JOIN queries AS q ON q.id = query JOIN batches AS b ON b.id = batch"
        f" WHERE {condition} ORDER BY query, s.id",
        values,
    )
    return [StandingAnswer._make((*row[:7], Told(row[3], row[7]).read())) for row in rows]


def find_forms(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Return how many standing answers there are, by kind and criterion."""
    rows = db.execute(
        "SELECT b.kind, criterion, count(*) FROM standing JOIN queries AS q ON q.id = query"
        " JOIN batches AS b ON b.id = batch GROUP BY b.kind, criterion ORDER BY b.kind, criterion"
    )
    return {(kind, criterion): n for kind, criterion, n in rows}


def count_labels(db: sqlite3.Connection, scope: Scope = USUAL, tie: float | None = 0.5) -> dict[str, Any]:
    """Count labels. tie: the answer that prefers none, where the kind has one."""
    condition, values = scope.where()
    places = f"queries AS q JOIN batches AS b ON b.id = batch WHERE {condition}"
    rows = db.execute(
        "SELECT name, sum(stands), sum(stands AND NOT skip AND NOT tie), sum(stands AND tie),"
        " sum(stands AND skip), sum(retracts IS NOT NULL) FROM ("
        "SELECT annotator, retracts, id IN (SELECT id FROM standing) AS stands,"
        " coalesce(prefers_right = 0.5 OR value = ?, 0) AS tie, prefers_right IS NULL AND value IS NULL AS skip"
        f" FROM answers WHERE query IN (SELECT q.id FROM {places})) AS a"
        " JOIN annotators AS n ON n.id = annotator GROUP BY name ORDER BY n.id",
        (None if tie is None else json.dumps([tie]), *values),
    )
    names = ("answers", "decisive", "equal", "skipped", "retracted")
    people = {name: {k: v or 0 for k, v in zip(names, row, strict=True)} for name, *row in rows}
    total = {name: sum(person[name] for person in people.values()) for name in names}
    queries, unanswered = db.execute(
        f"SELECT count(*), sum(q.id NOT IN (SELECT query FROM standing)) FROM {places}", values
    ).fetchone()
    return {"queries": queries, "unanswered": unanswered or 0, **total, "annotators": people}


def find_batch(db: sqlite3.Connection, session: int, content: str) -> list[int]:
    """Query ids, in order, of the batch with this content; empty if there is none."""
    sql = (
        "SELECT q.id FROM queries AS q JOIN batches AS b ON b.id = batch"
        " WHERE session = ? AND content_hash = ? ORDER BY row"
    )
    return [row[0] for row in db.execute(sql, (session, content))]


def add_batch(
    db: sqlite3.Connection,
    session: int,
    env_steps: int,
    sampler: str,
    file: str,
    content: str,
    hashes: Sequence[tuple[str, ...]],
    form: Form,
) -> None:
    row: dict[str, Any] = {
        "session": session,
        "env_steps": env_steps,
        "sampler": sampler,
        "file": file,
        "content_hash": content,
    }
    batch = _insert(db, "batches", **row, **form._asdict())
    db.executemany(
        "INSERT INTO queries (batch, row, left_hash, right_hash, more_hashes) VALUES (?, ?, ?, ?, ?)",
        [(batch, row, *(*items, "")[:2], " ".join(items[2:])) for row, items in enumerate(hashes)],
    )


def annotator_id(db: sqlite3.Connection, name: str) -> int:
    """The number of this annotator, who is entered if new."""
    if not is_name(name):
        raise UserError(f"the annotator's name is {name!r}; valid is text without control characters, not blank")
    db.execute("INSERT OR IGNORE INTO annotators (name) VALUES (?)", (name,))
    return db.execute("SELECT id FROM annotators WHERE name = ?", (name,)).fetchone()[0]


def add_answer(
    db: sqlite3.Connection,
    query: int,
    annotator: int,
    told: Told,
    *,
    kind: str,
    response_s: float | None,
    client_id: str | None,
) -> int:
    """Write an answer in place of the one that stands; return its id.

    Nothing is written where its client_id was seen, or, without one, where the same answer stands already.
    """
    if client_id is not None and (retried := _find_client(db, query, annotator, told, client_id)):
        return retried
    standing = db.execute(
        "SELECT id, prefers_right, value FROM standing WHERE query = ? AND annotator = ?", (query, annotator)
    ).fetchone()
    if standing and standing[1:] == told and client_id is None:
        return standing[0]
    if standing:
        retract_answer(db, standing[0])
    new = {"kind": kind, "response_s": response_s, "client_id": client_id}
    return _insert(db, "answers", query=query, annotator=annotator, **told._asdict(), **new)


def stored_values(answers: Any, asked: Sequence[Query]) -> list[Told]:
    """Return what to store as the answers to these queries, which must be of their kind and in range."""
    column = np.asarray(answers[0].tolist(), np.float64).reshape(len(asked), -1)  # (n, w)
    stored = []
    for query, value, answered in zip(asked, column, answers.answered.tolist(), strict=True):
        form, kind = query.form, query.form.type
        if type(answers) is not kind.answers:
            found, valid = type(answers).__name__, kind.answers.__name__
            raise UserError(f"query {query.id} is of kind {form.kind}, answered by {found}; valid are {valid}")
        if answered:
            check_value(value, form, f"the answer to query {query.id}")
        stored.append(Told.of(tuple(value.astype(kind.dtype).tolist()) if answered else None, form.kind))
    return stored


def check_value(value: Sequence[float] | np.ndarray, form: Form, where: str) -> None:
    """Refuse what is no answer to a question of this form."""
    kind = form.type
    if len(value) != (width := math.prod(kind.answer_shape(form))):
        raise UserError(f"{where} has {len(value)} numbers; valid are {width}")
    if kind.wrong(np.array([value], np.float64), form).any():
        numbers = f"{value[0]:g}" if width == 1 else [float(f"{x:g}") for x in value]
        raise UserError(f"{where} is {kind.value_name()}={numbers}; valid are {kind.valid(form)}, or a skip")


def latest_answer(db: sqlite3.Connection, query: int | None, annotator: str | None) -> int | None:
    found = db.execute(
        "SELECT max(a.id) FROM answers AS a JOIN annotators AS n ON n.id = annotator"
        " WHERE retracts IS NULL AND query = ? AND name = ?",
        (query, annotator),
    )
    return found.fetchone()[0]


def retract_answer(db: sqlite3.Connection, answer: int) -> int | None:
    """Write a retraction, unless it is there; return its id, None if there is no such answer."""
    found = db.execute("SELECT id FROM answers WHERE retracts = ?", (answer,)).fetchone()
    if found:
        return found[0]
    sql = "SELECT query, annotator, kind FROM answers WHERE id = ? AND retracts IS NULL"
    if (row := db.execute(sql, (answer,)).fetchone()) is None:
        return None
    return _insert(db, "answers", query=row[0], annotator=row[1], kind=row[2], retracts=answer)


def _find_client(db: sqlite3.Connection, query: int, annotator: int, told: Told, client_id: str) -> int | None:
    sql = "SELECT id, query, annotator, prefers_right, value FROM answers WHERE client_id = ?"
    found = db.execute(sql, (client_id,)).fetchone()
    if found and found[1:] != (query, annotator, *told):
        raise UserError(f"client_id {client_id!r} was used for another answer; valid is a new one for each answer")
    return found[0] if found else None


def _insert(db: sqlite3.Connection, table: str, **row: float | str | None) -> int:
    row["created_at"] = time.time()
    marks = ", ".join("?" * len(row))
    cursor = db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _among(column: str, ids: Sequence[int] | None, scope: Scope) -> tuple[str, tuple[str, ...]]:
    """Return a condition and its parameters, with ids in the text, since SQLite limits the number of parameters."""
    condition, values = scope.where()
    given = "" if ids is None else f" AND {column} IN ({', '.join(str(int(i)) for i in ids)})"
    return condition + given, values
