"""The records of a bench, and results of others, read and checked."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pbrl.bench.bench_file import BENCH_FILE, Bench, Env, read_bench_file
from pbrl.bench.results import OF_SOME
from pbrl.errors import UserError
from pbrl.reading import require_file

KEY = ("env", "method", "teacher", "budget", "seed")
SCORES = ("score", "return", "success", "normalised")
MEASURED = ("env_steps", "updates", "labels", *SCORES, "success_at_end", "reward_accuracy", "reward_updates", "wall_s")
NEEDED = ("agent", "status", "label_kind", "config", "code")
DESCRIBED = (*NEEDED, "versions")
STATUSES = ("finished", "failed", "interrupted", "missing")
CURVES = ("env_steps", "updates", "labels", "return", "success", "score", "normalised", "wall_s")


@dataclass(frozen=True)
class Cell:
    """A run, or one of its evaluations."""

    env: str
    method: str
    teacher: str
    budget: int  # 0: learns without labels
    seed: int
    source: str  # empty: ours; else the file that it was imported from
    described: Mapping[str, str]  # of DESCRIBED; empty where unknown
    numbers: Mapping[str, float]  # of MEASURED and OF_SOME, or CURVES; unknown ones are absent

    @property
    def counts(self) -> bool:
        """Return whether it has a result."""
        return self.described.get("status") == "finished" and "score" in self.numbers


@dataclass
class Results:
    """The content of a report."""

    bench: Bench
    cells: list[Cell]
    evaluations: list[Cell]
    notes: list[str] = field(default_factory=list)  # what was left out, and why


def read_bench(folder: Path, imports: Sequence[Path]) -> Results:
    """Read a bench folder and CSVs with the columns of results.csv. UserError for what cannot be read."""
    bench = read_bench_file(folder / BENCH_FILE)
    cells = [_cell(row, bench, "", "finished") for row in _rows(folder / "results.csv", (*KEY, *NEEDED, *MEASURED))]
    results = Results(bench, cells, [])
    if os.path.lexists(folder / "curves.csv"):
        rows = _rows(folder / "curves.csv", (*KEY, *CURVES), unique=False)
        results.evaluations = [_cell(row, bench, "", "") for row in rows]
    else:
        results.notes.append(f"{folder.name} has no curves.csv, so there are no curves over steps and labels.")
    names = [file.name for file in imports]
    for file in imports:
        if names.count(file.name) > 1:
            raise UserError(f"with= has two files named {file.name}; rename one, the name marks its rows")
        _import(file, results)
    if empty := sum(c.described["status"] == "finished" and not c.counts for c in results.cells):
        results.notes.append(f"Finished runs without a score, which are left out: {empty}.")
    return results


@dataclass(frozen=True)
class _Row:
    where: str  # file and line
    values: dict[str, str]

    def number(self, name: str) -> float | None:
        text = self.values.get(name, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(
                f"{self.where}: {name} is {text!r}; valid is a finite number, or nothing where it is unknown"
            )
        return value

    def whole(self, name: str) -> int:
        text = self.values[name]
        if not (text.isascii() and text.isdecimal()):
            raise UserError(f"{self.where}: {name} is {text!r}; valid is a whole number of at least 0")
        return int(text)

    def name(self, name: str) -> str:
        if not self.values[name]:
            raise UserError(f"{self.where}: {name} is empty; valid is a name")
        return self.values[name]


def _rows(file: Path, needed: Sequence[str], unique: bool = True) -> Iterator[_Row]:
    """Read a CSV with a header; `unique`: no two rows are of the same cell."""
    seen: dict[tuple[str, ...], int] = {}
    if not file.exists():
        raise UserError(f"{file} does not exist")
    require_file(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in needed if name not in header]:
                raise UserError(f"{file}, line 1: no column {missing[0]!r}; needed are {', '.join(needed)}")
            if twice := [name for name in header if header.count(name) > 1]:
                raise UserError(f"{file}, line 1: column {twice[0]!r} is there twice; valid is once")
            for cells in filter(None, reader):
                where = f"{file}, line {reader.line_num}"
                if len(cells) != len(header):
                    raise UserError(
                        f"{where}: {len(cells)} values; valid are {len(header)}, one for each column of line 1"
                    )
                row = _Row(where, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
                key = tuple(row.values[name] for name in KEY)
                if unique and key in seen:
                    raise UserError(
                        f"{where}: the same {', '.join(KEY)} as line {seen[key]}; valid is one row for each"
                    )
                seen[key] = reader.line_num
                yield row
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} is not a CSV in UTF-8: {error}") from None


def _cell(row: _Row, bench: Bench, source: str, status: str) -> Cell:
    """Read a cell. status: of rows which do not say; empty for evaluations, which have none."""
    env = row.name("env")
    if env not in bench.envs:
        raise UserError(f"{row.where}: env is {env!r}; valid are those of bench.json, {', '.join(bench.envs)}")
    described = {name: row.values.get(name, "") for name in DESCRIBED if status}
    if status:
        described["status"] = described["status"] or status
        if described["status"] not in STATUSES:
            raise UserError(f"{row.where}: status is {described['status']!r}; valid are {', '.join(STATUSES)}")
    names = (*MEASURED, *OF_SOME) if status else CURVES
    numbers = {name: value for name in names if (value := row.number(name)) is not None}
    _score(numbers, bench.envs[env])
    # A cell that is not finished may not know yet how many labels its YAML or its data set has.
    unknown = described.get("status") not in (None, "finished") and not row.values["budget"]
    budget = 0 if unknown else row.whole("budget")
    teacher = row.name("teacher") if budget else "none"  # without labels nobody answers
    return Cell(env, row.name("method"), teacher, budget, row.whole("seed"), source, described, numbers)


def _score(numbers: dict[str, float], env: Env) -> None:
    """Take the score from the column that the task names, and normalise it by the bench's own low and high."""
    if "score" not in numbers and env.score in numbers:
        numbers["score"] = numbers[env.score]
    numbers.pop("normalised", None)
    if "score" in numbers and (normalised := env.normalised(numbers["score"])) is not None:
        numbers["normalised"] = normalised


def _import(file: Path, results: Results) -> None:
    bench, others = results.bench, set()
    for row in _rows(file, KEY):
        if row.values["env"] not in bench.envs:
            others.add(row.values["env"])
            continue
        cell = _cell(row, bench, file.name, "finished")
        if cell.described["status"] == "finished" and not cell.counts:
            score = bench.envs[cell.env].score
            raise UserError(
                f"{row.where}: no score; valid is a number in column score or {score}, by which {cell.env} goes"
            )
        results.cells.append(cell)
    if others:
        left_out = ", ".join(sorted(others))
        results.notes.append(f"Tasks of {file.name} that this bench does not have, which are left out: {left_out}.")
