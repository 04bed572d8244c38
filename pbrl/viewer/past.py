"""Answers looked at again: what was asked, how it was shown and what was said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pbrl.labels.rows import Query
from pbrl.labels.store import LabelStore
from pbrl.viewer.cards import Card


class Past(NamedTuple):
    answer: int
    client_id: str
    card: Card
    choice: str  # of a pair between its segments; of other kinds `answer` or `skip`
    strength: str
    value: tuple[float, ...]  # of other kinds than pairs, about items
    answered_at: float  # Unix time


def find_past(store: LabelStore, answers: Sequence[int]) -> list[Past]:
    """Find these answers, in this order, less those that came from elsewhere than the viewer."""
    ids = ", ".join(str(int(answer)) for answer in answers)
    rows = store.db.execute(
        "SELECT a.id, client_id, query, created_at, choice, strength, swapped, places, value FROM answers AS a"
        " LEFT JOIN views AS v ON v.answer = a.id LEFT JOIN arrangements AS r ON r.answer = a.id"
        f" WHERE client_id IS NOT NULL AND coalesce(choice, places) IS NOT NULL AND a.id IN ({ids})"
    ).fetchall()
    found = {row[0]: row for row in rows}
    here = [found[answer] for answer in answers if answer in found]
    queries = store.queries([row[2] for row in here])
    return [_past(row, query) for row, query in zip(here, queries, strict=True)]


def _past(row: tuple[Any, ...], query: Query) -> Past:
    answer, client_id, _, answered_at, choice, strength, swapped, places, value = row
    card = Card(query, bool(swapped), None, tuple(json.loads(places or "[]")))
    said = choice or ("skip" if value is None else "answer")
    return Past(answer, client_id, card, said, strength or "clear", tuple(json.loads(value or "[]")), answered_at)
