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
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbrl.reports import figures
from pbrl.reports.figures import INK, style

PANEL_ARMS = 6  # lines of one panel that the eye still tells apart; references come on top
MOST_ACROSS = 3
SAVE: dict[str, dict[str, Any]] = {"png": {"dpi": 150}, "svg": {"metadata": {"Date": None}}}
NAME_LENGTH = 30


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn; `name` is that of its files, without suffix."""

    name: str
    title: str
    note: str
    draw: Callable[[], Figure]

    def write(self, folder: Path) -> Markup:
        """Writes PNG and SVG, and returns the SVG for the page, in its colours and as wide as its text is readable."""
        with _quiet():
            figure = self.draw()
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # found once; each file would look for it anew
            for suffix, options in SAVE.items():
                figure.savefig(folder / f"{self.name}.{suffix}", facecolor="white", **options)
            svg = figures.as_svg(figure, self.name, self.title)
        width = figure.get_size_inches()[0] * 72
        limits = f"min-width:{0.95 * width:.0f}px;max-width:{1.6 * width:.0f}px"
        return Markup('<div class="scroll"><div style="{}">{}</div></div>').format(limits, svg)


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


def legend(axes: Axes) -> None:
    """Put a legend above the axes, where it hides no data, in the order of the lines."""
    found = axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, labelcolor=INK, fontsize=8.5)
    figures.solid(found)


def plain(name: str) -> str:
    return figures.plain(name, NAME_LENGTH)


def chunks(count: int) -> list[range]:
    """Arms of each panel, as even as they come."""
    parts = max(1, math.ceil(count / PANEL_ARMS))
    ends = np.linspace(0, count, parts + 1).round().astype(int)
    return [range(a, b) for a, b in pairwise(ends)]


def band(axes: Axes, x: np.ndarray, low_high: Sequence[np.ndarray] | None, color: str) -> None:
    if low_high is not None:
        axes.fill_between(x, low_high[0], low_high[1], color=color, alpha=0.12, lw=0)
