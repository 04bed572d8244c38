"""The steps of a study's people (table `study_steps`), and how they did on checks (table `checks`)."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from typing import NamedTuple

from pbrl.labels.rows import annotator_id

WHO = "annotator = (SELECT id FROM annotators WHERE name = ?)"


class Checked(NamedTuple):
    query: int
    purpose: str  # of a check that was not taken back
    right: bool


def add_step(db: sqlite3.Connection, annotator: str, step: str, detail: str) -> None:
    """Add a step. Call it inside a transaction."""
    sql = "INSERT INTO study_steps (annotator, step, detail, created_at) VALUES (?, ?, ?, ?)"
    db.execute(sql, (annotator_id(db, annotator), step, detail, time.time()))


def find_steps(db: sqlite3.Connection, annotator: str) -> Counter[str]:
    """Return how often this person came through each step."""
    return Counter(row[0] for row in db.execute(f"SELECT step FROM study_steps WHERE {WHO}", (annotator,)))


def find_checked(db: sqlite3.Connection, annotator: str) -> list[Checked]:
    """Find the checks of a study that this person answered, the oldest first."""
    sql = f"SELECT query, purpose, choice = expected FROM checks WHERE {WHO} AND expected IS NOT NULL"
    rows = db.execute(f"{sql} AND retracted_at IS NULL ORDER BY id", (annotator,))
    return [Checked(query, purpose, bool(right)) for query, purpose, right in rows]


def last_answer_at(db: sqlite3.Connection, annotator: str) -> float:
    """Return the Unix time of this person's newest answer; 0 if there is none."""
    sql = f"SELECT coalesce(max(created_at), 0) FROM answers WHERE {WHO} AND retracts IS NULL"
    return float(db.execute(sql, (annotator,)).fetchone()[0])
