"""A bench from its plan to its tables. Reads top to bottom; whatever is killed, the same command goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from filelock import FileLock, Timeout

from pbrl.bench.bench_file import BENCH_FILE, check_name
from pbrl.bench.data_sets import make_data_sets
from pbrl.bench.estimate import Estimate, estimate
from pbrl.bench.grid import Cell, Grid
from pbrl.bench.identity import yaml_folders
from pbrl.bench.jobs import INTERRUPTED, Executor, Job, Outcome, cores, set_aside, settle
from pbrl.bench.plan import Composed, Planned, describe, make_plan
from pbrl.bench.references import Scores, random_scores, task_of
from pbrl.bench.results import Results
from pbrl.bench.sources import changed, code_version, own_code
from pbrl.errors import UserError
from pbrl.files import LOCK, make_folder, remove_empty, write_json
from pbrl.reading import read_object
from pbrl.training.interrupt import StopOnInterrupt
from pbrl.training.run_dir import versions

EARLY = {"data", "old", "random.json", "probe", "runs"}  # what a bench leaves that was killed before it wrote that
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

    def on_start(self, planned: Planned) -> None: ...

    def on_end(self, planned: Planned, outcome: Outcome, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def check_cells(planned: Sequence[Planned], todo: Sequence[Planned], composed: Composed, executor: Executor) -> None:
    """Raise UserError for a mistake in any of the cells to do, before the first hour is spent."""
    first = _first_per_env(planned)
    for p in todo:
        _check_same_task(p, first[p.cell.env], composed)
        own_code(config := composed.config(p.cell))  # known as it is now
        executor.check(p.cell.name, config)


def run_bench(options: Options, executor: Executor, listener: Listener) -> int:
    """Run a bench to its tables; return how many of the chosen cells have not finished."""
    out, grid = options.out, options.grid
    with _lock(out):
        check_name(out, grid.name)
        composed = Composed(options.extra_dir)
        planned = make_plan(grid, options.cells, out, composed, options.any_code)
        chosen = {cell.name for cell in options.cells}
        for line in describe(grid, [p for p in planned if p.cell.name in chosen]):
            listener.say(line)
        todo = [p for p in planned if p.state != "done" and p.cell.name in chosen]
        first = _first_per_env(planned)
        check_cells(planned, todo, composed, executor)
        steps = {p.cell.name: int(composed.config(p.cell).steps) for p in todo}
        known = dict.fromkeys(p.cell.env for p in planned if p.state == "done" or p.cell.name in chosen)
        low = random_scores(out, {env: composed.config(first[env].cell) for env in known}, grid.seeds, listener.say)
        _check_scores(grid, low)
        here = max(1, min(executor.slots, cores()))  # processes at once before the executor has any
        make_data_sets(grid, [p.cell for p in todo], out, options.extra_dir, options.any_code, here, listener.say)
        expected = estimate(planned, todo, out, steps, options.probe_s, here)
        results = Results(out, grid, planned, low)
        _keep_tables(out, results)
        _describe(options, results)  # the tables of an earlier bench stand until the first cell ends
        jobs = _Jobs(todo, composed, out, executor, listener)
        listener.begin(todo, steps, expected, executor.slots)
        try:
            stopped = _run(jobs, executor, results, listener, options)
        finally:
            _write(options, results)
            listener.close()
    if jobs.changed:
        raise UserError("the code or the configs have changed since this bench began; all is saved, start it again")
    missing = sum(results.rows[name]["status"] != "finished" for name in chosen)
    if stopped and missing:
        listener.say(f"{len(chosen) - missing} of {len(chosen)} cells finished; the same command goes on: see {out}")
        raise KeyboardInterrupt
    return missing


def _check_scores(grid: Grid, low: dict[str, Scores]) -> None:
    for name, known in low.items():
        if known[grid.envs[name].score] is None:
            raise UserError(f"envs.{name}.score: this task reports no {grid.envs[name].score}; valid is return")


def _run(jobs: _Jobs, executor: Executor, results: Results, listener: Listener, options: Options) -> bool:
    """Run the jobs and record what they come to; return whether a signal stopped them."""
    by_name = {p.job.name: p for p in jobs.todo}
    written = 0.0
    with StopOnInterrupt(jobs.stop) as stop:
        for outcome in executor.run(jobs):
            p = replace(by_name[outcome.job.name], state="begun")
            _record(p, outcome)
            row = results.update(p)
            listener.on_end(p, outcome, row)
            if time.monotonic() - written > WRITE_EVERY_S:
                _write(options, results)
                written = time.monotonic()
    return stop.stopping


class _Jobs:
    """A sequence of jobs made ready one by one, as an executor draws them; none after a stop, or with other code."""

    def __init__(
        self, todo: Sequence[Planned], composed: Composed, out: Path, executor: Executor, listener: Listener
    ) -> None:
        self.todo, self.composed, self.out, self.executor, self.listener = todo, composed, out, executor, listener
        self._stopped = Event()
        self.changed = False  # code or configs have, since the bench began

    def stop(self) -> None:
        self._stopped.set()
        self.executor.stop()

    def __iter__(self) -> Iterator[Job]:
        folders = yaml_folders(self.composed.extra_dir)
        for planned in self.todo:
            if changed(own_code(self.composed.config(planned.cell)), folders):
                self.changed = True
                self.stop()
            if planned.state == "stale":
                settle(planned.job, self._stopped)  # what a dead bench left may still be saving into the folder
            if self._stopped.is_set():
                return
            _record_start(planned, self.composed, self.out)
            self.listener.on_start(planned)
            yield planned.job


def _record_start(planned: Planned, composed: Composed, out: Path) -> None:
    """Write down what the cell is before its first step, and set aside what another config or code left there."""
    if planned.state == "stale":
        old = out / "old" / f"{planned.cell.name}_{planned.record().get('code', 'unknown')}"
        set_aside([planned.job.folder, planned.job.log, planned.record_file], old)
    config = composed.config(planned.cell)
    planned.write_record(
        name=planned.cell.name,
        arguments=list(planned.cell.arguments),
        stamp=planned.stamp,
        config=composed.version(planned.cell, planned.data),
        code=code_version(),
        own=own_code(config),
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


def _first_per_env(planned: Sequence[Planned]) -> dict[str, Planned]:
    """Choose the cell of each env in which random actions are measured: the first of the grid, however far that is."""
    return {p.cell.env: p for p in reversed(planned)}


def _check_same_task(planned: Planned, first: Planned, composed: Composed) -> None:
    config = composed.config(planned.cell)
    if config.evaluation.every is None:
        raise UserError(f"{planned.cell.name}: evaluation.every=null measures no return; a bench compares returns")
    if task_of(config) != task_of(composed.config(first.cell)):
        raise UserError(
            f"{planned.cell.name} has other settings of env or evaluation.episodes than {first.cell.name}: "
            f"scores of one env are compared; give it an entry of its own under envs"
        )


def _write(options: Options, results: Results) -> None:
    """Write the tables and what they are of, together: a report needs both, also of a bench that was killed."""
    results.write()
    _describe(options, results)


def _keep_tables(out: Path, results: Results) -> None:
    """Set aside tables whose rows of stale cells are about to go: it may take long until all are made anew."""
    before = _before(out)
    if before.get("finished", 0) > results.finished():
        set_aside([out / "results.csv", out / "curves.csv"], out / "old" / f"tables_{before['code']}")


def _before(out: Path) -> dict[str, Any]:
    """Read bench.json as it is; empty for a new bench."""
    file = out / BENCH_FILE
    return read_object(file) if file.exists() else {}


def _describe(options: Options, results: Results) -> None:
    """Write bench.json: what the tables are of."""
    grid = options.grid
    write_json(
        options.out / BENCH_FILE,
        {
            "name": grid.name,
            "about": grid.about,
            "commands": list(dict.fromkeys([*_before(options.out).get("commands", []), options.command])),
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
def _lock(out: Path) -> Iterator[None]:
    """Lock a folder, which is a bench's or empty, so that one bench at a time works in it."""
    names = set(os.listdir(out)) if out.is_dir() else set()
    other = {name for name in names - EARLY if not name.startswith(".")}  # hidden: a lock, files that are half written
    if out.exists() and BENCH_FILE not in names and (other or not out.is_dir()):
        raise UserError(f"out={out} holds something else than a bench; choose another folder")
    try:
        made = make_folder(out)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from error
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"out={out}: another bench is at work there") from None
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise
    finally:
        lock.release()
