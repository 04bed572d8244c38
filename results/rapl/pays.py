"""What a learned reward pays its agent, beside what it pays the best videos that it was measured on.

python results/rapl/pays.py OUT/runs    a row for each task and method, with the values of its seeds

Sums of an episode, learned and true: of the agent's last episodes, and of the six held-out videos of the highest true
return. An agent that is paid as much for less has found what pictures do not tell apart.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from pbrl.config import load_config
from pbrl.reading import read_object

BEST = 6


def row(run: Path) -> list[float]:
    """Return learned and true sums of the agent, then of the videos."""
    with (run / "progress.csv").open() as file:
        last = [line for line in csv.DictReader(file) if line["rollout/ep_learned_rew_mean"]][-1]
    measured = read_object(run / "reward.json")
    true, learned = (np.array(measured[key]) for key in ("true_returns", "learned_returns"))
    best = np.argsort(-true)[:BEST]
    scale = load_config(run / "config.yaml").method.scale
    agent = [float(last[f"rollout/{key}_mean"]) for key in ("ep_learned_rew", "ep_rew")]
    return [*agent, scale * learned[best].mean(), true[best].mean()]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print("| task | method | agent, learned | agent, true | videos, learned | videos, true |\n" + "| --- " * 6 + "|")
    for arm in sorted(Path(sys.argv[1]).glob("*/*/own/150")):
        if arm.parent.parent.name != "of_features":
            runs = [row(file.parent) for file in sorted(arm.glob("s*/summary.json"))]
            found = [", ".join(f"{value:.0f}" for value in values) for values in zip(*runs, strict=True)]
            print(f"| {' | '.join([arm.parts[-4], arm.parts[-3], *found])} |")
