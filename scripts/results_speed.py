"""Does the fast SAC learn as plain SB3 does? The runs behind results/speed/learning.csv.

python scripts/results_speed.py run OUT [NAME ...]    makes them, as many at once as the machine has cores
python scripts/results_speed.py table OUT             writes learning.csv and prints the comparison

True reward, 60,000 steps, the settings of agent=sac; only the algorithm differs. A run that is finished is never
repeated; the table keeps the rows of runs that are not in OUT.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from run_many import evaluations, finished, run_all
from scipy import stats

ENVS = ("halfcheetah", "walker-walk")
AGENTS = {"sac": "FastSAC", "sac_sb3": "plain SB3"}
SEEDS = range(5)
STEPS = 60_000
FILE = Path(__file__).resolve().parent.parent / "results" / "speed" / "learning.csv"
COLUMNS = ("env", "agent", "seed", "env_steps", "return_mean", "wall_s")


def cells() -> dict[str, list[str]]:
    runs = {}
    for seed in SEEDS:
        for env in ENVS:
            for agent in AGENTS:
                chosen = [f"env={env}", f"agent={agent}", "method=true_reward", f"steps={STEPS}", f"seed={seed}"]
                runs[f"{env}/{agent}/s{seed}"] = [*chosen, "report=false"]
    return runs


def table(out: Path) -> int:
    rows = {(r["env"], r["agent"], r["seed"], r["env_steps"]): r for r in _known()}
    for name in filter(lambda name: finished(out / name), cells()):
        env, agent, seed = name.split("/")
        for row in evaluations(out / name):
            row = {c: (row | {"env": env, "agent": agent, "seed": seed[1:]})[c] for c in COLUMNS}
            rows[env, agent, seed[1:], row["env_steps"]] = row
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    last = defaultdict(lambda: defaultdict(list))
    for row in rows.values():
        if int(row["env_steps"]) == STEPS:
            last[row["agent"]][row["env"]].append(float(row["return_mean"]))
    print("| task | agent | n | return at 60,000 steps: mean (each) |\n| --- | --- | --- | --- |")
    for env in ENVS:
        for agent, name in AGENTS.items():
            values = last[agent][env]
            each = ", ".join(f"{v:.0f}" for v in values)
            print(f"| {env} | {name} | {len(values)} | {np.mean(values):.0f} ({each}) |")
    middle, low, high = difference(last["sac"], last["sac_sb3"])
    print(f"\nIQM of FastSAC against plain SB3's: {middle:+.1%} ({low:+.1%} to {high:+.1%})")
    return 0


def difference(
    ours: dict[str, list[float]], theirs: dict[str, list[float]], draws: int = 10_000
) -> tuple[float, float, float]:
    """Relative difference of interquartile means over tasks and seeds, and its 95 % interval.

    Returns are divided by the mean of `theirs` in their task. Bootstrap over seeds, task by task (Agarwal et al. 2021).
    """
    scale = {env: np.mean(values) for env, values in theirs.items()}
    rng = np.random.default_rng(0)

    def iqm(runs: dict[str, list[float]], resample: bool) -> np.ndarray:
        scores = [
            rng.choice(runs[env], (draws, len(runs[env]))) if resample else np.array(runs[env])[None] for env in scale
        ]
        scaled = [score / scale[env] for score, env in zip(scores, scale, strict=True)]
        return stats.trim_mean(np.concatenate(scaled, axis=1), 0.25, axis=1)

    (middle,) = iqm(ours, False) / iqm(theirs, False) - 1
    low, high = np.quantile(iqm(ours, True) / iqm(theirs, True) - 1, [0.025, 0.975])
    return middle, low, high


def _known() -> list[dict[str, str]]:
    return list(csv.DictReader(FILE.read_text().splitlines())) if FILE.exists() else []


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", out, *names]:
            sys.exit(run_all(Path(out), cells(), names))
        case ["table", out]:
            sys.exit(table(Path(out)))
        case _:
            sys.exit(__doc__)
