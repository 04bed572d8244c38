"""The figures of a report as inline SVG whose colours are the page's, so that one drawing serves light and dark."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator

Rows = Sequence[dict[str, float | None]]

# The colours of templates/page.css by day; on a page each is exchanged for its CSS variable.
INK, MUTED, GRID, AGENT, RANDOM, THIRD = "#1a1d23", "#626a78", "#e3e6ec", "#1f6feb", "#b4690e", "#1a7f5a"
SERIES = ("#1667c9", "#d1500a", "#0a8a63", "#b5428f", "#9a7400", "#6b5bd6")  # of the arms of a bench
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", AGENT: "agent", RANDOM: "random", THIRD: "third"}
VARIABLES |= {color: f"s{i}" for i, color in enumerate(SERIES)}

SHOWN_STEPS = 350  # points per policy in the scatter; more only make the page heavy


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn twice: into the page, in its colours, and into files named `name`, on white."""

    name: str
    title: str
    note: str
    draw: Callable[[], Figure]

    def write(self, folder: Path) -> Markup:
        """Write PNG and SVG; return the SVG for the page, in its colours and as wide as its text is readable."""
        with fonts_of_page("bench"):
            figure = self.draw()
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # found once; each file would look for it anew
            figure.savefig(folder / f"{self.name}.png", facecolor="white", dpi=150)
            figure.savefig(folder / f"{self.name}.svg", facecolor="white", metadata={"Date": None})
            svg = as_svg(figure, self.name, self.title)
        width = figure.get_size_inches()[0] * 72
        limits = f"min-width:{0.95 * width:.0f}px;max-width:{1.6 * width:.0f}px"
        return Markup('<div class="scroll"><div style="{}">{}</div></div>').format(limits, svg)


class Steps(NamedTuple):
    """Rewards of the same steps."""

    true: np.ndarray  # (M,)
    learned: np.ndarray  # (M,)


def learning_curve(evaluations: Rows, x: str, x_label: str, random_return: float) -> Markup:
    """Evaluation return over a column of evaluations.csv, with the spread over its episodes."""
    figure, axes = new_axes(x_label, "return of an episode")
    xs, mean, std = (column(evaluations, k) for k in (x, "return_mean", "return_std"))
    axes.axhline(random_return, color=RANDOM, lw=1.5, ls=(0, (4, 3)), label="random policy")
    axes.fill_between(xs, mean - std, mean + std, color=AGENT, alpha=0.16, lw=0)
    axes.plot(xs, mean, color=AGENT, lw=2, marker="o", ms=3.5, label="this run (band: ± 1 std of episodes)")
    _legend(axes)
    return as_svg(figure, f"{x}-curve", f"Evaluation return against {x_label}")


def reward_scatter(policy: Steps, random: Steps) -> Markup:
    """Learned against true reward, step by step."""
    figure, axes = new_axes("true reward of the step", "learned reward of the step")
    for steps, color, label in ((random, RANDOM, "random actions"), (policy, AGENT, "final policy")):
        some = np.linspace(0, len(steps.true) - 1, min(SHOWN_STEPS, len(steps.true))).astype(int)
        axes.scatter(steps.true[some], steps.learned[some], s=11, color=color, alpha=0.55, lw=0, label=label)
    _legend(axes)
    return as_svg(figure, "scatter", "Learned reward against true reward, one point per step")


def accuracy_curve(sessions: Rows) -> Markup:
    """Draw how often the learned reward orders a pair right, after each feedback session."""
    figure, axes = new_axes("labels", "share of pairs ordered right")
    axes.axhline(0.5, color=MUTED, lw=1, ls=(0, (1, 3)))
    kinds = {
        "reward/true_accuracy": ("random pairs, by true return", AGENT, "-"),
        "reward/heldout_accuracy": ("held-out answers", INK, "-"),
        "reward/fresh_accuracy": ("new answers, before learning them", THIRD, "-"),
        "reward/accuracy": ("answers it learned from", MUTED, (0, (4, 3))),
    }
    for name, (label, color, style) in kinds.items():
        values = column(sessions, name)
        if np.isfinite(values).any():
            labels = column(sessions, "feedback/labels")
            axes.plot(labels, values, color=color, lw=1.8, ls=style, marker="o", ms=3.5, label=label)
    axes.set_ylim(0, 1.03)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _legend(axes)
    return as_svg(figure, "accuracy", "Accuracy of the learned reward against labels")


def column(rows: Rows, name: str) -> np.ndarray:
    """One column as numbers, NaN where there is none."""
    return np.array([math.nan if (value := row.get(name)) is None else value for row in rows])


def new_axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.0, 3.1), layout="constrained")  # inches; a phone's width at the size of its text
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    style(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def style(axes: Axes) -> None:
    """Draw horizontal lines and little else."""
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(short)
        axis.label.set_color(MUTED)


def short(value: float, _: Any = None) -> str:
    """Write 10k for 10000, and a real minus sign."""
    text = f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}")


def plain(name: str, length: int) -> str:
    """Shorten and mask a name for Matplotlib, which reads $ as mathematics and hides names that begin with _."""
    text = shortened(name, length).replace("$", r"\$")
    return f"\N{NO-BREAK SPACE}{text}" if text.startswith("_") else text


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _legend(axes: Axes) -> None:
    """Put the legend above the axes, where it hides no data."""
    solid(axes.figure.legend(loc="outside upper left", ncols=1, frameon=False, labelcolor=INK, handlelength=1.6))


def solid(legend: Legend) -> None:
    """Show the colours of a legend unmixed, however pale the points are."""
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


@contextmanager
def fonts_of_page(salt: str) -> Iterator[None]:
    """Keep text as text, whose glyphs the reader's fonts have; `salt` decides the ids of an SVG."""
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9.5}
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def as_svg(figure: Figure, name: str, title: str) -> Markup:
    """Draw a figure for a page, in its colours and fonts; `name` sets its ids apart from those of other figures."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with fonts_of_page(name):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)  # names must be unique on the page
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var(--{variable})")
    svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 role="img" aria-label="{title}">', svg, count=1)
    return Markup(svg)
