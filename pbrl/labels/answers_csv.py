"""Every answer ever given as a row of a table: labels, checks and skips, also those that were taken back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pbrl.files import replacing
from pbrl.labels.store import LabelStore
from pbrl.labels.views import find_tags, in_segment_order

COLUMNS = (  # docs/study.md says what they mean
    "annotator", "left_out", "purpose", "kind", "criterion", "query", "source_query", "env_steps", "choice", "screen",
    "strength", "value", "expected", "right", "swapped", "places", "tags", "shown_at", "played_at", "answered_at",
    "response_s", "plays_left", "plays_right", "answered_by", "taken_back_at", "client",
)  # fmt: skip
LABELS = """
SELECT a.id, name AS annotator, a.query, a.kind AS answered_by, prefers_right, value, response_s, a.created_at,
    (SELECT created_at FROM answers AS r WHERE r.retracts = a.id) AS taken_back_at, choice, strength, swapped, places,
    coalesce(v.shown_at, s.shown_at) AS shown_at, coalesce(v.played_at, s.played_at) AS played_at,
    coalesce(plays_left, plays) AS plays_left, coalesce(plays_right, plays) AS plays_right,
    coalesce(v.client, s.client) AS client, NULL AS expected, 'label' AS purpose
FROM answers AS a JOIN annotators AS n ON n.id = annotator LEFT JOIN views AS v ON v.answer = a.id
LEFT JOIN arrangements AS s ON s.answer = a.id WHERE retracts IS NULL ORDER BY a.id
"""
CHECKS = """
SELECT c.id, name AS annotator, query, 'human' AS answered_by, prefers_right, NULL AS value, response_s, created_at,
    retracted_at AS taken_back_at, choice, strength, swapped, NULL AS places, shown_at, played_at, plays_left,
    plays_right, NULL AS client, expected, purpose
FROM checks AS c JOIN annotators AS n ON n.id = annotator ORDER BY c.id
"""
TIMES = ("shown_at", "played_at", "answered_at", "taken_back_at")


def write_answers(run_dir: Path, file: Path, source: Mapping[int, int]) -> int:
    """Write the table, all of it or no file; return its number of rows. source: see `source_queries`."""
    with LabelStore(run_dir, create=False) as store, store.transaction():
        rows = sorted(find_rows(store, source), key=lambda row: row["answered_at"])
    with replacing(file) as partial, partial.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, COLUMNS)
        table.writeheader()
        table.writerows({name: _cell(name, row.get(name)) for name in COLUMNS} for row in rows)
    return len(rows)


def find_rows(store: LabelStore, source: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """Find the rows of answers, in no order; times are Unix seconds."""
    queries = {query.id: query for query in store.queries(kind=None, criterion=None)}
    left_out, tags = store.left_out(), find_tags(store.db)
    for sql in (LABELS, CHECKS):
        cursor = store.db.execute(sql)
        names = [column[0] for column in cursor.description]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            query, choice = queries[row["query"]], _choice(row)
            swapped = None if row["swapped"] is None else bool(row["swapped"])
            yield row | {
                "left_out": row["annotator"] in left_out,
                "kind": query.form.kind,
                "criterion": query.form.criterion,
                "source_query": source.get(query.id),
                "env_steps": query.env_steps,
                "choice": choice,
                "screen": None if swapped is None else in_segment_order(choice, swapped),
                "value": row["prefers_right"] if row["value"] is None else row["value"],
                "right": None if row["expected"] is None else choice == row["expected"],
                "swapped": swapped,
                "tags": " ".join(tags.get(row["id"], [])) if row["purpose"] == "label" else None,
                "answered_at": row["created_at"],
            }


def _choice(row: Mapping[str, Any]) -> str:
    if row["choice"] is not None:
        return str(row["choice"])
    if row["value"] is not None:
        return "answer"
    value = row["prefers_right"]
    return "skip" if value is None else "equal" if value == 0.5 else "right" if value > 0.5 else "left"


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return json.dumps(value)
    if name in TIMES:
        return datetime.fromtimestamp(value, timezone.utc).isoformat(timespec="milliseconds")
    return value
