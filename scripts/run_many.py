"""Runs behind the folders of results/: as many at once as the machine has cores, each made once, all resumable."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run_all(out: Path, cells: Mapping[str, Sequence[str]], chosen: Sequence[str] = ()) -> int:
    """Makes what is missing of {name: arguments of `pbrl train`}; returns how many runs failed.

    chosen: beginnings of the names to make; none: all.
    """
    wanted = [cell for cell in cells.items() if not chosen or cell[0].startswith(tuple(chosen))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(lambda cell: _run(out, *cell), wanted))


def finished(folder: Path) -> bool:
    summary = folder / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["status"] == "finished"


def evaluations(folder: Path) -> list[dict[str, str]]:
    """Read the rows of a run's evaluations.csv."""
    return list(csv.DictReader((folder / "evaluations.csv").read_text().splitlines()))


def _run(out: Path, name: str, arguments: Sequence[str]) -> bool:
    folder = out / name
    if finished(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    started = (folder / "config.yaml").exists()
    train = [f"resume={folder}"] if started else [*arguments, f"run_dir={folder}"]
    with (folder.parent / f"{folder.name}.log").open("a") as log:
        code = subprocess.run([sys.executable, "-m", "pbrl", "train", *train], stdout=log, stderr=log).returncode
    print(f"{name}: {'done' if code == 0 else f'failed with exit code {code}, see {log.name}'}", flush=True)
    return code != 0
