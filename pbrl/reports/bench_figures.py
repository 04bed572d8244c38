"""The figures of a group of arms: aggregates, performance profiles and who beats whom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pbrl.reports.bench_analysis import AGGREGATES, THRESHOLDS, GroupAnalysis
from pbrl.reports.bench_arms import Arm, Runs
from pbrl.reports.figures import GRID, INK, MUTED, SERIES, Picture, plain, solid, style
from pbrl.statistics.runs import Interval

PANEL_ARMS = 6  # lines of one panel that the eye still tells apart; references come on top
MOST_ACROSS, NAME_LENGTH = 3, 30
MATRIX_ARMS = 20  # beyond, everyone is compared with the references and the best only
DASHED: Any = (0, (5, 2))
DOTTED: Any = (0, (1, 1.4))


class Line(NamedTuple):
    """The look of an arm in every figure of its setting."""

    arm: Arm
    panel: int | None  # None: a reference, in all panels
    position: int  # within its panel

    @property
    def color(self) -> str:
        return (MUTED if self.arm.is_control else INK) if self.panel is None else SERIES[self.position]

    @property
    def pattern(self) -> Any:
        if self.panel is not None:
            return "-"
        return DOTTED if self.arm.is_control else DASHED

    @property
    def label(self) -> str:
        return plain(self.arm.name, NAME_LENGTH)

    def plot(self, axes: Axes, x: np.ndarray, y: np.ndarray, interval: Interval | None) -> None:
        """Draw a curve (K,), with the band of its interval unless it is a reference."""
        if self.panel is not None and interval is not None:
            axes.fill_between(x, *interval, color=self.color, alpha=0.12, lw=0)
        axes.plot(x, y, color=self.color, ls=self.pattern, lw=1.7, label=self.label)


class Places(dict[str, tuple[int, int]]):
    """Panel and position of each method, so that it has one colour on the whole page."""

    def __init__(self, groups: Sequence[GroupAnalysis], runs: Runs) -> None:
        ranked = [a.arm for found in groups for a in found.aggregates]
        names = dict.fromkeys(arm.name for arm in [*ranked, *runs.cells] if not runs.is_reference(arm))
        parts = np.array_split(list(names), max(1, math.ceil(len(names) / PANEL_ARMS)))
        super().__init__({str(name): (panel, i) for panel, part in enumerate(parts) for i, name in enumerate(part)})

    def lines(self, arms: Sequence[Arm]) -> list[Line]:
        """Return the lines in the order of legends, references last."""
        found = [Line(arm, *self.get(arm.name, (None, 0))) for arm in arms]
        return sorted(found, key=lambda line: (line.panel is None, line.panel or 0, line.position))


def paneled(
    drawn: Sequence[Line], x_label: str, y_label: str, draw: Callable[[Axes, Line, float], None]
) -> tuple[Figure, list[Axes]]:
    """Draw lines in panels side by side, which share their scales; references are in all of them.

    draw: puts a line on its axes; told how far from the middle of its panel's lines it is.
    """
    numbers = sorted({line.panel for line in drawn if line.panel is not None})
    shown = [[line for line in drawn if line.panel in (panel, None)] for panel in numbers] or [list(drawn)]
    across, down = min(len(shown), MOST_ACROSS), math.ceil(len(shown) / MOST_ACROSS)
    size = (max(3.2 * across, 4.6), (2.5 + 0.155 * max(map(len, shown))) * down)  # inches, with room for legends
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat)
    for unused in grid[len(shown) :]:
        unused.set_visible(False)
    for axes, panel in zip(grid, shown, strict=False):
        style(axes)
        axes.tick_params(labelbottom=True)
        for i, line in enumerate(panel):
            draw(axes, line, i - len(panel) / 2)
        axes.set_xlabel(x_label)
        above = axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, labelcolor=INK, fontsize=8.5)
        solid(above)  # and above the axes it hides no data
    grid[0].set_ylabel(y_label)
    return figure, grid[: len(shown)]


def group_pictures(found: GroupAnalysis, runs: Runs, places: Places) -> list[Picture]:
    slug, where = found.group.slug, str(found.group.setting)
    drawn = places.lines([a.arm for a in found.aggregates])
    pictures = [
        Picture(
            f"overall_{slug}",
            f"Aggregates, {where}",
            "Bars with 95 % bootstrap intervals. Higher is better, of the optimality gap lower. Grey: without labels, "
            "or with random ones. \N{DAGGER}: fewer than 5 seeds on some task.",
            partial(_overall, found, runs),
        ),
        Picture(
            f"profile_{slug}",
            f"Performance profiles, {where}",
            "Share of runs whose normalised score is above the one on the axis, each task counting the same; bands are "
            "95 % bootstrap intervals. A curve that is higher everywhere is better.",
            partial(_profile, found, drawn),
        ),
    ]
    if len(found.aggregates) > 1:
        pictures.append(
            Picture(
                f"improvement_{slug}",
                f"Probability of improvement, {where}",
                "Probability that a run of the row beats one of the column on the same task. Pale numbers: the 95 % "
                "bootstrap interval holds one half.",
                partial(_improvement, found, runs),
            )
        )
    return pictures


def _overall(found: GroupAnalysis, runs: Runs) -> Figure:
    arms = found.aggregates
    figure = Figure(figsize=(9.6, 0.95 + 0.25 * len(arms)), layout="constrained")
    grid = figure.subplots(1, len(AGGREGATES), sharey=True, width_ratios=[1.5] + [1] * (len(AGGREGATES) - 1))
    for axes, name in zip(grid, AGGREGATES, strict=True):
        style(axes)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=GRID, lw=0.8)
        axes.set_title(name, fontsize=9.5, color=INK, loc="left")
        for y, aggregate in enumerate(arms):
            value, interval = aggregate.values[name]
            grey = runs.is_reference(aggregate.arm) or not aggregate.arm.budget
            color = MUTED if grey else SERIES[0]
            axes.barh(y, value, height=0.62, color=color, alpha=0.45, lw=0)
            end = value
            if interval is not None:
                axes.add_line(Line2D([interval.low, interval.high], [y, y], color=color, lw=2.2, solid_capstyle="butt"))
                end = max(value, float(interval.high))
            if name == "IQM":
                text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
                right = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
                axes.annotate(text, (end, y), **right, fontsize=8.5, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.margins(x=0.16 if name == "IQM" else 0.05)
    names = [plain(a.arm.name, NAME_LENGTH) + (" \N{DAGGER}" if a.few else "") for a in arms]
    grid[0].set_yticks(range(len(arms)), names, color=INK)
    grid[0].set_ylim(len(arms) - 0.4, -0.6)
    return figure


def _profile(found: GroupAnalysis, drawn: list[Line]) -> Figure:
    def draw(axes: Axes, line: Line, _: float) -> None:
        line.plot(axes, THRESHOLDS, *found.profiles[line.arm])

    figure, grid = paneled(drawn, "normalised score", "share of runs above", draw)
    grid[0].set_ylim(-0.02, 1.02)  # of all: they share their scales
    return figure


def _improvement(found: GroupAnalysis, runs: Runs) -> Figure:
    rows = [a.arm for a in found.aggregates]
    best = next((arm for arm in rows if not runs.is_reference(arm)), rows[0])
    columns = rows if len(rows) <= MATRIX_ARMS else [a for a in rows if runs.is_reference(a) or a == best]
    figure = Figure(figsize=(2.2 + 0.46 * len(columns), 1.6 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    style(axes)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            if row == column:
                continue
            value, interval = found.improvement[row, column]
            color = SERIES[0] if value >= 0.5 else SERIES[1]
            axes.add_patch(_cell(x, y, color, abs(value - 0.5)))
            held = interval is None or interval.low <= 0.5 <= interval.high
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color=MUTED if held else INK)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [plain(arm.name, NAME_LENGTH) for arm in rows], color=INK)
    axes.xaxis.tick_top()
    names = [plain(arm.name, NAME_LENGTH) for arm in columns]
    axes.set_xticks(range(len(columns)), names, color=INK, rotation=50, ha="left", rotation_mode="anchor")
    return figure


def _cell(x: float, y: float, color: str, strength: float) -> Rectangle:
    return Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=color, alpha=float(np.clip(1.1 * strength, 0, 0.6)), lw=0)
