"""Learning curves for notebooks and pages: figures of matplotlib, made without pyplot's global state."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pbrl.reports.figures import INK, Rows, column, new_axes

RETURN = "return of an episode"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")  # Okabe and Ito 2008


def curve_of_run(rows: Rows, step_name: str, title: str) -> Figure:
    """Plot the return over steps, with a band of one standard deviation over the episodes of an evaluation."""
    figure, axes = new_axes(_steps(step_name), RETURN)
    steps, mean, std = (column(rows, name) for name in (step_name, "return_mean", "return_std"))
    axes.plot(steps, mean, color=COLORS[0], marker="o", ms=3)
    axes.fill_between(steps, mean - std, mean + std, color=COLORS[0], alpha=0.15, lw=0)
    axes.set_title(title, fontsize=9)
    return figure


def curves_of_arms(arms: Mapping[str, Sequence[Rows]], step_name: str) -> Figure:
    """Plot returns over steps: a thin line for each run, a thick one for an arm's mean where all its runs have one."""
    figure, axes = new_axes(_steps(step_name), RETURN)
    for i, (name, runs) in enumerate(arms.items()):
        color, curves = COLORS[i % len(COLORS)], []
        for rows in runs:
            steps, mean = column(rows, step_name), column(rows, "return_mean")
            curves.append(dict(zip(steps, mean, strict=True)))
            axes.plot(steps, mean, color=color, alpha=0.3, lw=0.8)
        shared = sorted(set.intersection(*map(set, curves)))
        means = [np.mean([curve[step] for curve in curves]) for step in shared]
        axes.plot(shared, means, color=color, lw=2, label=f"{name} (n = {len(runs)})")
    figure.legend(loc="outside upper left", frameon=False, fontsize=8, labelcolor=INK)
    return figure


def as_html(figure: Figure) -> str:
    """Write a figure as an <img> that needs no other file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    return f'<img alt="return over steps" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'


def _steps(name: str) -> str:
    return "updates" if name == "updates" else "environment steps"
