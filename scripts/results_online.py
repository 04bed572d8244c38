"""The runs behind results/online.

python scripts/results_online.py run OUT [NAME ...]    makes them, as many at once as the machine has cores
python scripts/results_online.py table OUT             writes tables and figures of them to results/online

A run that is finished is never repeated; one that was interrupted goes on from its checkpoint. NAME, such as hopper or
walker-walk/pebble, chooses runs; the table keeps the rows of runs that are not in OUT.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from run_many import evaluations, finished, run_all
from scipy import stats

SEEDS = (0, 1, 2)
WALKER = ["experiment=pebble_cpu"]
GYM = ["steps=100000", "feedback.budget=300", "feedback.per_session=50", "feedback.first=5000", "feedback.every=10000"]
DRAWER = [
    "experiment=pebble_metaworld",
    "env.task=drawer-open-v3",
    "steps=20000",
    "feedback.budget=150",
    "feedback.first=5000",
]
RESULTS = Path(__file__).resolve().parent.parent / "results" / "online"
RUN = ("env", "method", "seed")
COLUMNS = (*RUN, "env_steps", "labels", "return_mean", "return_std", "success_rate", "episode_length", "wall_s")
NAMES = {
    "pebble": "PEBBLE, oracle teacher",
    "true_reward": "SAC on the true reward",
    "random_labels": "PEBBLE, labels by coin toss",
}
COLOURS = {"pebble": "#1f6feb", "true_reward": "#6e7781", "random_labels": "#cf222e"}


def cells() -> dict[str, list[str]]:
    """Name of each run and the arguments of its `pbrl train`, the most telling ones first."""
    runs: dict[str, list[str]] = {}
    for seed in SEEDS:
        for method in ("pebble", "true_reward"):
            runs[f"walker-walk/{method}/s{seed}"] = [*WALKER, f"method={method}"]
    for seed in SEEDS:
        runs[f"walker-walk/random_labels/s{seed}"] = [*WALKER, "teacher=random", "steps=60000", "feedback.budget=150"]
        for env in ("hopper", "halfcheetah"):
            for method in ("pebble", "true_reward"):
                runs[f"{env}/{method}/s{seed}"] = [f"env={env}", f"method={method}", *GYM]
    runs["drawer-open/pebble/s0"] = DRAWER
    return {name: [*arguments, f"seed={name[-1]}", "report=false"] for name, arguments in runs.items()}


def table(out: Path) -> int:
    """evaluations.csv (each evaluation of each finished run), summary.md and a figure per environment."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    known = _known()
    found = [_evaluations(out / name, name) if finished(out / name) else known.get(name, []) for name in cells()]
    rows = [row for run in found for row in run]
    with (RESULTS / "evaluations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    curves: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        curves[row["env"]][row["method"]][row["env_steps"]].append(row["return_mean"])
    (RESULTS / "summary.md").write_text("\n".join(_summary(curves)) + "\n")
    for env, methods in curves.items():
        _figure(env, methods)
    return 0


def _known() -> dict[str, list[dict]]:
    """The rows of the present evaluations.csv by run."""
    runs: dict[str, list[dict]] = defaultdict(list)
    if (file := RESULTS / "evaluations.csv").exists():
        for row in csv.DictReader(file.read_text().splitlines()):
            runs["{env}/{method}/s{seed}".format(**row)].append({c: _number(c, row.get(c, "")) for c in COLUMNS})
    return runs


def _evaluations(folder: Path, name: str) -> list[dict]:
    env, method, seed = name.split("/")
    run = {"env": env, "method": method, "seed": seed[1:]}
    return [{c: _number(c, (row | run)[c]) for c in COLUMNS} for row in evaluations(folder)]


def _number(column: str, text: str) -> str | int | float | None:
    if column in ("env", "method"):
        return text
    if column in ("seed", "env_steps", "labels"):
        return int(text)
    return round(float(text), 3) if text else None


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval by Student's t over seeds."""
    x = np.array(values)
    return x.mean(), stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan


def share(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Ratio of two means with its 95 % interval: delta method on the logarithm, t with n1 + n2 - 2 degrees."""
    a, b = np.array(ours), np.array(theirs)
    ratio = a.mean() / b.mean()
    error = np.sqrt(sum(x.var(ddof=1) / len(x) / x.mean() ** 2 for x in (a, b)))
    factor = np.exp(stats.t.ppf(0.975, len(a) + len(b) - 2) * error)
    return ratio, ratio / factor, ratio * factor


def _summary(curves: dict) -> list[str]:
    lines = ["| task | agent | steps | n | return (95 % interval) | share of true-reward return |", "|" + " --- |" * 6]
    for env, methods in curves.items():
        ends = {max(points) for points in methods.values()} | {100_000}
        for step in sorted(ends):
            true = methods.get("true_reward", {}).get(step, [])
            for method, points in methods.items():
                if not (values := points.get(step, [])):
                    continue
                mean, half = interval(values)
                compared = method != "true_reward" and min(len(true), len(values)) > 1
                of_true = "{:.2f} ({:.2f} to {:.2f})".format(*share(values, true)) if compared else ""
                returns = f"{mean:.0f}" + (f" ± {half:.0f}" if len(values) > 1 else "")
                cells = (env, NAMES[method], f"{step:,}", len(values), returns, of_true)
                lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _figure(env: str, methods: dict[str, dict[int, list[float]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for method, points in methods.items():
        steps = np.array(sorted(points))
        seeds = np.array([points[step] for step in steps])  # (evaluations, n): a line per seed says more than a band
        ax.plot(steps / 1000, seeds, color=COLOURS[method], alpha=0.35, lw=0.8)
        label = f"{NAMES[method]} (mean of {seeds.shape[1]} seeds)"
        ax.plot(steps / 1000, seeds.mean(1), color=COLOURS[method], lw=2, label=label)
    ax.set(xlabel="environment steps (thousands)", ylabel="return per episode", title=env)
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(RESULTS / f"{env}.png", dpi=110)
    plt.close(fig)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", out, *names]:
            sys.exit(run_all(Path(out), cells(), names))
        case ["table", out]:
            sys.exit(table(Path(out)))
        case _:
            sys.exit(__doc__)
