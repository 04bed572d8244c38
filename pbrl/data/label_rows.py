"""The rows of the label database: how they are found, counted and added."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from pbrl.errors import UserError, is_name


class Query(NamedTuple):
    id: int
    session: int  # number of the feedback session; imported ones are negative
    env_steps: int
    sampler: str
    file: str  # npz with the segments, relative to the run directory
    row: int  # in that file
    left_hash: str
    right_hash: str


class StandingAnswer(NamedTuple):
    id: int
    query: int
    annotator: str
    prefers_right: float | None  # None = skipped
    response_s: float | None
    kind: str  # "scripted", "human", "imported"
    created_at: float  # Unix time


def find_queries(db: sqlite3.Connection, ids: Sequence[int] | None) -> list[Query]:
    rows = db.execute(
        "SELECT q.id, session, env_steps, sampler, file, row, left_hash, right_hash"
        f" FROM queries AS q JOIN batches AS b ON b.id = batch {_where('q.id', ids)} ORDER BY q.id"
    )
    return [Query(*row) for row in rows]


def find_standing(db: sqlite3.Connection, queries: Sequence[int] | None) -> list[StandingAnswer]:
    rows = db.execute(
        "SELECT s.id, query, name, prefers_right, response_s, kind, created_at FROM standing AS s"
        f" JOIN annotators AS n ON n.id = annotator {_where('query', queries)} ORDER BY query, s.id"
    )
    return [StandingAnswer(*row) for row in rows]


def count_labels(db: sqlite3.Connection) -> dict[str, Any]:
    rows = db.execute(
        "SELECT name, sum(stands), sum(stands AND prefers_right != 0.5), sum(stands AND prefers_right = 0.5),"
        " sum(stands AND prefers_right IS NULL), sum(retracts IS NOT NULL)"
        " FROM (SELECT *, id IN (SELECT id FROM standing) AS stands FROM answers) AS a"
        " JOIN annotators AS n ON n.id = annotator GROUP BY name ORDER BY n.id"
    )
    names = ("answers", "decisive", "equal", "skipped", "retracted")
    people = {name: {k: v or 0 for k, v in zip(names, row, strict=True)} for name, *row in rows}
    total = {name: sum(person[name] for person in people.values()) for name in names}
    queries, unanswered = db.execute(
        "SELECT count(*), sum(id NOT IN (SELECT query FROM standing)) FROM queries"
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
    hashes: Sequence[tuple[str, str]],
) -> None:
    batch = db.execute(
        "INSERT INTO batches (session, env_steps, sampler, file, content_hash, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (session, env_steps, sampler, file, content, time.time()),
    ).lastrowid
    db.executemany(
        "INSERT INTO queries (batch, row, left_hash, right_hash) VALUES (?, ?, ?, ?)",
        [(batch, row, *both) for row, both in enumerate(hashes)],
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
    value: float | None,
    *,
    kind: str,
    response_s: float | None,
    client_id: str | None,
) -> int:
    """The id of this answer, written unless it stands already or its client_id was seen."""
    if client_id is not None and (retried := _find_client(db, query, annotator, value, client_id)):
        return retried
    standing = db.execute(
        "SELECT id, prefers_right FROM standing WHERE query = ? AND annotator = ?", (query, annotator)
    ).fetchone()
    if standing and standing[1] == value and client_id is None:
        return standing[0]
    if standing:
        retract_answer(db, standing[0])
    new = {"prefers_right": value, "kind": kind, "response_s": response_s, "client_id": client_id}
    return _insert(db, query=query, annotator=annotator, **new)


def latest_answer(db: sqlite3.Connection, query: int | None, annotator: str | None) -> int | None:
    found = db.execute(
        "SELECT max(a.id) FROM answers AS a JOIN annotators AS n ON n.id = annotator"
        " WHERE retracts IS NULL AND query = ? AND name = ?",
        (query, annotator),
    )
    return found.fetchone()[0]


def retract_answer(db: sqlite3.Connection, answer: int) -> int | None:
    """The id of the retraction, written unless it is there; None if there is no such answer."""
    found = db.execute("SELECT id FROM answers WHERE retracts = ?", (answer,)).fetchone()
    if found:
        return found[0]
    sql = "SELECT query, annotator, kind FROM answers WHERE id = ? AND retracts IS NULL"
    if (row := db.execute(sql, (answer,)).fetchone()) is None:
        return None
    return _insert(db, query=row[0], annotator=row[1], kind=row[2], retracts=answer)


def _find_client(db: sqlite3.Connection, query: int, annotator: int, value: float | None, client_id: str) -> int | None:
    sql = "SELECT id, query, annotator, prefers_right FROM answers WHERE client_id = ?"
    found = db.execute(sql, (client_id,)).fetchone()
    if found and found[1:] != (query, annotator, value):
        raise UserError(f"client_id {client_id!r} was used for another answer; valid is a new one for each answer")
    return found[0] if found else None


def _insert(db: sqlite3.Connection, **row: float | str | None) -> int:
    row["created_at"] = time.time()
    marks = ", ".join("?" * len(row))
    cursor = db.execute(f"INSERT INTO answers ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _where(column: str, ids: Sequence[int] | None) -> str:
    """A condition on any number of ids: integers in the text, since SQLite limits the number of parameters."""
    return "" if ids is None else f"WHERE {column} IN ({', '.join(str(int(i)) for i in ids)})"
