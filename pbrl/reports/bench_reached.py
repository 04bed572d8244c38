"""How soon the runs of a bench reach a share of what the true reward reaches, in labels and in steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pbrl.reports.bench_analysis import DRAWS, generator
from pbrl.reports.bench_arms import ENOUGH_SEEDS, Arm, Runs
from pbrl.reports.bench_curves import Courses
from pbrl.reports.tables import NOTHING, Table
from pbrl.statistics import runs as statistics
from pbrl.statistics.runs import Interval

NEVER = "never"
FEWEST = 3  # evaluations of a run: at its start, on its way and at its end


class Reached(NamedTuple):
    """The median over runs, one that does not get there counting as infinitely many; and its interval."""

    median: float
    interval: Interval | None  # None: a single run

    @property
    def text(self) -> str:
        median = _count(self.median)
        if self.interval is None or np.isinf(self.interval.low):
            return median
        return f"{median} [{_count(float(self.interval.low))}, {_count(float(self.interval.high))}]"


def reached_table(runs: Runs, courses: Courses, share: float) -> Table | None:
    """Make the table of all tasks that have a scale; None where no run was evaluated on its way."""
    header = ["task", "method", "teacher", "budget", "runs that reach it", "labels", "steps"]
    rows = []
    for task in (task for task, env in runs.envs.items() if env.scale is not None):
        for arm in (arm for arm in runs.cells if task in runs.cells[arm] and not arm.is_control):
            if all(len(course.x) < FEWEST for course in courses.of(arm, task, "steps", "normalised")):
                continue
            steps = first_reach(courses, arm, task, "steps", share)
            labels = first_reach(courses, arm, task, "labels", share) if arm.budget else np.empty(0)
            few = " \N{DAGGER}" if len(steps) < ENOUGH_SEEDS else ""
            unit = " updates" if runs.unit(arm, task) == "updates" else ""
            rows.append(
                [
                    task,
                    arm.name,
                    arm.teacher if arm.budget else NOTHING,
                    str(arm.budget) if arm.budget else NOTHING,
                    f"{np.isfinite(steps).sum()} of {len(steps)}{few}",
                    # of the same runs or not at all
                    median_reach(labels, arm, task, "labels").text if len(labels) == len(steps) else NOTHING,
                    median_reach(steps, arm, task, "steps").text + unit,
                ]
            )
    if not rows:
        return None
    note = (
        f"At the first evaluation with a normalised score of {share:g}: medians over runs, 95 % bootstrap intervals, of"
        f" runs that were evaluated on their way. One that never gets there counts as later than all others, so "
        f'"{NEVER}" says that half of them or more do not. Steps are those of the environment, or updates offline.'
    )
    return Table(f"How soon runs reach {share:g}", note, header, rows)


def first_reach(courses: Courses, arm: Arm, task: str, x: str, share: float) -> np.ndarray:
    """Return labels or steps at the first evaluation of each run that reaches the share; inf where none does."""
    found = []
    for course in courses.of(arm, task, x, "normalised"):
        above = course.y >= share
        found.append(course.x[above.argmax()] if above.any() else np.inf)
    return np.array(found)


def median_reach(values: np.ndarray, arm: Arm, task: str, x: str) -> Reached:
    if len(values) < 2:
        return Reached(float(np.median(values)), None)
    drawn = generator("reached", x, arm, task).choice(values, (DRAWS, len(values)))
    ends = [(1 - statistics.LEVEL) / 2, (1 + statistics.LEVEL) / 2]
    low, high = np.quantile(np.median(drawn, axis=1), ends, method="inverted_cdf")  # a mean with infinity is no number
    return Reached(float(np.median(values)), Interval(low, high))


def _count(value: float) -> str:
    return NEVER if np.isinf(value) else f"{value:,.0f}"
