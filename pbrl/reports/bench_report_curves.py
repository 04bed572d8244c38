"""The figures of a report that run over steps, labels and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pbrl.reports.bench_analysis import Estimate, GroupAnalysis
from pbrl.reports.bench_arms import Arm, Runs, Setting
from pbrl.reports.bench_curves import UNITS, Courses, Curve
from pbrl.reports.bench_figures import Line, Places, paneled
from pbrl.reports.figures import Picture, short

HOW = (
    "IQM of normalised scores with 95 % bootstrap bands. A run counts with its last evaluation at or before each point."
)
IQM = "IQM of normalised score"
BAND_SEEDS = 3  # Student's interval of two reaches 12 standard errors


def efficiency_pictures(found: GroupAnalysis, places: Places, courses: Courses) -> list[Picture]:
    """Draw scores over labels and over steps, where there are evaluations."""
    group, pictures = found.group, []
    drawn = places.lines([a.arm for a in found.aggregates])
    scale, label = courses.step_axis(group.tasks, group.arms)
    whole = dict.fromkeys(group.arms, dict.fromkeys(group.tasks, 1.0))
    for x, scaled, x_label in (("labels", whole, "labels"), ("steps", scale, label)):
        curves = {line.arm: courses.aggregate(line.arm, group.tasks, x, scaled[line.arm]) for line in drawn}
        if not any(curve is not None for arm, curve in curves.items() if arm.budget or x == "steps"):
            continue
        note = HOW
        if x == "labels":
            note += " Dashed and level: the final score of what learns without labels."
        without = [line.arm for line in drawn if curves[line.arm] is None and (line.arm.budget or x == "steps")]
        unknown = [arm.name for arm in without if not all(courses.of(arm, t, x, "normalised") for t in group.tasks)]
        at_once = [arm.name for arm in without if arm.name not in unknown]
        note += f" No curve, for want of evaluations: {', '.join(unknown)}." if unknown else ""
        note += f" No curve, since all {x} are there from the start: {', '.join(at_once)}." if at_once else ""
        levels = {a.arm: a.values["IQM"].value for a in found.aggregates if not a.arm.budget and x == "labels"}
        name, title = f"{x}_{group.slug}", f"Score over {x}, {group.setting}"
        pictures.append(Picture(name, title, note, partial(_efficiency, drawn, curves, levels, x_label)))
    return pictures


def _efficiency(drawn: list[Line], curves: dict[Arm, Curve | None], levels: dict[Arm, float], x_label: str) -> Figure:
    def draw(axes: Axes, line: Line, _: float) -> None:
        if line.arm in levels:
            axes.axhline(levels[line.arm], color=line.color, ls=(0, (5, 2)), lw=1.4, label=line.label)
        elif (curve := curves[line.arm]) is not None:
            line.plot(axes, curve.x, curve.y, curve.interval)

    shown = [line for line in drawn if curves[line.arm] is not None or line.arm in levels]
    figure, grid = paneled(shown, x_label, IQM, draw)
    _few_ticks(grid)
    return figure


def task_pictures(
    task: str, rankings: dict[Setting, list[Arm]], runs: Runs, places: Places, courses: Courses
) -> list[Picture]:
    """Learning curves of a task, a figure for each setting in which something learns from labels, if there is any."""
    asked = [s for s, ranked in rankings.items() if any(arm.budget and task in runs.cells[arm] for arm in ranked)]
    pictures = []
    for setting in asked or list(rankings)[:1]:
        drawn = places.lines([arm for arm in rankings[setting] if task in runs.cells[arm]])
        curves = {line.arm: curve for line in drawn if (curve := courses.mean(line.arm, task)) is not None}
        if not curves:
            continue
        score, label = runs.envs[task].score, " or ".join(dict.fromkeys(UNITS[runs.unit(arm, task)] for arm in curves))
        pictures.append(
            Picture(
                f"task_{task}_{setting.slug}",
                f"{task}, {setting}",
                f"Mean {score} over seeds; the band is the 95 % t interval, of at least {BAND_SEEDS} seeds.",
                partial(_learning, [line for line in drawn if line.arm in curves], curves, label, score),
            )
        )
    return pictures


def _learning(drawn: list[Line], curves: dict[Arm, Curve], x_label: str, y_label: str) -> Figure:
    def draw(axes: Axes, line: Line, _: float) -> None:
        curve = curves[line.arm]
        line.plot(axes, curve.x, curve.y, curve.interval if curve.runs >= BAND_SEEDS else None)

    figure, grid = paneled(drawn, x_label, y_label, draw)
    _few_ticks(grid)
    means = np.concatenate([curve.y for curve in curves.values()])
    room = 0.2 * (np.ptp(means) or 1.0)
    grid[0].set_ylim(means.min() - room, means.max() + room)  # a wide band is cut off, not allowed to flatten the rest
    return figure


def _few_ticks(grid: Sequence[Axes]) -> None:
    for axes in grid:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def budget_pictures(groups: Sequence[GroupAnalysis], places: Places) -> list[Picture]:
    """Final scores over budgets, of teachers that were asked for several; on tasks that stay the same."""
    main = [one for one in groups if one.group.setting.budget and not one.group.subset]
    kinds = dict.fromkeys((one.group.setting.teacher, one.group.tasks) for one in main)
    pictures = []
    for number, (teacher, tasks) in enumerate(kinds):
        same = [one for one in main if (one.group.setting.teacher, one.group.tasks) == (teacher, tasks)]
        if len(same) < 2:
            continue
        values: dict[Arm, dict[int, Estimate]] = {}
        for a in (a for one in same for a in one.aggregates if a.arm.budget):
            values.setdefault(a.arm._replace(budget=0), {})[a.arm.budget] = a.values["IQM"]
        pictures.append(
            Picture(
                f"budgets_{teacher}" + (f"_{number}" if number else ""),
                f"Final score over the budget of labels, {teacher}",
                f"IQM of normalised scores on {', '.join(tasks)}, with 95 % bootstrap intervals.",
                partial(_budgets, places.lines(list(values)), values),
            )
        )
    return pictures


def _budgets(drawn: list[Line], values: dict[Arm, dict[int, Estimate]]) -> Figure:
    def draw(axes: Axes, line: Line, place: float) -> None:
        row, shift = values[line.arm], 1 + 0.025 * place
        xs = np.array(sorted(row))
        look = {"color": line.color, "ls": line.pattern, "lw": 1.7, "marker": "o", "ms": 4}
        axes.plot(xs * shift, [row[x].value for x in xs], label=line.label, **look)
        for x in xs:
            if (interval := row[x].interval) is not None:
                axes.plot([x * shift] * 2, interval, color=line.color, lw=1.3, alpha=0.6)

    figure, grid = paneled(drawn, "budget of labels", IQM, draw)
    for axes in grid:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted({budget for row in values.values() for budget in row})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(short)
    return figure
