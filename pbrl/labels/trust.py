"""People whose answers nothing learns from (table `left_out`). What they said stays in the store."""

from __future__ import annotations

import sqlite3
import time

from pbrl.errors import UserError, is_name


def leave_out(db: sqlite3.Connection, annotator: str, reason: str) -> None:
    """Leave out a person whom the store knows; again with another reason replaces it. Call it inside a transaction."""
    if not is_name(reason):
        raise UserError(f"reason={reason!r}; valid is text without control characters, not blank")
    sql = "INSERT OR REPLACE INTO left_out SELECT id, ?, ? FROM annotators WHERE name = ?"
    db.execute(sql, (reason, time.time(), annotator))


def take_in(db: sqlite3.Connection, annotator: str) -> None:
    db.execute("DELETE FROM left_out WHERE annotator = (SELECT id FROM annotators WHERE name = ?)", (annotator,))


def find_left_out(db: sqlite3.Connection) -> dict[str, str]:
    """The reason by name."""
    sql = "SELECT name, reason FROM left_out JOIN annotators AS n ON n.id = annotator ORDER BY created_at"
    return dict(db.execute(sql).fetchall())
