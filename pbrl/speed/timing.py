"""Times of alternating repeats: what a noisy machine does to one it does to all.

One thread is timed by the CPU time of this process, which other work on the machine changes least; several by the clock
on the wall, since what counts is how long they take together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

Job = Callable[[int], float]  # does so many units of work and returns the seconds they took


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work, one number per repeat."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def low(self) -> float:
        return min(self.seconds)

    @property
    def high(self) -> float:
        return max(self.seconds)

    def per(self, parts: float) -> Timing:
        """Return seconds per part, where a unit of work has so many."""
        return Timing(tuple(seconds / parts for seconds in self.seconds))


def timed(work: Callable[[], object]) -> Job:
    """Make a job whose unit is one call."""

    def job(units: int) -> float:
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        start = clock()
        for _ in range(units):
            work()
        return clock() - start

    return job


def alternate(jobs: Mapping[str, Job], repeats: int, seconds: float, units: int | None = None) -> dict[str, Timing]:
    """Time each job in turn, `repeats` times over; a turn is `units` of work, or about `seconds` of it."""
    counts = {name: units or units_in(job, seconds) for name, job in jobs.items()}
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            times[name].append(job(counts[name]) / counts[name])
    return {name: Timing(tuple(values)) for name, values in times.items()}


def units_in(job: Job, seconds: float) -> int:
    """Return how many units take about this long; finding out also warms the job up."""
    units = 1
    while (took := job(units)) < seconds / 4:
        units *= 2
    return max(round(units * seconds / took), 1)


def speed_up(ours: Timing, theirs: Timing) -> tuple[float, float, float]:
    """Return how many times faster ours is: the median of the repeats' own ratios, the least and the greatest."""
    ratios = [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    return median(ratios), min(ratios), max(ratios)
