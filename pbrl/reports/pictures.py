"""Figures that are drawn twice: into the page, in its colours, and into files of their own, on white."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbrl.reports import figures

PANEL_ARMS = 6  # lines of one panel that the eye still tells apart; references come on top
MOST_ACROSS = 3
SAVE: dict[str, dict[str, Any]] = {"png": {"dpi": 150}, "svg": {"metadata": {"Date": None}}}
NAME_LENGTH = 30


INK, MUTED, GRID = "#1a1d23", "#626a78", "#e3e6ec"  # of the page by day
SERIES = ("#1667c9", "#d1500a", "#0a8a63", "#b5428f", "#9a7400", "#6b5bd6")
SERIES_BY_NIGHT = ("#5ea9ff", "#f58549", "#38c793", "#e58ac8", "#dcb23c", "#a99bff")
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid"} | {color: f"s{i}" for i, color in enumerate(SERIES)}


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn; `name` is that of its files, without suffix."""

    name: str
    title: str
    note: str
    draw: Callable[[], Figure]

    def write(self, folder: Path) -> str:
        """Writes PNG and SVG, and returns the SVG for the page, in its colours and as wide as its text is readable."""
        with _quiet():
            figure = self.draw()
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # found once; each file would look for it anew
            for suffix, options in SAVE.items():
                figure.savefig(folder / f"{self.name}.{suffix}", facecolor="white", **options)
            svg = figures.as_svg(figure, self.name, self.title)
        for color, variable in VARIABLES.items():
            svg = svg.replace(color, f"var(--{variable})")
        width = figure.get_size_inches()[0] * 72
        limits = f"min-width:{0.95 * width:.0f}px;max-width:{1.6 * width:.0f}px"
        return f'<div class="scroll"><div style="{limits}">{svg}</div></div>'


@contextmanager
def _quiet() -> Iterator[None]:
    """The style, and no warnings of glyphs that the reader's fonts have and Matplotlib's own lack."""
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9.5}
    with warnings.catch_warnings(), matplotlib.rc_context(style):
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def panels(count: int, height: float = 2.5, legend_rows: int = 0) -> tuple[Figure, list[Axes]]:
    """Axes side by side that share their scales, with room for legends above. Inches."""
    across, down = min(count, MOST_ACROSS), math.ceil(count / MOST_ACROSS)
    size = (max(3.2 * across, 4.6), (height + 0.155 * legend_rows) * down)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    axes = [one for row in grid for one in row]
    for unused in axes[count:]:
        unused.set_visible(False)
    for one in axes[:count]:
        style(one)
        one.tick_params(labelbottom=True)
    return figure, axes[:count]


def style(axes: Axes) -> None:
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, length=0)
    axes.xaxis.set_major_formatter(short)
    axes.yaxis.set_major_formatter(short)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)


def legend(axes: Axes) -> None:
    """Above the axes, where it hides no data, in the order of the lines."""
    found = axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, labelcolor=INK, fontsize=8.5)
    for handle in found.legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def short(value: float, _: Any = None) -> str:
    """10k for 10000, and a real minus sign."""
    text = f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}")


def plain(name: str) -> str:
    """For Matplotlib, which reads $ as mathematics and leaves names with a leading _ out of legends."""
    text = name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
    text = text.replace("$", r"\$")
    return f"\N{NO-BREAK SPACE}{text}" if text.startswith("_") else text


def chunks(count: int) -> list[range]:
    """Arms of each panel, as even as they come."""
    parts = max(1, math.ceil(count / PANEL_ARMS))
    ends = np.linspace(0, count, parts + 1).round().astype(int)
    return [range(a, b) for a, b in pairwise(ends)]


def css() -> str:
    """The colours of arms on the page, by day and by night."""
    day, night = (
        " ".join(f"--s{i}: {color};" for i, color in enumerate(colors)) for colors in (SERIES, SERIES_BY_NIGHT)
    )
    return f":root {{ {day} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {night} }} }}"


def band(axes: Axes, x: np.ndarray, low_high: Sequence[np.ndarray] | None, color: str) -> None:
    if low_high is not None:
        axes.fill_between(x, low_high[0], low_high[1], color=color, alpha=0.12, lw=0)
