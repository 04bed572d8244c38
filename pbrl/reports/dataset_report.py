"""The content of a data set, in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pbrl.data.datasets import SPLITS, Dataset


def dataset_report(data: Dataset) -> dict[str, Any]:
    """Sources, scores and labels in numbers; None where one is not defined."""
    names = list(data.scores)
    return {
        "path": str(data.path),
        "env": data.meta["env_name"],
        "command": data.meta["command"],
        "steps": int(sum(len(e) for e in data.episodes)),
        "segment_length": data.meta["segment_length"],
        "last_obs": data.meta["last_obs"],
        "true_reward": data.meta.get("true_reward", True),
        "actions": data.meta.get("actions"),
        "cameras": (data.meta.get("videos") or {}).get("cameras"),
        "videos": len((data.meta.get("videos") or {}).get("files", ())) or None,
        "splits": {s: _split(data, number) for number, s in enumerate(SPLITS)},
        "sources": {name: _source(data, number) for number, name in enumerate(data.meta["sources"])},
        "scores": {name: _spread(data.scores[name]) for name in names},
        "correlation": {f"{a} ~ {b}": _correlation(data, a, b) for i, a in enumerate(names) for b in names[:i]},
        "teacher": data.meta["teacher"],
        "labels": {label: {s: _labels(data, label, s) for s in SPLITS} for label in data.comparisons},
    }


def format_report(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    lines = [
        f"{report['path']}: {report['env'] or 'unknown environment'}, {report['steps']} steps, "
        f"segments of {report['segment_length']}",
        f"made by: {report['command']}",
        *([] if report["last_obs"] else ["the last observation of a segment is a repeat of the one before"]),
        *([] if report["true_reward"] else ["rewards are unknown"]),
        *([f"videos of {', '.join(report['cameras'])}: {report['videos']}"] if report["cameras"] else []),
        *([f"actions: {_range(report['actions'])}"] if report["actions"] else []),
        "",
    ]
    lines += _table(("split", "episodes", "segments"), [(s, *v.values()) for s, v in report["splits"].items()])
    header = ("source", "episodes", "length", "return", "per step", "success", "segments", *report["scores"])
    lines += ["", *_table(header, [_source_row(name, v) for name, v in report["sources"].items()])]
    rows = [(name, v["mean"], v["std"], v["min"], v["max"]) for name, v in report["scores"].items()]
    lines += ["", *_table(("score of a segment", "mean", "std", "min", "max"), rows)]
    lines += [f"correlation {pair}: {r:.2f}" for pair, r in report["correlation"].items() if r is not None]
    if not report["labels"]:
        return "\n".join([*lines, "", "no comparisons", ""])
    rows = [(label, s, *v.values()) for label, by in report["labels"].items() for s, v in by.items()]
    header = ("label", "split", "comparisons", "ties", "skipped", "right", "agree with score")
    name = (report["teacher"] or {}).get("name", "unknown")
    return "\n".join([*lines, "", f"teacher: {name}", *_table(header, rows), ""])


def _range(actions: dict[str, Any]) -> str:
    """Return what became -1 and 1, or of how many an action is one."""
    if "discrete" in actions:
        return f"one of {actions['discrete']}"
    ranges = [f"{low:g} to {high:g}" for low, high in zip(actions["low"], actions["high"], strict=True)]
    return f"scaled to -1..1 from {', '.join(ranges)}"


def _split(data: Dataset, number: int) -> dict[str, int]:
    return {"episodes": int((data.episode_split == number).sum()), "segments": int((data.split == number).sum())}


def _source(data: Dataset, number: int) -> dict[str, Any]:
    episodes = [e for e, s in zip(data.episodes, data.source, strict=True) if s == number]
    successes = [e.success for e in episodes if e.success is not None]
    known = data.meta.get("true_reward", True)
    returns = [float(e.true_reward.sum(dtype=np.float64)) for e in episodes] if known else []
    mine = data.source[data.episode_of] == number
    return {
        "episodes": len(episodes),
        "length": float(np.mean([len(e) for e in episodes])) if episodes else None,
        "return_mean": float(np.mean(returns)) if returns else None,
        "return_std": float(np.std(returns)) if returns else None,
        "reward_per_step": sum(returns) / sum(map(len, episodes)) if returns else None,
        "success_rate": float(np.mean(successes)) if successes else None,
        "segments": int(mine.sum()),
        "scores": {name: float(v[mine].mean()) if mine.any() else None for name, v in data.scores.items()},
    }


def _source_row(name: str, v: dict[str, Any]) -> tuple[Any, ...]:
    returns = "" if v["return_mean"] is None else f"{v['return_mean']:.1f} ± {v['return_std']:.1f}"
    success = "" if v["success_rate"] is None else f"{v['success_rate']:.0%}"
    return (
        name,
        v["episodes"],
        v["length"],
        returns,
        v["reward_per_step"],
        success,
        v["segments"],
        *v["scores"].values(),
    )


def _spread(values: np.ndarray) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("mean", "std", "min", "max"))
    found = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    return {name: float(value) for name, value in found.items()}


def _correlation(data: Dataset, a: str, b: str) -> float | None:
    one, two = data.scores[a], data.scores[b]
    if len(one) < 2 or not one.std() or not two.std():
        return None
    return float(np.corrcoef(one, two)[0, 1])


def _labels(data: Dataset, label: str, split: str) -> dict[str, Any]:
    """Rates of ties, skips and "right" (of the decided), and how often a decided answer is the score's own."""
    c, rows = data.comparisons[label], data.rows(label, split)
    value, answered = c.prefers_right[rows], c.answered[rows]
    decided = answered & (value != 0.5)
    gain = data.scores[label][c.right[rows]] - data.scores[label][c.left[rows]]
    return {
        "comparisons": len(rows),
        "ties": _rate(answered & (value == 0.5)),
        "skipped": _rate(~answered),
        "right": _rate(value[decided] > 0.5),
        "agree": _rate((value[decided] > 0.5) == (gain[decided] > 0)),
    }


def _rate(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
