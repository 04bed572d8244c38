"""Does the kernel learn as the torch update and plain SB3 do? The runs behind results/speed/backends.csv.

python scripts/results_backends.py run OUT [NAME ...]    makes them, as many at once as the machine has cores
python scripts/results_backends.py table OUT             writes backends.csv and prints the comparison

True reward, float32; only what makes the updates differs. The figure of a run is the area under its curve: the mean
return of its evaluations. A run that is finished is never repeated; the table keeps the rows of runs that are not in
OUT.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from run_many import evaluations, finished, run_all

BACKENDS = {
    "native": ["agent=sac", "agent.backend=native", "agent.precision=float32"],
    "torch": ["agent=sac", "agent.backend=torch", "agent.precision=float32"],
    "sb3": ["agent=sac_sb3"],
}
ALL = ["method=true_reward", "report=false"]
LONG = ["steps=60000", "evaluation.every=10000"]
POINT = [
    "steps=6000", "evaluation.every=500", "evaluation.episodes=20",
    "agent.learning_starts=500", "agent.lr=1e-3", "agent.gamma=0.95",
]  # fmt: skip
TASKS = {"point_reach": (POINT, 15), "halfcheetah": (LONG, 5), "walker-walk": (LONG, 5)}  # settings, seeds
FILE = Path(__file__).resolve().parent.parent / "results" / "speed" / "backends.csv"
COLUMNS = ("env", "backend", "seed", "env_steps", "return_mean")
Key = tuple[str, str, str, str]


def cells() -> dict[str, list[str]]:
    return {
        f"{env}/{name}/s{seed}": [f"env={env}", *ALL, *settings, *chosen, f"seed={seed}"]
        for env, (settings, seeds) in TASKS.items()
        for seed in range(seeds)
        for name, chosen in BACKENDS.items()
    }


def table(out: Path) -> int:
    rows = _known()
    for cell in filter(lambda cell: finished(out / cell), cells()):
        env, backend, seed = cell.split("/")
        for row in evaluations(out / cell):
            rows[env, backend, seed[1:], row["env_steps"]] = float(row["return_mean"])
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([*key, value] for key, value in rows.items())
    print("| task | updates by | n | area under the curve: mean, each |\n| --- | --- | --- | --- |")
    areas = {(env, name): _areas(rows, env, name) for env in TASKS for name in BACKENDS}
    for (env, name), values in areas.items():
        if len(values):
            each = ", ".join(f"{v:.0f}" for v in values)
            print(f"| {env} | {name} | {len(values)} | {values.mean():.0f} ({each}) |")
    print("\n| task | the kernel against | difference | 95 % interval |\n| --- | --- | --- | --- |")
    for env in TASKS:
        for other in ("torch", "sb3"):
            if len(areas[env, other]) and len(areas[env, "native"]):
                middle, low, high = difference(areas[env, "native"], areas[env, other])
                print(f"| {env} | {other} | {middle:+.1%} | {low:+.1%} to {high:+.1%} |")
    return 0


def difference(ours: np.ndarray, theirs: np.ndarray, draws: int = 10_000) -> tuple[float, float, float]:
    """Relative difference of means, and its 95 % bootstrap interval over seeds."""
    rng = np.random.default_rng(0)
    one, other = (rng.choice(values, (draws, len(values))).mean(1) for values in (ours, theirs))
    low, high = np.quantile(one / other - 1, [0.025, 0.975])
    return float(ours.mean() / theirs.mean() - 1), float(low), float(high)


def _known() -> dict[Key, float]:
    if not FILE.exists():
        return {}
    rows = csv.DictReader(FILE.read_text().splitlines())
    return {(r["env"], r["backend"], r["seed"], r["env_steps"]): float(r["return_mean"]) for r in rows}


def _areas(rows: dict[Key, float], env: str, backend: str) -> np.ndarray:
    """(seeds,) mean returns of the evaluations of each run."""
    curves: dict[str, list[float]] = {}
    for (task, name, seed, _), value in rows.items():
        if (task, name) == (env, backend):
            curves.setdefault(seed, []).append(value)
    return np.array([np.mean(curves[seed]) for seed in sorted(curves, key=int)])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", out, *names]:
            sys.exit(run_all(Path(out), cells(), names))
        case ["table", out]:
            sys.exit(table(Path(out)))
        case _:
            sys.exit(__doc__)
