"""Comparisons as a table, CSV or JSON lines, over the episodes of a data set that was imported or collected.

A row names `left_episode`, `left_start` and `left_length`, the same of the right, and `choice` (left, right, equal or
skip) or `prefers_right` (0 to 1); it may have `strength` (clear, slight, or 0 to 1), `annotator`, `response_s` and
`query`. Without a start and a length a side is its whole episode. Sides may be of unequal length.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.formats.reader import Answered, Format, Option, Options
from pbrl.data.formats.tables import is_comparisons
from pbrl.data.parquet import read_batches
from pbrl.data.table_files import table_columns
from pbrl.errors import UserError, choices
from pbrl.reading import reading

CHOICES = {"left": 0.0, "right": 1.0, "equal": 0.5, "skip": np.nan, "incomparable": np.nan}
STRENGTHS = {"clear": 1.0, "slight": 0.5}
SIDES = {"left": ("left_{}", "{}_left", "{}_1"), "right": ("right_{}", "{}_right", "{}_2")}
FIELDS = {"episode": ("episode", "episode_index"), "start": ("start", "frame_index"), "length": ("length",)}
OWN = ("choice", "prefers_right", "strength", "annotator", "response_s", "query")


def is_table_of_comparisons(path: Path) -> bool:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return path.is_file()
    try:
        return path.suffix.lower() in (".csv", ".parquet") and path.is_file() and is_comparisons(table_columns(path))
    except UserError:
        return False


def read(path: Path, options: Options, scratch: Path) -> Answered:
    from pbrl.labels.import_comparisons import Rows, read_comparisons

    rows = Rows()
    length = options.get("segment_length")
    with _open(path) as found:
        for n, row in found:
            rows.add(_told(row, f"{path}: line {n}", length), options.get("annotator", "imported"))
    return read_comparisons(rows, Path(options["data"]), path, scratch, criterion=options.get("criterion"))


@contextmanager
def _open(path: Path) -> Iterator[Iterator[tuple[int, Mapping[str, Any]]]]:
    """Numbers of the lines, and what each says."""
    if path.suffix.lower() == ".parquet":
        yield enumerate((row for batch in read_batches(path) for row in batch.to_pylist()), 1)
        return
    with reading(path, "a table of comparisons"), path.open(encoding="utf-8-sig", newline="") as stream:
        yield (
            _lines(stream, path) if path.suffix.lower() != ".csv" else enumerate(csv.DictReader(stream, strict=True), 2)
        )


def _lines(stream: Any, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for n, line in enumerate(stream, 1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise UserError(f"{path}: line {n} is no JSON object")
            for side in SIDES:  # {"left": {"episode": 3, "start": 10}, ...}
                if isinstance(inner := row.pop(side, None), dict):
                    row |= {f"{side}_{key}": value for key, value in inner.items()}
            yield n, row


def _told(row: Mapping[str, Any], where: str, length: str | None) -> dict[str, Any]:
    """One answer: `left` and `right` as (episode, start, length), and what was said."""
    told: dict[str, Any] = {}
    for side, patterns in SIDES.items():
        names = [[p.format(name) for p in patterns for name in same] for same in FIELDS.values()]
        values = [next((row[name] for name in some if not _empty(row.get(name))), None) for some in names]
        if values[0] is None:
            raise UserError(f"{where} has no {side}_episode; it has {', '.join(map(str, row))}")
        whole = [_whole(v, f"{where}: {side}_{f}") for v, f in zip(values[1:], ("start", "length"), strict=True)]
        if whole[1] is None and length is not None:
            whole[1] = _whole(length, "segment_length")
        told[side] = (str(values[0]), *whole)
    told["value"] = _value(row, where)
    told["annotator"] = None if _empty(row.get("annotator")) else str(row["annotator"])
    told["query"] = None if _empty(row.get("query")) else str(row["query"])
    seconds = row.get("response_s")
    told["response_s"] = np.nan if _empty(seconds) else _number(seconds, f"{where}: response_s", 0, 1e9)
    return told


def _value(row: Mapping[str, Any], where: str) -> float:
    if not _empty(row.get("prefers_right")):
        return _number(row["prefers_right"], f"{where}: prefers_right", 0, 1)
    choice = row.get("choice")
    if _empty(choice) and row.get("prefers_right", "") is None:  # of JSON and parquet: no answer, and not a blank cell
        return np.nan
    if _empty(choice):
        raise UserError(f"{where} has neither choice nor prefers_right")
    plain = str(choice).strip().lower()
    if plain not in CHOICES:
        raise UserError(f"{where}: choice is {plain[:40]!r}; {choices(plain, CHOICES)}")
    strength = row.get("strength")
    if _empty(strength):
        share = 1.0
    elif str(strength).strip().lower() in STRENGTHS:
        share = STRENGTHS[str(strength).strip().lower()]
    else:
        share = _number(strength, f"{where}: strength", 0, 1, also=f"{' or '.join(STRENGTHS)}, or ")
    return 0.5 + (CHOICES[plain] - 0.5) * share


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _whole(value: Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        number = float(value)
        if number >= 0 and number % 1 == 0 and number < 2**53:
            return int(number)
    except (TypeError, ValueError):
        pass
    raise UserError(f"{where} is {str(value)[:40]!r}, expected a whole number from 0")


def _number(value: Any, where: str, low: float, high: float, also: str = "") -> float:
    try:
        if low <= (number := float(value)) <= high:
            return number
    except (TypeError, ValueError):
        pass
    raise UserError(f"{where} is {str(value)[:40]!r}, expected {also}a number from {low:g} to {high:g}")


FORMAT = Format(
    name="comparisons",
    about="comparisons in CSV or JSON lines over episodes: left_episode, left_start, left_length, the same of the "
    "right, and choice or prefers_right; also strength, annotator, response_s, query",
    is_one=is_table_of_comparisons,
    read_answers=read,
    options=(
        Option("data", "the data set whose episodes they name: a folder of pbrl data import or collect", needed=True),
        Option("segment_length", "steps of a side whose length the table does not say (to the end of its episode)"),
        Option("criterion", "what was judged (overall)"),
    ),
)
