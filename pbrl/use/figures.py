"""Learning curves for notebooks and pages: figures of matplotlib, made without pyplot's global state."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float | None]]  # of evaluations.csv
NewAxes = Callable[[str, str], tuple[Figure, Axes]]
"""Figure and axes with these labels of x and y."""
RETURN = "return of an episode"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")  # Okabe and Ito 2008


def curve_of_run(rows: Rows, step_name: str, title: str) -> Figure:
    """Return over steps, with a band of one standard deviation over the episodes of an evaluation."""
    figure, axes = _axes(_steps(step_name), RETURN)
    steps, mean, std = (_column(rows, name) for name in (step_name, "return_mean", "return_std"))
    axes.plot(steps, mean, color=COLORS[0], marker="o", ms=3)
    axes.fill_between(steps, mean - std, mean + std, color=COLORS[0], alpha=0.15, lw=0)
    axes.set_title(title, fontsize=9)
    return figure


def curves_of_arms(arms: Mapping[str, Sequence[Rows]], step_name: str, new_axes: NewAxes | None = None) -> Figure:
    """Return over steps: a thin line for each run, a thick one for the mean of an arm where all its runs have one."""
    figure, axes = (new_axes or _axes)(_steps(step_name), RETURN)
    for i, (name, runs) in enumerate(arms.items()):
        color, curves = COLORS[i % len(COLORS)], []
        for rows in runs:
            steps, mean = _column(rows, step_name), _column(rows, "return_mean")
            curves.append(dict(zip(steps, mean, strict=True)))
            axes.plot(steps, mean, color=color, alpha=0.3, lw=0.8)
        shared = sorted(set.intersection(*map(set, curves)))
        means = [np.mean([curve[step] for curve in curves]) for step in shared]
        axes.plot(shared, means, color=color, lw=2, label=f"{name} (n = {len(runs)})")
    ink = axes.xaxis.label.get_color()
    figure.legend(loc="outside upper left", frameon=False, fontsize=8, labelcolor=ink)
    return figure


def as_html(figure: Figure) -> str:
    """Write a figure as an <img> that needs no other file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return f'<img alt="return over steps" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")  # inches
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _steps(name: str) -> str:
    return "updates" if name == "updates" else "environment steps"


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([np.nan if (value := row.get(name)) is None else value for row in rows])
