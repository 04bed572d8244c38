"""Does the kernel learn as the torch update and plain SB3 do? The runs behind results/speed/backends.csv.

python scripts/results_backends.py run OUT [NAME ...]    makes them, as many at once as the machine has cores
python scripts/results_backends.py table OUT             writes backends.csv and prints the comparison

True reward on point_reach, 6,000 steps in float32, evaluated every 500; only what makes the updates differs. The
figure of a run is the area under its curve: the mean return of its evaluations. A run that is finished is never
repeated; the table keeps the rows of runs that are not in OUT.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from run_many import evaluations, finished, run_all

BACKENDS = {
    "native": ["agent=sac", "agent.backend=native", "agent.precision=float32"],
    "torch": ["agent=sac", "agent.backend=torch", "agent.precision=float32"],
    "sb3": ["agent=sac_sb3"],
}
SEEDS = range(15)
SETTINGS = [
    "env=point_reach", "method=true_reward", "steps=6000", "evaluation.every=500", "evaluation.episodes=20",
    "agent.learning_starts=500", "agent.lr=1e-3", "agent.gamma=0.95",
]  # fmt: skip
FILE = Path(__file__).resolve().parent.parent / "results" / "speed" / "backends.csv"
COLUMNS = ("backend", "seed", "env_steps", "return_mean")


def cells() -> dict[str, list[str]]:
    return {
        f"s{seed}/{name}": [*SETTINGS, *chosen, f"seed={seed}", "report=false"]
        for seed in SEEDS
        for name, chosen in BACKENDS.items()
    }


def table(out: Path) -> int:
    known = list(csv.DictReader(FILE.read_text().splitlines())) if FILE.exists() else []
    rows = {(r["backend"], r["seed"], r["env_steps"]): r for r in known}
    for cell in filter(lambda cell: finished(out / cell), cells()):
        seed, backend = cell.split("/")
        for row in evaluations(out / cell):
            row = {c: (row | {"backend": backend, "seed": seed[1:]})[c] for c in COLUMNS}
            rows[backend, seed[1:], row["env_steps"]] = row
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    curves = defaultdict(list)
    for row in rows.values():
        curves[row["backend"], row["seed"]].append(float(row["return_mean"]))
    areas = {name: np.array([np.mean(v) for (b, _), v in sorted(curves.items()) if b == name]) for name in BACKENDS}
    print("| updates by | n | area under the curve: mean, each |\n| --- | --- | --- |")
    for name, values in areas.items():
        if len(values):
            print(f"| {name} | {len(values)} | {values.mean():.0f} ({', '.join(f'{v:.0f}' for v in values)}) |")
    for other in ("torch", "sb3"):
        if len(areas[other]):
            middle, low, high = difference(areas["native"], areas[other])
            print(f"native against {other}: {middle:+.1%} (95 % interval {low:+.1%} to {high:+.1%})")
    return 0


def difference(ours: np.ndarray, theirs: np.ndarray, draws: int = 10_000) -> tuple[float, float, float]:
    """Relative difference of means, and its 95 % bootstrap interval over seeds."""
    rng = np.random.default_rng(0)
    one, other = (rng.choice(values, (draws, len(values))).mean(1) for values in (ours, theirs))
    low, high = np.quantile(one / other - 1, [0.025, 0.975])
    return float(ours.mean() / theirs.mean() - 1), float(low), float(high)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", out, *names]:
            sys.exit(run_all(Path(out), cells(), names))
        case ["table", out]:
            sys.exit(table(Path(out)))
        case _:
            sys.exit(__doc__)
