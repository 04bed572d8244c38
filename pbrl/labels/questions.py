"""Questions that wait for people: which are open, who holds which, and which grew old."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable

from pbrl.labels.rows import USUAL, Query, Scope, annotator_id, find_queries

HUMAN = "human"  # the kind of a person's answer
SCRIPTED = "scripted"  # that of a script's
OPEN = """
SELECT q.id FROM queries AS q JOIN batches AS b ON b.id = batch
WHERE session >= 0 AND {asked} AND q.id NOT IN (SELECT query FROM retired)
AND (SELECT count(*) FROM standing AS s WHERE s.query = q.id AND s.kind != 'scripted') < ?
{scripts} ORDER BY session DESC, b.id DESC, row
"""
CLOSED_BY_SCRIPT = "AND NOT EXISTS (SELECT 1 FROM standing AS s WHERE s.query = q.id AND s.kind = 'scripted')"


def open_queries(
    db: sqlite3.Connection, overlap: int = 1, *, scripts_count: bool = True, scope: Scope = USUAL
) -> list[Query]:
    """Questions with fewer than `overlap` answers or skips of people, those of the newest policy first.

    scripts_count: whether a script's answer closes a query, as where it stands in for people.
    """
    asked, values = scope.where()
    sql = OPEN.format(asked=asked, scripts=CLOSED_BY_SCRIPT if scripts_count else "")
    ids = [row[0] for row in db.execute(sql, (*values, overlap))]
    found = {query.id: query for query in find_queries(db, ids)}
    return [found[i] for i in ids]


def lease(db: sqlite3.Connection, queries: Iterable[int], annotator: str, seconds: float) -> None:
    """Keep these queries from others for so long, unless several people are wanted for each; renews a lease."""
    who, until = annotator_id(db, annotator), time.time() + seconds
    sql = "INSERT OR REPLACE INTO leases SELECT id, ?, ? FROM queries WHERE id = ?"  # unknown ones are left out
    db.executemany(sql, [(who, until, query) for query in queries])


def release(db: sqlite3.Connection, query: int, annotator: str) -> None:
    db.execute(
        "DELETE FROM leases WHERE query = ? AND annotator = (SELECT id FROM annotators WHERE name = ?)",
        (query, annotator),
    )


def retire(db: sqlite3.Connection, queries: Collection[int], reason: str) -> list[int]:
    """Take back those of the queries that nobody holds; return them. Answers that some of them have stay."""
    taken = {row[0] for row in db.execute("SELECT query FROM leases WHERE expires_at > ?", (time.time(),))}
    free = [query for query in queries if query not in taken]
    rows = [(query, reason, time.time()) for query in free]
    db.executemany("INSERT OR IGNORE INTO retired VALUES (?, ?, ?)", rows)
    return free


def unretire(db: sqlite3.Connection, queries: Iterable[int]) -> None:
    """Let these wait for an answer again."""
    db.executemany("DELETE FROM retired WHERE query = ?", [(query,) for query in queries])


def drop_leases(db: sqlite3.Connection, queries: Iterable[int]) -> None:
    """End the leases of these; whoever holds one may still answer."""
    db.executemany("DELETE FROM leases WHERE query = ?", [(query,) for query in queries])


def answers_given(db: sqlite3.Connection) -> dict[int, int]:
    """Return how many answers or skips of people stand, by query."""
    sql = f"SELECT query, count(*) FROM standing WHERE kind != '{SCRIPTED}' GROUP BY query"
    return dict(db.execute(sql).fetchall())


def retired(db: sqlite3.Connection) -> set[int]:
    return {row[0] for row in db.execute("SELECT query FROM retired")}


def signal(db: sqlite3.Connection, name: str) -> int:
    """Leave a message for the other process; return its number."""
    row = db.execute("INSERT INTO signals (name, created_at) VALUES (?, ?)", (name, time.time()))
    assert row.lastrowid is not None
    return row.lastrowid


def last_signal(db: sqlite3.Connection, name: str) -> int:
    """Return the number of the newest message of this name, 0 if there is none."""
    return db.execute("SELECT coalesce(max(id), 0) FROM signals WHERE name = ?", (name,)).fetchone()[0]


def run_id(db: sqlite3.Connection) -> str:
    """32 hexadecimal digits that tell this run from all others, whatever its folder is called."""
    return db.execute("SELECT run FROM identity").fetchone()[0]


def last_answer(db: sqlite3.Connection) -> int:
    """Return the id of the newest answer or retraction, 0 if there is none, to see whether anything happened."""
    return db.execute("SELECT coalesce(max(id), 0) FROM answers").fetchone()[0]
