"""Jobs that take seconds, and what must be the same whoever runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tiny import TINY, train

from pbrl.bench.jobs import Job

LONG = "steps=600"  # eight checkpoints
WALL = ("wall_s",)  # of evaluations.csv, all that may differ


def job(out: Path, seed: int, *overrides: str) -> Job:
    name = f"point_reach/pebble/oracle/500/s{seed}"
    return Job(name, out / "runs" / name, (*TINY["pebble"], f"seed={seed}", *overrides))


def uninterrupted(folder: Path, seed: int, *overrides: str) -> Path:
    """The same run by `pbrl train`, in this process."""
    code, _, said = train(folder, f"seed={seed}", *overrides)
    assert code == 0, said
    return folder


def numbers(folder: Path) -> tuple[list[dict[str, str]], dict[str, object]]:
    """All rows of evaluations.csv and what summary.json ends with, but for times."""
    with (folder / "evaluations.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in WALL} for row in csv.DictReader(file)]
    summary = json.loads((folder / "summary.json").read_text())
    kept = ("status", "env_steps", "labels", "final_return", "reward_accuracy", "reward_updates")
    return rows, {key: summary[key] for key in kept}
