"""The report of a test bed's rows: a table with intervals over seeds, and a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pbrl.statistics.runs import t_interval
from pbrl.tabular.beds import Bed, Measured

COLUMNS = ("seed", "case", "arm", "value")
LEAST_SHOWN = 3  # digits after the point


class SeedRow(NamedTuple):
    seed: int
    measured: Measured


def to_csv(rows: Sequence[SeedRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((seed, m.case, m.arm, f"{m.value:.6g}") for seed, m in rows)
    return text.getvalue()


def values_of(rows: Sequence[SeedRow]) -> dict[str, dict[str, np.ndarray]]:
    """Return values (n,) in the order of the seeds, by case and arm, as they were measured."""
    found: dict[str, dict[str, list[float]]] = {}
    for _, (case, arm, value) in rows:
        found.setdefault(case, {}).setdefault(arm, []).append(value)
    return {case: {arm: np.array(values) for arm, values in arms.items()} for case, arms in found.items()}


def table(rows: Sequence[SeedRow]) -> str:
    """A line for each case, a column for each arm: mean over seeds, and Student's 95 % interval from 2 seeds on."""
    found = values_of(rows)
    arms = list(dict.fromkeys(arm for by_arm in found.values() for arm in by_arm))
    lines = [_line(["case", *arms]), _line(["---"] * (len(arms) + 1))]
    lines += [_line([case, *(_cell(by_arm.get(arm)) for arm in arms)]) for case, by_arm in found.items()]
    return "\n".join(lines)


def page(bed: Bed, rows: Sequence[SeedRow], command: str) -> str:
    seeds = len({seed for seed, _ in rows})
    return (
        f"```text\n{command}\n```\n\n{bed.claim}\n\nTask: {bed.task}.\n\n"
        f"Values: {bed.measure}; mean of n = {seeds} seeds, and the 95 % interval of Student's t.\n\n{table(rows)}\n"
    )


def draw(bed: Bed, rows: Sequence[SeedRow], path: Path) -> None:
    """Draw a group of bars for each case, a bar for each arm, a dot for each seed."""
    found = values_of(rows)
    arms = list(dict.fromkeys(arm for by_arm in found.values() for arm in by_arm))
    figure = Figure(figsize=(max(6.4, 1.6 * len(found) + 2), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(arms)
    for i, arm in enumerate(arms):
        places = np.array([k + (i - (len(arms) - 1) / 2) * width for k, case in enumerate(found) if arm in found[case]])
        values = [by_arm[arm] for by_arm in found.values() if arm in by_arm]
        axes.bar(places, [v.mean() for v in values], width, label=arm, alpha=0.8)
        for place, of_seeds in zip(places, values, strict=True):
            axes.plot(np.full(len(of_seeds), place), of_seeds, ".", color="0.25", ms=4)
    axes.set_xticks(range(len(found)), ["\n".join(wrap(case, 22)) for case in found], fontsize=8)
    axes.set_ylabel("\n".join(wrap(bed.measure, 45)), fontsize=8)
    axes.axhline(0, color="0.7", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=_columns(arms, figure.get_figwidth()), frameon=False, fontsize=8)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def _columns(arms: Sequence[str], inches: float) -> int:
    """Return how many columns of the longest of these names fit into so many inches, beside their patches."""
    return max(1, min(len(arms), int(inches / (0.7 + 0.065 * max(map(len, arms))))))


def _cell(values: np.ndarray | None) -> str:
    if values is None:
        return ""
    if len(values) < 2 or (found := t_interval(values)) is None:
        return f"{values.mean():.{LEAST_SHOWN}g}"
    largest = np.abs(values).max()
    digits = 3 if largest < 1 else 2 if largest < 100 else 0
    return f"{values.mean():.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
