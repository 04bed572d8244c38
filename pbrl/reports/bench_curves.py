"""Scores over steps and over labels, of runs that were evaluated at moments of their own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pbrl.bench.records import Cell
from pbrl.reports.bench_analysis import CURVE_DRAWS, generator
from pbrl.reports.bench_arms import Arm, Runs
from pbrl.statistics import runs as statistics
from pbrl.statistics.runs import Interval

MOST_POINTS = 200
UNITS = {"env_steps": "environment steps", "updates": "updates"}


class Curve(NamedTuple):
    x: np.ndarray  # (K,)
    y: np.ndarray  # (K,)
    interval: Interval | None
    runs: int  # of the task that has the fewest


class Course(NamedTuple):
    """The evaluations of one run, in their order."""

    x: np.ndarray  # (M,)
    y: np.ndarray  # (M,)

    def at(self, grid: np.ndarray) -> np.ndarray:
        """The last evaluation at or before each point. ValueError for a point before the first."""
        if grid[0] < self.x[0]:
            raise ValueError(f"curve wanted from {grid[0]:g}, the first evaluation is at {self.x[0]:g}")
        return self.y[np.searchsorted(self.x, grid, side="right") - 1]


class Courses:
    """The evaluations of finished runs, by arm and task."""

    def __init__(self, evaluations: Sequence[Cell], runs: Runs) -> None:
        self.runs = runs
        finished = {
            (a, t, cell.seed) for a, tasks in runs.cells.items() for t, cells in tasks.items() for cell in cells
        }
        self._rows: dict[tuple[Arm, str], dict[int, list[Cell]]] = {}
        for row in evaluations:
            arm = Arm(row.method, row.teacher, row.budget, row.source)
            if (arm, row.env, row.seed) in finished:
                self._rows.setdefault((arm, row.env), {}).setdefault(row.seed, []).append(row)

    def of(self, arm: Arm, task: str, x: str, y: str) -> list[Course]:
        """One for each run that has both numbers; x is `labels`, or `steps` in the unit of the arm."""
        name, courses = self.runs.unit(arm, task) if x == "steps" else x, []
        for rows in self._rows.get((arm, task), {}).values():
            points = [(r.numbers[name], r.numbers[y]) for r in rows if name in r.numbers and y in r.numbers]
            if points:
                xs, ys = np.array(sorted(points, key=lambda point: point[0])).T
                courses.append(Course(xs, ys))
        return courses

    def totals(self, tasks: Sequence[str], arms: Sequence[Arm]) -> dict[tuple[str, str], float]:
        """Steps of the longest run, by task and unit."""
        totals: dict[tuple[str, str], float] = {}
        for task, arm in itertools.product(tasks, arms):
            for course in self.of(arm, task, "steps", "score"):
                key = task, self.runs.unit(arm, task)
                totals[key] = max(totals.get(key, 0.0), float(course.x[-1]))
        return totals

    def step_axis(self, tasks: Sequence[str], arms: Sequence[Arm]) -> tuple[dict[Arm, dict[str, float]], str]:
        """Return what steps of each arm are divided by on each task, and the name of the axis.

        Tasks that go on for equally long share an axis of steps; others one of the share of their training.
        """
        totals = self.totals(tasks, arms)
        units = {unit for _, unit in totals}
        if len(set(totals.values())) == 1 and len(units) == 1:
            return {arm: dict.fromkeys(tasks, 1.0) for arm in arms}, UNITS[units.pop()]
        scale = {arm: {task: totals.get((task, self.runs.unit(arm, task))) or 1.0 for task in tasks} for arm in arms}
        return scale, "share of the task's steps"

    def aggregate(self, arm: Arm, tasks: Sequence[str], x: str, scale: Mapping[str, float]) -> Curve | None:
        """IQM of normalised scores over tasks and runs; None where a task has no evaluations, or x never changes."""
        found = [[Course(c.x / scale[task], c.y) for c in self.of(arm, task, x, "normalised")] for task in tasks]
        if not all(found):
            return None
        grid = _grid([course for task in found for course in task])
        if len(grid) < 2:
            return None
        scores = [np.stack([course.at(grid) for course in task], axis=-1) for task in found]  # (K, runs) each
        rng = generator("curve", x, arm, tuple(tasks))
        interval = statistics.interval(scores, statistics.iqm, CURVE_DRAWS, rng)
        return Curve(grid, statistics.iqm(scores), interval, statistics.fewest(scores))

    def mean(self, arm: Arm, task: str) -> Curve | None:
        """Mean score over the runs of a task, with Student's interval, over steps."""
        found = self.of(arm, task, "steps", "score")
        if not found:
            return None
        grid = _grid(found)
        scores = np.stack([course.at(grid) for course in found], axis=-1)
        return Curve(grid, scores.mean(-1), statistics.t_interval(scores), len(found))


def _grid(courses: Sequence[Course]) -> np.ndarray:
    """All moments of evaluation from which on every run has one; evenly spaced ones where that is too many."""
    start = max(course.x[0] for course in courses)
    moments = np.unique(np.concatenate([course.x for course in courses]))
    moments = moments[moments >= start]
    if len(moments) > MOST_POINTS:
        moments = np.linspace(moments[0], moments[-1], MOST_POINTS)
    return moments
