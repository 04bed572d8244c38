"""Means of each arm of a CSV with a row per seed (and case), and what the first arm has over each other.

python scripts/results_arms.py FILE COLUMN ...        FILE: with the columns seed, arm, and those named

Cases of one seed are averaged first; intervals are 95 % ones of Student's t over seeds.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict

import numpy as np

from pbrl.statistics.runs import t_interval


def main(file: str, columns: list[str]) -> None:
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    for column in columns:
        by_arm: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            by_arm[row["arm"]][row["seed"]].append(float(row[column]))
        arms = {arm: np.array([np.mean(of[seed]) for seed in seeds]) for arm, of in by_arm.items()}
        first = next(iter(arms.values()))
        print(f"\n| {column}, n = {len(seeds)} | mean | less than the first |\n| --- | --- | --- |")
        for arm, values in arms.items():
            print(f"| {arm} | {interval(values)} | {'' if values is first else interval(first - values)} |")


def interval(values: np.ndarray) -> str:
    found = t_interval(values)
    around = "" if found is None else f" ({found.low:.3g} to {found.high:.3g})"
    return f"{values.mean():.3g}{around}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:]) if sys.argv[2:] else print(__doc__)
