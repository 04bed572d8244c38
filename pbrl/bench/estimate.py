"""An estimate of how long a bench will take: from finished cells, and a quick look at some that are still to run."""

from __future__ import annotations

import csv
import itertools
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pbrl.bench.child import Child
from pbrl.bench.jobs import POLL_S, Job, Stop, side_by_side
from pbrl.bench.plan import Planned

Pair = tuple[str, str]  # env, method
START_S = 60.0  # a probe that has written no row by then says nothing


@dataclass(frozen=True)
class Estimate:
    """Seconds per cell by env and method; those that nothing is known of are missing."""

    seconds: dict[Pair, float]

    def of(self, planned: Planned) -> float | None:
        return self.seconds.get((planned.cell.env, planned.cell.method))

    def left_s(
        self, planned: Sequence[Planned], slots: int, share: Callable[[Planned], float] = lambda _: 1.0
    ) -> float | None:
        """Estimate the seconds that cells still take, of each the share that is left; None where nothing is known."""
        known = [s for p in planned if (s := self.of(p)) is not None]
        if not known:
            return None
        left = [(self.of(p) or sum(known) / len(known)) * share(p) for p in planned]
        return max(sum(left) / max(slots, 1), *left)  # the longest runs in one slot, however many there are


def estimate(
    planned: Sequence[Planned],
    todo: Sequence[Planned],
    out: Path,
    steps: Mapping[str, int],
    probe_s: float,
    slots: int,
) -> Estimate:
    """Estimate what `todo` takes. steps: of each whole run; probe_s: how long to watch each of `slots` runs, 0: not."""
    seconds = finished_seconds(planned)
    if probe_s > 0 and todo:
        shutil.rmtree(out / "probe", ignore_errors=True)  # of a bench that was killed: they would be gone on with
        tried = to_probe(todo, set(seconds))
        probe = partial(_probe, out / "probe", steps, probe_s)
        for one, measured in zip(tried, side_by_side(probe, tried, slots), strict=True):
            if measured is not None:
                seconds[one.cell.env, one.cell.method] = measured
        shutil.rmtree(out / "probe", ignore_errors=True)
    return Estimate(spread(seconds, {(p.cell.env, p.cell.method) for p in todo}))


def finished_seconds(planned: Sequence[Planned]) -> dict[Pair, float]:
    """Return the mean seconds of finished cells by env and method."""
    found = defaultdict(list)
    for p in planned:
        if p.state == "done" and (wall_s := p.record().get("wall_s")):
            found[p.cell.env, p.cell.method].append(float(wall_s))
    return {pair: float(np.mean(values)) for pair, values in found.items()}


def to_probe(todo: Sequence[Planned], known: set[Pair]) -> list[Planned]:
    """Choose one cell of each method and of each env that nothing is known of: not of each pair of them."""
    chosen = []
    envs, methods = {e for e, _ in known}, {m for _, m in known}
    for p in todo:
        if p.cell.method not in methods or p.cell.env not in envs:
            chosen.append(p)
            envs.add(p.cell.env)
            methods.add(p.cell.method)
    return chosen


def spread(seconds: dict[Pair, float], wanted: set[Pair]) -> dict[Pair, float]:
    """Fill in pairs from others: the logarithm of a time is that of its env plus that of its method."""
    if not seconds:
        return {}
    pairs = list(seconds)
    envs, methods = (sorted({pair[i] for pair in (*pairs, *wanted)}) for i in (0, 1))
    rows = np.zeros((len(pairs), len(envs) + len(methods)))
    for row, (env, method) in zip(rows, pairs, strict=True):
        row[envs.index(env)] = row[len(envs) + methods.index(method)] = 1
    # lstsq returns the solution of the least norm, in which a name that is nowhere measured adds nothing.
    logs = np.log([seconds[pair] for pair in pairs])
    fitted = np.linalg.lstsq(rows, logs - logs.mean(), rcond=None)[0]
    filled = {
        (env, method): float(np.exp(logs.mean() + fitted[envs.index(env)] + fitted[len(envs) + methods.index(method)]))
        for env, method in itertools.product(envs, methods)
        if (env, method) in wanted
    }
    return filled | seconds


def _probe(folder: Path, steps_of: Mapping[str, int], probe_s: float, planned: Planned, stopped: Stop) -> float | None:
    """Return the seconds of a whole run, from its beginning and its speed a moment later; None if it failed."""
    steps = steps_of[planned.cell.name]
    name = planned.cell.name.replace("/", "_")
    given = ("log_every=", "report=")
    arguments = [text for text in planned.job.arguments if not text.startswith(given)]
    job = replace(
        planned.job,
        folder=folder / name,
        arguments=(*arguments, f"log_every={max(1, steps // 200)}", "report=false"),
    )
    begun = time.monotonic()
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    with Child(job.command(), job.log) as child:
        _watch(job, child, probe_s, stopped)
        wall_s = time.monotonic() - begun
        child.kill()  # there is nothing to save
    return wall_s if job.finished() else _extrapolate(_rows(job), steps, wall_s)


def _watch(job: Job, child: Child, probe_s: float, stopped: Stop) -> None:
    """Return when the run has gone on for probe_s after its first row, or is over, or does not get going."""
    begun, first = time.monotonic(), None
    while child.wait(POLL_S) is None and not stopped.is_set():
        now = time.monotonic()
        if first is None and _rows(job):
            first = now
        if (first is not None and now - first > probe_s) or (first is None and now - begun > START_S):
            return


def _rows(job: Job) -> list[tuple[float, float]]:
    """Steps and seconds of each row of progress.csv."""
    try:
        rows = list(csv.DictReader((job.folder / "progress.csv").read_text().splitlines()))
    except OSError:
        return []
    counted = "time/total_timesteps" if rows and rows[0].get("time/total_timesteps") else "time/total_updates"
    return [(float(row[counted]), float(row["time/time_elapsed"])) for row in rows if row.get(counted)]


def _extrapolate(rows: list[tuple[float, float]], steps: int, wall_s: float) -> float | None:
    """Extrapolate the later half of what was seen to the end."""
    if not rows:
        return None
    middle, (last_step, last_s) = rows[(len(rows) - 1) // 2], rows[-1]
    if last_step == middle[0]:
        middle = (0.0, 0.0)
    per_step = (last_s - middle[1]) / (last_step - middle[0])
    return wall_s + max(per_step, 0.0) * (steps - last_step)
