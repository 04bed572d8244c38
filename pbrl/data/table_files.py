"""Tables of steps in CSV or parquet: the rows of one episode after another, a few in memory at a time."""

from __future__ import annotations

import csv
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.parquet import ROWS, column_names, read_batches, to_numpy
from pbrl.errors import UserError, choices
from pbrl.reading import reading

SUFFIXES = (".csv", ".tsv", ".parquet")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf(inity)?)", re.IGNORECASE | re.ASCII)
Batch = dict[str, np.ndarray]  # columns: float64 numbers, NaN where empty, lists of them (L, n), or text


def table_columns(path: Path) -> list[str]:
    """Names of the columns, which are all different."""
    if path.suffix.lower() == ".parquet":
        names = column_names(path)
    else:
        with reading(path, "a CSV file in UTF-8"), _open(path) as stream:
            names = next(csv.reader(stream, delimiter=_delimiter(stream)), [])
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"{path} has the columns {', '.join(names) or 'nothing'}; expected different names in its first line"
        )
    return names


def table_batches(path: Path, text: Sequence[str], numbers: Sequence[str]) -> Iterator[Batch]:
    """Yield these columns, a few rows at a time; UserError where the table lacks one."""
    there = table_columns(path)
    for name in (*text, *numbers):
        if name not in there:
            raise UserError(f"{path} has no column {name}; {choices(name, there)}")
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path, text, numbers)
    else:
        yield from _csv(path, there, text, numbers)


def by_episode(batches: Iterator[Batch], key: str | None, where: Path) -> Iterator[tuple[str, Batch]]:
    """The rows of one episode after another, and its name; without a key column the whole table is one."""
    kept: list[Batch] = []
    now: str | None = None
    seen: set[str] = set()
    for batch in batches:
        names = batch[key] if key is not None else np.full(_rows(batch), where.stem)
        cuts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
        for begin, end in pairwise(cuts):
            if begin == end:
                continue
            name = str(names[begin])
            if name != now and now is not None:
                yield now, _joined(kept)
                kept = []
            if name != now and name in seen:
                raise UserError(f"{where}: rows of episode {name} stand in two places; sort the table by {key}")
            seen.add(name)
            now = name
            kept.append({column: values[begin:end] for column, values in batch.items()})
    if now is None:
        raise UserError(f"{where} has no rows")
    yield now, _joined(kept)


def find_columns(wanted: Sequence[str], there: Sequence[str], key: str, where: Path) -> list[str]:
    """Columns by their names or by patterns such as obs_*, in the order of the table."""
    found: list[str] = []
    for pattern in wanted:
        matching = [name for name in there if fnmatch.fnmatchcase(name, pattern)]
        if not matching:
            raise UserError(f"{where}: {key}={pattern} is no column; {choices(pattern, there)}")
        found += [name for name in matching if name not in found]
    return found


def as_matrix(batch: Mapping[str, np.ndarray], columns: Sequence[str]) -> np.ndarray:
    """Join columns of numbers and of lists of them as (L, n) float64."""
    return np.concatenate([batch[name].reshape(len(batch[name]), -1) for name in columns], 1)


def _csv(path: Path, there: list[str], text: Sequence[str], numbers: Sequence[str]) -> Iterator[Batch]:
    place = {name: there.index(name) for name in (*text, *numbers)}
    with reading(path, "a CSV file in UTF-8"), _open(path) as stream:
        rows = csv.reader(stream, delimiter=_delimiter(stream), strict=True)
        next(rows)
        while read := [(rows.line_num, row) for row in islice(rows, ROWS)]:
            filled = [(line, row) for line, row in read if row]  # an empty line at the end
            lines, some = [line for line, _ in filled], [row for _, row in filled]
            for line, row in zip(lines, some, strict=True):
                if len(row) != len(there):
                    first = f"expected {len(there)} as in its first"
                    raise UserError(f"{path} has {len(row)} values in line {line}, {first}")
            batch: Batch = {name: np.array([row[place[name]] for row in some]) for name in text}
            batch |= {name: _floats([row[place[name]] for row in some], name, lines, path) for name in numbers}
            if some:
                yield batch


def _floats(values: list[str], name: str, lines: Sequence[int], path: Path) -> np.ndarray:
    try:
        return np.array([v.strip() or "nan" for v in values], np.float64)
    except ValueError:
        pass
    words = {"true": "1", "false": "0", "": "nan"}
    plain = [words.get(v.strip().lower(), v.strip()) for v in values]
    wrong = next((i for i, v in enumerate(plain) if not NUMBER.fullmatch(v)), None)
    if wrong is not None:
        raise UserError(f"{path}: {name} in line {lines[wrong]} is {values[wrong][:40]!r}, expected a number")
    return np.array(plain, np.float64)


def _parquet(path: Path, text: Sequence[str], numbers: Sequence[str]) -> Iterator[Batch]:
    for rows in read_batches(path, [*text, *numbers]):
        batch: Batch = {name: np.array([str(v) for v in rows[name].to_pylist()]) for name in text}
        for name in numbers:
            batch[name] = _numbers(rows[name], f"{path}: {name}")
        if rows.num_rows:
            yield batch


def _numbers(column: Any, where: str) -> np.ndarray:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return to_numpy(column, where).astype(np.float64)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise UserError(f"{where} is of {kind}, expected numbers, or lists of as many numbers each")
    return np.asarray(
        column.cast(pa.float64() if not pa.types.is_boolean(kind) else pa.int8()).to_numpy(zero_copy_only=False),
        np.float64,
    )


def _open(path: Path) -> Any:
    return path.open(encoding="utf-8-sig", newline="")


def _delimiter(stream: Any) -> str:
    """Return what stands between the names of the first line: a comma, or a tab or semicolon where there is none."""
    line = stream.readline(1 << 20)
    stream.seek(0)
    return next((c for c in (",", "\t", ";") if c in line), ",")


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _joined(parts: list[Batch]) -> Batch:
    return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
