"""A bench from its plan to its tables. Reads top to bottom; whatever is killed, the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from pbrl.bench.bench_file import BENCH_FILE, check_name
from pbrl.bench.data_sets import make_data_sets
from pbrl.bench.estimate import Estimate, estimate
from pbrl.bench.grid import Cell, Grid
from pbrl.bench.identity import code_version
from pbrl.bench.jobs import INTERRUPTED, Executor, Job, Outcome
from pbrl.bench.plan import Composed, Planned, describe, make_plan
from pbrl.bench.references import Scores, random_scores
from pbrl.bench.results import Results
from pbrl.errors import UserError
from pbrl.training.interrupt import StopOnInterrupt
from pbrl.training.run_dir import versions, write_json

EARLY = {".lock", "data", "random.json", "probe", "runs"}  # what a bench leaves that was killed before it wrote that
WRITE_EVERY_S = 5.0  # between writings of the tables


@dataclass(frozen=True)
class Options:
    grid: Grid
    cells: Sequence[Cell]  # those of the grid to run
    out: Path
    extra_dir: Path | None  # YAMLs of the user's own
    any_code: bool  # cells that other code has finished count as done
    probe_s: float  # how long a run is watched to estimate the whole; 0: not at all
    command: str


class Listener(Protocol):
    """Hears how a bench goes on; what is shown is up to it."""

    def say(self, message: str) -> None: ...

    def begin(self, todo: Sequence[Planned], steps: Mapping[str, int], expected: Estimate, slots: int) -> None: ...

    def started(self, planned: Planned) -> None: ...

    def ended(self, planned: Planned, outcome: Outcome, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def run_bench(options: Options, executor: Executor, listener: Listener) -> int:
    """Returns how many of the chosen cells have not finished."""
    out, grid = options.out, options.grid
    with _locked(out):
        check_name(out, grid.name)
        composed = Composed(options.extra_dir)
        planned = make_plan(grid, options.cells, out, composed, options.any_code)
        chosen = {cell.name for cell in options.cells}
        for line in describe(grid, [p for p in planned if p.cell.name in chosen]):
            listener.say(line)
        todo = [p for p in planned if p.state != "done" and p.cell.name in chosen]
        known = [p for p in planned if p.state == "done" or p.cell.name in chosen]
        configs = {p.cell.name: composed.config(p.cell) for p in _one_per_env(known, todo)}
        # All are composed: a mistake in any cell is told before the first hour is spent.
        steps = {p.cell.name: int(composed.config(p.cell).steps) for p in todo}
        by_env = {name.split("/")[0]: config for name, config in configs.items()}
        low = random_scores(out, by_env, grid.seeds, listener.say)
        _check_scores(grid, low)
        make_data_sets(grid, todo, out, options.extra_dir, listener.say)
        expected = estimate(planned, todo, out, steps, options.probe_s)
        results = Results(out, grid, planned, low)
        _describe(options, results)
        listener.begin(todo, steps, expected, executor.slots)
        try:
            with StopOnInterrupt(executor.stop):
                _run(todo, composed, executor, results, listener)
        finally:
            results.write()
            _describe(options, results)
            listener.close()
    return sum(results.rows[name]["status"] != "finished" for name in chosen)


def _check_scores(grid: Grid, low: dict[str, Scores]) -> None:
    for name, known in low.items():
        if known[grid.envs[name].score] is None:
            raise UserError(f"envs.{name}.score: this task reports no {grid.envs[name].score}; valid is return")


def _run(todo: Sequence[Planned], composed: Composed, executor: Executor, results: Results, listener: Listener) -> None:
    by_name = {p.job.name: p for p in todo}
    written = 0.0

    def jobs() -> Iterator[Job]:
        for p in todo:
            _begun(p, composed, results.out)
            listener.started(p)
            yield p.job

    for outcome in executor.run(jobs()):
        p = replace(by_name[outcome.job.name], state="begun")
        _record(p, outcome)
        row = results.update(p)
        listener.ended(p, outcome, row)
        if time.monotonic() - written > WRITE_EVERY_S:
            results.write()
            written = time.monotonic()


def _begun(planned: Planned, composed: Composed, out: Path) -> None:
    """Writes down what the cell is before its first step; what another config or code left there goes aside."""
    if planned.state == "stale":
        _set_aside(planned, out)
    config = composed.config(planned.cell)
    planned.write_record(
        name=planned.cell.name,
        arguments=list(planned.cell.arguments),
        stamp=planned.stamp,
        config=composed.version(planned.cell, planned.data),
        code=planned.record().get("code", code_version()) if planned.state == "begun" else code_version(),
        budget=config.feedback.budget,
        status="started",
    )


def _record(planned: Planned, outcome: Outcome) -> None:
    record = planned.record()
    finished = planned.job.finished()
    planned.write_record(
        status="finished" if finished else "started" if outcome.code == INTERRUPTED else "failed",
        exit_code=outcome.code,
        message="" if finished else outcome.message,
        attempts=record.get("attempts", 0) + outcome.attempts,
        wall_s=round(record.get("wall_s", 0.0) + outcome.wall_s, 2),
    )


def _set_aside(planned: Planned, out: Path) -> None:
    """To OUT/old, so that nothing is lost."""
    code = planned.record().get("code", "unknown")
    folder = out / "old" / f"{planned.cell.name}_{code}"
    number = 1
    while folder.exists():
        number += 1
        folder = out / "old" / f"{planned.cell.name}_{code}_{number}"
    folder.mkdir(parents=True)
    for path in (planned.job.folder, planned.job.log, planned.record_file):
        if path.exists():
            shutil.move(path, folder / path.name)


def _one_per_env(planned: Sequence[Planned], todo: Sequence[Planned]) -> Iterator[Planned]:
    """A cell of each env, to measure random actions in."""
    seen = set()
    for p in (*todo, *planned):
        if p.cell.env not in seen:
            seen.add(p.cell.env)
            yield p


def _describe(options: Options, results: Results) -> None:
    """bench.json: what the tables are of."""
    file = options.out / BENCH_FILE
    before = json.loads(file.read_text()) if file.exists() else {}
    grid = options.grid
    write_json(
        file,
        {
            "name": grid.name,
            "about": grid.about,
            "commands": list(dict.fromkeys([*before.get("commands", []), options.command])),
            "code": code_version(),
            "versions": versions(threads=1),
            "seeds": list(grid.seeds),
            "cells": len(grid.cells),
            "finished": results.finished(),
            "failed": results.failed(),
            "envs": {name: asdict(env) | {"about": grid.envs[name].about} for name, env in results.scales().items()},
            "methods": {m.name: {"labels": m.labels, "about": m.about} for m in grid.methods.values()},
            "published": [asdict(one) for one in grid.published],
        },
    )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One bench at a time in a folder that is a bench's, or empty."""
    if out.exists() and not (out / BENCH_FILE).exists() and (not out.is_dir() or set(os.listdir(out)) - EARLY):
        raise UserError(f"out={out} holds something else than a bench; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from error
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"out={out}: another bench is at work there") from None
    try:
        yield
    finally:
        lock.release()
