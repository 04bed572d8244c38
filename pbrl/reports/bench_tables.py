"""The tables of a report, and the same numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from pbrl.bench.bench_file import CIRCUMSTANCES, Bench
from pbrl.bench.results import OF_SOME, plain
from pbrl.reports.bench_analysis import AGGREGATES, Aggregate, Analysis, Comparison, Estimate
from pbrl.reports.bench_arms import ENOUGH_SEEDS, Arm, Runs
from pbrl.reports.tables import NOTHING, Table, number
from pbrl.statistics import runs as statistics
from pbrl.statistics.runs import Interval

FEW = "\N{DAGGER}"
FEW_NOTE = f"{FEW} fewer than {ENOUGH_SEEDS} seeds."
MEANS = ("return", "success", "success_at_end", "normalised")
SHARES = ("success", "success_at_end")
COSTS = {"labels": 1, "env_steps": 1, "updates": 1, "reward_updates": 1, "wall_s": 60, "reward_accuracy": 1}
COSTS |= dict.fromkeys(OF_SOME, 1)


def count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def with_interval(found: Estimate | None) -> str:
    if found is None:
        return NOTHING
    if found.interval is None:
        return number(found.value)
    return f"{number(found.value)} [{number(float(found.interval.low))}, {number(float(found.interval.high))}]"


def mean_estimate(values: np.ndarray, name: str) -> Estimate | None:
    """Mean over seeds with Student's interval; of shares no further than from 0 to 1."""
    if not len(values):
        return None
    interval = statistics.t_interval(values)
    if interval is not None and name in SHARES:
        interval = Interval(interval.low.clip(0, 1), interval.high.clip(0, 1))
    return Estimate(float(values.mean()), interval)


def ranking_table(aggregates: Sequence[Aggregate], title: str, note: str) -> Table:
    header = ["method", "runs", *AGGREGATES, "reward updates", "minutes"]
    rows = [
        [
            a.arm.name,
            f"{a.runs}{f' {FEW}' if a.few else ''}",
            *(with_interval(a.values[name]) for name in AGGREGATES),
            count(a.reward_updates),
            number(a.minutes),
        ]
        for a in aggregates
    ]
    return Table(title, note, header, rows).filled()


def comparison_table(comparisons: Sequence[Comparison], title: str) -> Table:
    header = ["higher", "lower", "difference of IQMs", "verdict", "p", "p, Holm"]
    rows = [
        [c.first.name, c.second.name, with_interval(c.difference), c.verdict, f"{c.p:.4f}", f"{c.corrected:.4f}"]
        for c in comparisons
    ]
    return Table(title, "", header, rows)


def task_table(task: str, arms: Sequence[Arm], runs: Runs, several: bool) -> Table:
    """Make the table of a task. several: arms differ in teacher or budget, so these have columns."""
    header = ["method", "teacher", "budget", "n", "return", "success", "normalised", "reward accuracy", "labels"]
    header += ["reward updates", "minutes", "env steps", "updates", *(c.replace("_", " ") for c in OF_SOME)]
    rows = []
    for arm in arms:
        mean = {name: mean_estimate(runs.known(arm, task, name), name) for name in MEANS}
        cost = {name: median(runs.known(arm, task, name), unit) for name, unit in COSTS.items()}
        n = len(runs.cells[arm][task])
        rows.append(
            [
                arm.name,
                arm.teacher if several and arm.budget else NOTHING,
                str(arm.budget) if several and arm.budget else NOTHING,
                f"{n}{f' {FEW}' if n < ENOUGH_SEEDS else ''}",
                *(with_interval(mean[name]) for name in ("return", "success", "normalised")),
                number(cost["reward_accuracy"]),
                count(cost["labels"]),
                count(cost["reward_updates"]),
                number(cost["wall_s"]),
                *(count(cost[name]) for name in ("env_steps", "updates", *OF_SOME[:-1])),
                number(cost["model_ceiling"]),
            ]
        )
    note = f"Means over seeds with 95 % t intervals; what they cost, and reward accuracy, are medians. {FEW_NOTE}"
    return Table(task, note, header, rows).filled()


def median(values: np.ndarray, unit: float = 1) -> float | None:
    return float(np.median(values)) / unit if len(values) else None


def separation_table(analysis: Analysis) -> Table:
    header = ["task", "setting", "separates", "true reward above random labels by"]
    header += ["methods above random labels", "not above", "methods below the true reward"]
    rows = [
        [
            s.task,
            str(s.setting) if len({s.setting for s in analysis.separations}) > 1 else NOTHING,
            s.verdict,
            with_interval(s.true_reward),
            f"{len(s.above)} of {len(s.above) + len(s.not_above)}" if s.control else NOTHING,
            ", ".join(arm.name for arm in s.not_above) if s.control and s.not_above else NOTHING,
            f"{s.below_true} of {len(s.above) + len(s.not_above)}",
        ]
        for s in analysis.separations
    ]
    note = "Differences of IQMs on the one task, in normalised scores where it has them; a method counts if resolved."
    return Table("Which tasks tell methods apart", note, header, rows).filled()


def published_table(bench: Bench, runs: Runs) -> Table:
    told = [key for key in CIRCUMSTANCES if any(getattr(p, key) for p in bench.published)]
    header = ["task", "method", "measure", "published", "labels", "steps", *told, "source", "how sure"]
    header += ["ours", "our teacher", "our labels", "our steps", "n"]
    rows = []
    for p in bench.published:
        interval = None if p.low is None or p.high is None else Interval(np.array(p.low), np.array(p.high))
        theirs = [p.env, p.method, p.measure, with_interval(Estimate(p.value, interval)), count(p.labels)]
        theirs += [count(p.steps), *(getattr(p, key) or NOTHING for key in told), p.source, p.sure]
        ours = [arm for arm in runs.cells if arm.method == p.method and not arm.source and p.env in runs.cells[arm]]
        for arm in ours:
            values = runs.known(arm, p.env, p.measure)
            steps = runs.known(arm, p.env, runs.unit(arm, p.env))
            labels = median(runs.known(arm, p.env, "labels"))
            row = [
                with_interval(mean_estimate(values, p.measure)),
                arm.teacher if arm.budget else NOTHING,
                count(labels),
                count(median(steps)),
                str(len(values)),
            ]
            rows.append([*theirs, *row])
        if not ours:
            rows.append([*theirs, "not run", NOTHING, NOTHING, NOTHING, NOTHING])
    note = "Numbers of papers beside our means, with 95 % t intervals. They enter nothing else on this page."
    return Table("Published numbers", note, header, rows)


def summary_csv(analysis: Analysis) -> str:
    """One row per arm and group of tasks."""
    names = [name.replace(" ", "_").lower() for name in AGGREGATES]
    header = ["teacher", "budget", "method", "source", "tasks", "n", "few_seeds"]
    header += [column for name in names for column in (name, f"{name}_low", f"{name}_high")]
    rows = [
        [*g.group.setting, a.arm.method, a.arm.source, " ".join(g.group.tasks), a.runs, str(a.few).lower()]
        + [cell for estimate in a.values.values() for cell in _cells(estimate)]
        + [a.reward_updates, a.minutes]
        for g in analysis.groups
        for a in g.aggregates
    ]
    return _csv([*header, "median_reward_updates", "median_minutes"], rows)


def comparisons_csv(analysis: Analysis) -> str:
    header = ["higher", "lower", "tasks", "difference", "low", "high", "p", "p_holm", "verdict"]
    rows = [
        [c.first.full_name, c.second.full_name, " ".join(c.tasks), *_cells(c.difference), c.p, c.corrected, c.verdict]
        for c in analysis.comparisons
    ]
    return _csv(header, rows)


def per_task_csv(runs: Runs) -> str:
    """One row per arm and task: means with t intervals, and medians of what they cost."""
    header = ["env", "method", "teacher", "budget", "source", "n"]
    header += [column for name in MEANS for column in (name, f"{name}_low", f"{name}_high")]
    header += ["minutes" if name == "wall_s" else name for name in COSTS]
    rows = [
        [task, arm.method, arm.teacher, arm.budget, arm.source, len(runs.cells[arm][task])]
        + [cell for name in MEANS for cell in _cells(mean_estimate(runs.known(arm, task, name), name))]
        + [median(runs.known(arm, task, name), unit) for name, unit in COSTS.items()]
        for task in runs.envs
        for arm in runs.cells
        if task in runs.cells[arm]
    ]
    return _csv(header, rows)


def _cells(found: Estimate | None) -> list[float | None]:
    if found is None:
        return [None, None, None]
    interval = found.interval
    return [found.value, *((None, None) if interval is None else (float(interval.low), float(interval.high)))]


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write numbers with six significant digits, and nothing where they are unknown."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *([plain(cell) for cell in row] for row in rows)])
    return text.getvalue()
