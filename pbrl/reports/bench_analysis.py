"""The numbers of a report: aggregates, comparisons, and which tasks tell methods apart."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np

from pbrl.bench.records import Results
from pbrl.reports.bench_arms import Arm, Group, Runs, Setting
from pbrl.statistics import runs as statistics
from pbrl.statistics.runs import Interval

DRAWS = 10_000
CURVE_DRAWS = 2_000  # where each draw has many values
ALPHA = 0.05
AGGREGATES: dict[str, statistics.Statistic] = {
    "IQM": statistics.iqm,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}
THRESHOLDS = np.linspace(0, 1.2, 121)


class Estimate(NamedTuple):
    value: float
    interval: Interval | None  # None: a single run somewhere

    @property
    def resolved(self) -> bool:
        """Whether 0 is no longer a plausible value."""
        return self.interval is not None and self.interval.excludes_zero


@dataclass(frozen=True)
class Aggregate:
    """An arm over the tasks of its group, in normalised scores."""

    arm: Arm
    runs: int
    few: bool
    values: dict[str, Estimate]  # of AGGREGATES
    reward_updates: float | None  # median over runs
    minutes: float | None


@dataclass
class Comparison:
    """Two arms on the tasks of a group; the first is the one with the higher IQM."""

    first: Arm
    second: Arm
    tasks: tuple[str, ...]
    difference: Estimate
    p: float
    corrected: float = 1.0  # Holm, over all comparisons of the report

    @property
    def verdict(self) -> str:
        if not self.difference.resolved:
            return "not resolved"
        return "resolved, also after Holm" if self.corrected < ALPHA else "resolved, not after Holm"


@dataclass
class GroupAnalysis:
    group: Group
    aggregates: list[Aggregate]  # by IQM, best first
    comparisons: list[Comparison]
    profiles: dict[Arm, tuple[np.ndarray, Interval | None]]  # (K,), at THRESHOLDS
    improvement: dict[tuple[Arm, Arm], Estimate]  # probability that the first beats the second


@dataclass(frozen=True)
class Separation:
    """Whether a task tells a method that learns from one that cannot."""

    task: str
    setting: Setting
    control: Arm | None
    true_reward: Estimate | None  # its advantage over the control, in normalised scores where the task has a scale
    above: list[Arm]  # resolved above the control
    not_above: list[Arm]
    below_true: int  # of both, resolved below the true reward

    @property
    def verdict(self) -> str:
        if self.control is None:
            return "no control"
        if self.true_reward is None:
            return "no true-reward runs"
        if not self.true_reward.resolved or self.true_reward.value < 0:
            return "no: the true reward is not above the control"
        if not self.above:
            return "no: nothing that learns is above the control"
        return "yes" if not self.not_above else "in part"


@dataclass
class Analysis:
    groups: list[GroupAnalysis]
    comparisons: list[Comparison]
    separations: list[Separation]


Known = dict[tuple[Arm, Arm, tuple[str, ...]], Comparison]


def analyse(results: Results, runs: Runs) -> Analysis:
    """Compare the arms of every group of every setting, p-values corrected for the number of comparisons (Holm).

    Whatever is redrawn has a generator of its own, so that another method changes no other number of the others.
    """
    differences, known = Differences(runs), Known()
    groups = [_group(g, differences, known) for setting in runs.settings() for g in runs.groups(setting)]
    comparisons = list(known.values())
    corrected = statistics.holm([c.p for c in comparisons])
    for comparison, p in zip(comparisons, corrected, strict=True):
        comparison.corrected = float(p)
    tried = (_separation(env, setting, differences) for env in results.bench.envs for setting in runs.settings())
    separations = [one for one in tried if one is not None]
    return Analysis(groups, comparisons, separations)


class Differences:
    """Differences of two arms' IQMs; each arm is redrawn once, by its own generator and so independently of others."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._drawn: dict[tuple[Arm, tuple[str, ...], str], np.ndarray] = {}

    def __call__(self, first: Arm, second: Arm, tasks: tuple[str, ...], name: str) -> Estimate:
        scores = [self.runs.scores(arm, tasks, name) for arm in (first, second)]
        value = float(statistics.iqm_difference(*scores))
        if min(map(statistics.fewest, scores)) < 2:
            return Estimate(value, None)
        return Estimate(
            value, statistics.percentiles(self._draws(first, tasks, name) - self._draws(second, tasks, name))
        )

    def _draws(self, arm: Arm, tasks: tuple[str, ...], name: str) -> np.ndarray:
        key = (arm, tasks, name)
        if key not in self._drawn:
            rng = generator("difference", *key)
            self._drawn[key] = statistics.redraw(self.runs.scores(arm, tasks, name), statistics.iqm, DRAWS, rng)
        return self._drawn[key]


def generator(*about: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(about).encode()))


def _group(group: Group, differences: Differences, known: Known) -> GroupAnalysis:
    runs = differences.runs
    aggregates = sorted((_aggregate(arm, group, runs) for arm in group.arms), key=lambda a: -a.values["IQM"].value)
    ranked = [a.arm for a in aggregates]
    comparisons = []
    for first, second in combinations(ranked, 2):
        key = (first, second, group.tasks)
        if key not in known:
            known[key] = _compare(first, second, group.tasks, differences)
        comparisons.append(known[key])
    profiles = {arm: _profile(arm, group, runs) for arm in ranked}
    return GroupAnalysis(group, aggregates, comparisons, profiles, _improvement(ranked, group, runs))


def _aggregate(arm: Arm, group: Group, runs: Runs) -> Aggregate:
    scores = runs.scores(arm, group.tasks)
    values = {}
    for name, statistic in AGGREGATES.items():
        interval = statistics.interval(scores, statistic, DRAWS, generator(name, arm, group.tasks))
        values[name] = Estimate(float(statistic(scores)), interval)
    updates, seconds = (
        np.concatenate([runs.known(arm, t, name) for t in group.tasks]) for name in ("reward_updates", "wall_s")
    )
    return Aggregate(
        arm,
        sum(len(task) for task in scores),
        runs.few(arm, group.tasks),
        values,
        float(np.median(updates)) if len(updates) else None,
        float(np.median(seconds)) / 60 if len(seconds) else None,
    )


def _compare(first: Arm, second: Arm, tasks: tuple[str, ...], differences: Differences) -> Comparison:
    ours, theirs = (differences.runs.scores(arm, tasks) for arm in (first, second))
    p = statistics.permutation_p(ours, theirs, DRAWS, generator("p", *sorted((first, second)), tasks))
    return Comparison(first, second, tasks, differences(first, second, tasks, "normalised"), p)


def _profile(arm: Arm, group: Group, runs: Runs) -> tuple[np.ndarray, Interval | None]:
    statistic = partial(statistics.profile, thresholds=THRESHOLDS)
    scores = runs.scores(arm, group.tasks)
    interval = statistics.interval(scores, statistic, CURVE_DRAWS, generator("profile", arm, group.tasks))
    return statistic(scores), interval


def _improvement(ranked: Sequence[Arm], group: Group, runs: Runs) -> dict[tuple[Arm, Arm], Estimate]:
    found = {}
    for first, second in combinations(ranked, 2):
        ours, theirs = runs.scores(first, group.tasks), runs.scores(second, group.tasks)
        rng = generator("improvement", *sorted((first, second)), group.tasks)
        value = float(statistics.improvement(ours, theirs))
        interval = statistics.interval_of_two(ours, theirs, statistics.improvement, CURVE_DRAWS, rng)
        found[first, second] = Estimate(value, interval)
        swapped = None if interval is None else Interval(1 - interval.high, 1 - interval.low)
        found[second, first] = Estimate(1 - value, swapped)
    return found


def _separation(task: str, setting: Setting, differences: Differences) -> Separation | None:
    """Return what separates the arms on a task; None where nothing of the setting learns."""
    runs = differences.runs
    arms = [arm for arm in runs.arms(setting) if task in runs.cells[arm] and not arm.source]
    learned = [arm for arm in arms if arm.budget and not arm.is_control]
    if not learned:
        return None
    control = next((arm for arm in arms if arm.is_control and arm.budget), None)
    true_reward = next((arm for arm in arms if runs.is_true_reward(arm, task)), None)
    name = "score" if runs.envs[task].scale is None else "normalised"

    def advantage(first: Arm | None, second: Arm | None) -> Estimate | None:
        if first is None or second is None:
            return None
        return differences(first, second, (task,), name)

    above = [arm for arm in learned if _wins(advantage(arm, control))]
    return Separation(
        task,
        setting,
        control,
        advantage(true_reward, control),
        above,
        [arm for arm in learned if arm not in above],
        sum(_wins(advantage(true_reward, arm)) for arm in learned),
    )


def _wins(found: Estimate | None) -> bool:
    return found is not None and found.resolved and found.value > 0
