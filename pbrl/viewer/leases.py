"""The leases: who has which question now, so that nobody else answers it at the same time and nobody goes without.

A lease that is over stays as a note that somebody had the question: their answer is welcome whenever it comes.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from typing import NamedTuple


class Lease(NamedTuple):
    query: int
    annotator: str
    runs: bool  # else it is over


class Leases:
    """The leases as they are when this is made, in the order in which they were given."""

    def __init__(self, db: sqlite3.Connection, annotator: str) -> None:
        sql = "SELECT query, name, expires_at > ? FROM leases AS l JOIN annotators AS n ON n.id = annotator"
        found = db.execute(f"{sql} ORDER BY l.rowid", (time.time(),))
        rows = [Lease(query, name, bool(runs)) for query, name, runs in found]
        self.annotator = annotator
        self.mine = {lease.query: lease.runs for lease in rows if lease.annotator == annotator}
        self.others: dict[int, int] = defaultdict(int)  # how many other people have a question now
        self._held: dict[str, list[int]] = defaultdict(list)  # what each of them has
        for lease in rows:
            if lease.runs and lease.annotator != annotator:
                self.others[lease.query] += 1
                self._held[lease.annotator].append(lease.query)
        self.running = sum(lease.runs for lease in rows)

    def spare(self) -> list[tuple[str, int]]:
        """Return people and a question that each could do without, those with the most first: never the one on show."""
        able = [(name, held) for name, held in self._held.items() if len(held) > 1]
        return [(name, held[-1]) for name, held in sorted(able, key=lambda item: -len(item[1]))]


def end_lease(db: sqlite3.Connection, query: int, annotator: str) -> None:
    """End a lease; its row stays, as a note that it was."""
    db.execute(
        "UPDATE leases SET expires_at = 0 WHERE query = ? AND annotator = (SELECT id FROM annotators WHERE name = ?)",
        (query, annotator),
    )
