"""Answers looked at again: what was asked, how it was shown and what was said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pbrl.labels.rows import Query
from pbrl.labels.store import LabelStore
from pbrl.labels.views import View


class Past(NamedTuple):
    answer: int
    client_id: str
    query: Query
    view: View
    answered_at: float  # Unix time


def find_past(store: LabelStore, answers: Sequence[int]) -> list[Past]:
    """These answers, in this order, less those that came from elsewhere than the viewer."""
    ids = ", ".join(str(int(answer)) for answer in answers)
    columns = ", ".join(f"v.{name}" for name in View._fields)
    rows = store.db.execute(
        f"SELECT a.id, client_id, query, created_at, {columns} FROM answers AS a JOIN views AS v ON v.answer = a.id"
        f" WHERE client_id IS NOT NULL AND a.id IN ({ids})"
    ).fetchall()
    found = {row[0]: row for row in rows}
    here = [found[answer] for answer in answers if answer in found]
    queries = store.queries([row[2] for row in here])
    return [
        Past(answer, client_id, query, _view(view), at)
        for (answer, client_id, _, at, *view), query in zip(here, queries, strict=True)
    ]


def _view(row: Sequence[object]) -> View:
    view = View._make(row)
    return view._replace(swapped=bool(view.swapped))
