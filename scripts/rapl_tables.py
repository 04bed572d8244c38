"""Files and tables of results/rapl, from what scripts/results_rapl.py found."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pbrl.statistics.runs import t_interval

NAMES = {
    "true_reward": "true reward",
    "rapl": "RAPL, 150 triplets",
    "own": "RAPL, aligned on this body",
    "transfer": "RAPL, aligned on another body",
    "unaligned": "transport, not aligned",
    "video_return-150": "pairwise RLHF, 150 labels",
    "video_return-300": "pairwise RLHF, 300 labels",
}
OURS = ("rapl", "transfer")  # what the others of a task are compared with
DRAWS = 2000
RESULTS = Path(__file__).resolve().parent.parent / "results" / "rapl"
CELL = ("task", "method", "seed")
VIDEO = ("episode", "learned", "true")
MEASURED = ("spearman", "heldout_accuracy", "labels", "wall_s", "encode_ms", "transport_ms")
TRAINED = ("final_success", "final_success_at_end", "final_return", "wall_s")
Row = dict[str, str]
Returns = dict[tuple[str, str], dict[str, np.ndarray]]
"""Of each task and method by seed: learned and true return of its held-out videos, (V, 2)."""


def rewards(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Writes rewards.csv (a row per reward) and videos.csv (per held-out video); the table of what they say.

    found: {TASK/METHOD/sSEED: facts of the reward}.
    """
    cells, videos = [], []
    for name, facts in found.items():
        facts = {"heldout_accuracy": facts["accuracy"], **facts}  # without alignment no answer was learned from
        cells.append(_cell(name) | {k: _text(facts[k]) for k in MEASURED})
        returns = zip(*(facts[k] for k in ("episodes", "learned_returns", "true_returns")), strict=True)
        videos += [_cell(name) | dict(zip(VIDEO, map(_text, row), strict=True)) for row in returns]
    cells = _merge("rewards.csv", (*CELL, *MEASURED), cells)
    drawn: Returns = defaultdict(dict)
    for cell, rows in _grouped(_merge("videos.csv", (*CELL, *VIDEO), videos), CELL).items():
        drawn[cell[:2]][cell[2]] = np.array([[float(row["learned"]), float(row["true"])] for row in rows])
    lines = [
        "Spearman's correlation of learned and true return over held-out videos, mean over seeds; 95 % bootstrap",
        "intervals: the videos of each seed are drawn anew, the same ones for all methods of a task and seed. Held-out",
        "answers also chose the epoch of what was learned, so their accuracy is somewhat optimistic.",
        "",
        "| task | reward | seeds x videos | correlation | RAPL minus it | accuracy on held-out answers "
        "| min to learn | ms per episode: encode, transport |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (task, method), rows in _ordered(_grouped(cells, CELL[:2])):
        seeds = drawn[task, method]
        size = f"{len(seeds)} x {statistics.median(map(len, seeds.values())):g}"
        middle = {k: statistics.median(float(row[k]) for row in rows) for k in MEASURED[3:]}
        accuracy = np.mean([float(row["heldout_accuracy"]) for row in rows])
        lines.append(
            f"| {task} | {NAMES[method]} | {size} | {_with_interval(*bootstrap(seeds))} "
            f"| {_gain(drawn, task, method)} | {accuracy:.2f} | {middle['wall_s'] / 60:.1f} "
            f"| {middle['encode_ms']:.0f}, {'none' if 'RLHF' in NAMES[method] else round(middle['transport_ms'], 1)} |"
        )
    return lines


def agents(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Writes agents.csv, a row per run; the table of what it says. found: {TASK/METHOD/sSEED: summary}."""
    rows = _merge(
        "agents.csv", (*CELL, *TRAINED), [_cell(n) | {k: _text(s[k]) for k in TRAINED} for n, s in found.items()]
    )
    grouped = _grouped(rows, CELL[:2])
    lines = [
        "Share of successes at the end of an episode and true return of the last policy; means over seeds with "
        "Student's 95 % intervals, differences by seed.",
        "",
        "| task | reward | success by seed | success | return | return of RAPL minus it | min per run |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ours = {task: own for (task, method), own in grouped.items() if method == "rapl"}
    for (task, method), own in _ordered(grouped):
        minutes = statistics.median(float(row["wall_s"]) for row in own) / 60
        success, returns = ({row["seed"]: float(row[column]) for row in own} for column in TRAINED[1:3])
        rapl = {} if method == "rapl" else {row["seed"]: float(row[TRAINED[2]]) for row in ours.get(task, [])}
        gains = [rapl[seed] - returns[seed] for seed in sorted(rapl.keys() & returns)]
        lines.append(
            f"| {task} | {NAMES[method]} | {', '.join(f'{success[seed]:.2f}' for seed in sorted(success))} "
            f"| {_mean([*success.values()], 2)} | {_mean([*returns.values()], 1)} | {_mean(gains, 1)} | {minutes:.1f} |"
        )
    return lines


def bootstrap(seeds: Mapping[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the mean over seeds of Spearman's correlation, and the same of each draw of videos: (), (DRAWS,).

    seeds: {seed: (V, 2)} of learned and true return. Draws follow from seed and V, so those of two methods are paired.
    """
    whole = np.mean([stats.spearmanr(*returns.T).statistic for returns in seeds.values()])
    return float(whole), np.mean([_drawn(returns, int(seed)) for seed, returns in seeds.items()], axis=0)


def _drawn(returns: np.ndarray, seed: int) -> np.ndarray:
    """Return correlations (DRAWS,) of ranks; where a draw has the same return over and over, 0."""
    rows = np.random.default_rng(seed).integers(0, len(returns), (DRAWS, len(returns)))
    ranks = stats.rankdata(returns[rows], axis=1)  # (DRAWS, V, 2)
    ranks -= ranks.mean(1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(1).prod(1))
    return ranks.prod(2).sum(1) / np.where(spread > 0, spread, 1)


def _gain(returns: Returns, task: str, method: str) -> str:
    ours = next((name for name in OURS if (task, name) in returns), None)
    if ours is None or ours == method:
        return ""
    seeds = sorted(returns[task, ours].keys() & returns[task, method].keys())
    if not seeds:
        return ""
    (one, one_drawn), (other, other_drawn) = (
        bootstrap({s: returns[task, m][s] for s in seeds}) for m in (ours, method)
    )
    return _with_interval(one - other, one_drawn - other_drawn)


def _mean(values: Sequence[float], digits: int) -> str:
    """Write a mean, with its interval where there are several values; nothing without values."""
    if not values:
        return ""
    interval = t_interval(np.array(values))
    around = "" if interval is None else f" ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
    return f"{np.mean(values):.{digits}f}{around}"


def _with_interval(value: float, drawn: np.ndarray) -> str:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _cell(name: str) -> Row:
    task, method, seed = name.split("/")
    return {"task": task, "method": method, "seed": seed[1:]}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _merge(file: str, columns: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Writes the rows of these cells, and those that the file has of others; returns all of them."""
    path, new = RESULTS / file, _grouped(rows, CELL)
    known = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    merged = [row for own in (_grouped(known, CELL) | new).values() for row in own]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged)
    return merged


def _grouped(rows: Sequence[Row], columns: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[c] for c in columns)].append(row)
    return dict(groups)


def _ordered(groups: Mapping[tuple[str, ...], list[Row]]) -> list[tuple[tuple[str, ...], list[Row]]]:
    def place(item: tuple[tuple[str, ...], list[Row]]) -> tuple[str, int]:
        return item[0][0], list(NAMES).index(item[0][1])

    return sorted(groups.items(), key=place)
