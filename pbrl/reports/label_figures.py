"""The figures of a label report, drawn as those of a run's report are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from pbrl.reports import figures
from pbrl.reports.figures import AGENT, GRID, INK, MUTED, RANDOM, THIRD

SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)
UNITS = {"minutes": 60, "hours": 3600, "days": 86400}
LINES = ("-", (0, (4, 2)), (0, (1, 1.5)))
NAME_LENGTH = 20
MOST_PAIRS = 12  # in the figure of agreement; the table has all


def styles(people: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """Colour and line of each person, the same in all figures; whoever comes after the ninth is grey."""
    distinct = [(color, line) for line in LINES for color in (AGENT, RANDOM, THIRD)]
    return {name: distinct[i] if i < len(distinct) else (MUTED, "-") for i, name in enumerate(people)}


def choices(people: Mapping[str, dict[str, Any]]) -> Markup:
    """Draw what each person answered, as shares of a bar."""
    figure, axes = _rows(list(people), "share of answers")
    kinds = {
        "decisive": ("one segment", AGENT, 0.9),
        "equal": ("equal", THIRD, 0.9),
        "incomparable": ("can't tell", RANDOM, 0.9),
        "skipped": ("skipped", MUTED, 0.45),
    }
    start = np.zeros(len(people))
    for kind, (label, color, alpha) in kinds.items():
        widths = np.array([row["shares"][kind] for row in people.values()])
        if widths.any():
            axes.barh(range(len(people)), widths, left=start, height=0.55, color=color, alpha=alpha, label=label)
        start += widths
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    _legend(figure, axes)
    return figures.as_svg(figure, "choices", "What the annotators answered")


def answers_over_time(found: dict[str, Any], style: Mapping[str, tuple[str, Any]]) -> Markup:
    """Standing answers of each person, summed up from the first one on."""
    first, last = found["bins"][0]["time"], found["bins"][-1]["time"] + found["bin_s"]
    unit, length = next(((u, s) for u, s in reversed(UNITS.items()) if last - first >= 3 * s), ("minutes", 60))
    figure, axes = figures.new_axes(f"{unit} since the first answer", "answers")
    for name, (color, line) in style.items():
        xs, ys = [0.0], [0]
        for one in found["bins"]:
            if n := one["answers"].get(name, 0):
                start = (one["time"] - first) / length
                xs += [start, start + found["bin_s"] / length]
                ys += [ys[-1], ys[-1] + n]
        if len(xs) > 1:
            xs, ys = [*xs, (last - first) / length], [*ys, ys[-1]]
            axes.plot(xs, ys, color=color, ls=line, lw=1.8, label=_name(name))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _legend(figure, axes)
    return figures.as_svg(figure, "time", "Answers over time")


def response_times(people: Mapping[str, dict[str, Any]], style: Mapping[str, tuple[str, Any]]) -> Markup:
    """Median response time over a person's answers; for a single person with the 10 % and 90 % quantiles."""
    figure, axes = figures.new_axes("answers of this person", "seconds per answer")
    axes.set_yscale("log")
    timed = {name: row["pace"] for name, row in people.items() if row["pace"]}
    for name, stretches in timed.items():
        color, line = style[name]
        xs, low, median, high = (
            np.array([max(s[k], 0.01) for s in stretches]) for k in ("up_to", "p10", "median", "p90")
        )
        if len(timed) == 1:
            axes.fill_between(xs, low, high, color=color, alpha=0.16, lw=0)
        label = _name(name) + (" (band: 10 % to 90 %)" if len(timed) == 1 else "")
        axes.plot(xs, median, color=color, ls=line, lw=1.8, marker="o", ms=3.5, label=label)
    axes.yaxis.set_major_locator(FixedLocator(SECONDS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(figures.short)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom / 1.3, top * 1.3)
    axes.set_xlim(left=0)
    _legend(figure, axes)
    return figures.as_svg(figure, "pace", "Response times over a person's answers")


def shares(people: Mapping[str, dict[str, Any]], key: str, x_label: str, title: str) -> Markup:
    """Proportions with their intervals; the dotted line is one half."""
    rows = {name: found for name, row in people.items() if (found := row[key]) is not None}
    figure, axes = _rows(list(rows), x_label)
    _intervals(axes, [(row["share"], row["low"], row["high"]) for row in rows.values()], middle=0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    return figures.as_svg(figure, key, title)


def agreement(found: dict[str, Any]) -> Markup:
    """Kappa of every two people and alpha of all, with intervals; of many pairs those that share most queries."""
    pairs = sorted(found["pairs"], key=lambda pair: -pair["same"]["of"])[:MOST_PAIRS]
    rows = {" / ".join(figures.shortened(name, 9) for name in pair["annotators"]): pair["kappa"] for pair in pairs}
    rows = {
        n: row for n, row in {"everyone (alpha)": found["alpha"]["nominal"], **rows}.items() if row["value"] is not None
    }
    figure, axes = _rows(list(rows), "agreement beyond chance")
    _intervals(axes, [(row["value"], row["low"], row["high"]) for row in rows.values()], middle=0)
    smallest = min(row["value"] if row["low"] is None else row["low"] for row in rows.values())
    axes.set_xlim(min(-0.25, smallest - 0.05), 1.05)
    return figures.as_svg(figure, "agreement", "Agreement between annotators")


def sessions(rows: Sequence[dict[str, int]]) -> Markup:
    """Answers to the questions of each feedback session, over the steps of the run at which they were asked."""
    figure, axes = figures.new_axes("environment steps", "queries, summed up")
    asked = [row for row in rows if row["session"] >= 0]
    steps = [row["env_steps"] for row in asked]
    answered = [sum(row[k] for k in ("decisive", "equal", "incomparable", "skipped")) for row in asked]
    axes.plot(steps, np.cumsum([row["queries"] for row in asked]), color=MUTED, lw=1.5, ls=LINES[1], label="asked")
    axes.plot(steps, np.cumsum(answered), color=AGENT, lw=1.8, marker="o", ms=3.5, label="answers to them")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    _legend(figure, axes)
    return figures.as_svg(figure, "sessions", "Queries and answers over environment steps")


def _rows(names: Sequence[str], x_label: str) -> tuple[Figure, Axes]:
    """Axes with a line for each name, the first on top."""
    figure, axes = figures.new_axes(x_label, "")
    figure.set_size_inches(4.0, max(0.75 + 0.3 * len(names), 1.6))
    axes.set_yticks(range(len(names)), [_name(name) for name in names], color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, lw=0.8)
    return figure, axes


def _legend(figure: Figure, axes: Axes) -> None:
    """Put the legend above the axes, in two columns and at the cost of the page's height, not of the axes'."""
    rows = math.ceil(len(axes.get_legend_handles_labels()[1]) / 2)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, labelcolor=INK, handlelength=1.6)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * (rows - 1))


def _intervals(axes: Axes, rows: Sequence[tuple[float, float | None, float | None]], middle: float) -> None:
    """Value, low and high of each row. An interval that leaves out what is expected by chance is coloured."""
    axes.axvline(middle, color=MUTED, lw=1, ls=LINES[2])
    for y, (value, low, high) in enumerate(rows):
        color = MUTED
        if low is not None and high is not None:
            color = MUTED if low <= middle <= high else AGENT
            axes.add_line(Line2D([low, high], [y, y], color=color, lw=2, alpha=0.6))
        axes.plot([value], [y], color=color, marker="o", ms=5, lw=0)


def _name(text: str) -> str:
    return figures.plain(text, NAME_LENGTH)
