"""The runs behind results/heron: a reward from ranked factors, against the true reward and sums of the factors.

python scripts/results_heron.py run OUT [NAME ...]     makes them, as many at once as the machine has cores
python scripts/results_heron.py table OUT              writes results/heron/runs.csv and prints the tables

A run that is finished is never repeated; NAME, such as pendulum/heron, chooses runs; the table keeps the rows of runs
that are not in OUT. Intervals are 95 % t intervals over seeds.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from run_many import evaluations, finished, run_all
from scipy import stats

from pbrl.config import compose_config

SEEDS = (0, 1, 2)
TASKS = {  # steps, and the factor that is measured in units a thousand times smaller
    "pendulum": (10_000, "speed"),
    "halfcheetah": (50_000, "effort"),
    "tabletop_reach": (12_000, "effort"),
}
NAMES = {
    "true_reward": "SAC on the true reward",
    "heron": "HERON",
    "factor_sum": "sum of factors, weights of 1",
    "factor_geometric": "sum of factors, weights that halve",
    "by_sum": "learned from labels by the sum",
    "reversed": "HERON, order reversed",
    "heron_x1000": "HERON, {} x 1000",
    "factor_sum_x1000": "sum of factors, {} x 1000",
}
SKIPPED = {"halfcheetah": ("by_sum", "heron_x1000", "factor_sum_x1000")}  # its runs take long
FILE = Path(__file__).resolve().parent.parent / "results" / "heron" / "runs.csv"
KEY = ("task", "arm", "seed")


def cells() -> dict[str, list[str]]:
    """Name of each run, TASK/ARM/sSEED, and the arguments of its `pbrl train`."""
    runs = {}
    for seed in SEEDS:
        for task, (steps, _) in TASKS.items():
            size = [f"steps={steps}", f"evaluation.every={steps // 10}", f"seed={seed}", "report=false"]
            for arm, choice in _arms(task).items():
                if arm not in SKIPPED.get(task, ()):
                    runs[f"{task}/{arm}/s{seed}"] = [f"env={task}", *choice, *size]
    return runs


def table(out: Path) -> int:
    rows = {tuple(row[k] for k in KEY): row for row in _known()}
    for name in filter(lambda name: finished(out / name), cells()):
        task, arm, seed = name.split("/")
        last = evaluations(out / name)[-1]
        summary = json.loads((out / name / "summary.json").read_text())
        measured = {k: v for k, v in last.items() if k == "return_mean" or k.startswith("factor_")}
        row = {"task": task, "arm": arm, "seed": seed[1:], **measured, "wall_s": str(summary["wall_s"])}
        rows[task, arm, seed[1:]] = _in_own_units(row)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    columns = dict.fromkeys(key for row in rows.values() for key in row)
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    for task in TASKS:
        print("\n".join(_table(task, [row for row in rows.values() if row["task"] == task])) + "\n")
    return 0


def _arms(task: str) -> dict[str, list[str]]:
    config = compose_config([f"env={task}"]).env
    levels = [dict(level) for level in config.levels]
    factor = TASKS[task][1]
    backwards = ", ".join("{" + ", ".join(f"{k}: {v}" for k, v in level.items()) + "}" for level in levels[::-1])
    own = config.make.get("factors", {}).get(factor, f"info['factors']['{factor}']")
    scaled = f'++env.make.factors.{factor}="1000 * ({own})"'
    return {
        "true_reward": ["method=true_reward"],
        "heron": ["method=heron"],
        "factor_sum": ["method=factor_sum"],
        "factor_geometric": ["method=factor_geometric"],
        "by_sum": ["method=heron", "teacher=factor_sum"],
        "reversed": ["method=heron", f"teacher.levels=[{backwards}]"],
        "heron_x1000": ["method=heron", scaled],
        "factor_sum_x1000": ["method=factor_sum", scaled],
    }


def _in_own_units(row: dict[str, str]) -> dict[str, str]:
    column = f"factor_{TASKS[row['task']][1]}"
    return row | {column: str(float(row[column]) / 1000)} if row["arm"].endswith("_x1000") else row


def _table(task: str, rows: Sequence[dict[str, str]]) -> list[str]:
    steps, scaled = TASKS[task]
    factors = [k for k in dict.fromkeys(k for row in rows for k in row) if k.startswith("factor_") and rows[0].get(k)]
    titles = [f"{k.removeprefix('factor_')} per step" for k in factors]
    lines = [
        f"{task}, {steps:,} steps:",
        "",
        f"| reward | n | return | {' | '.join(titles)} | min per run |",
        "| --- | --- | --- |" + " --- |" * (len(factors) + 1),
    ]
    for arm, name in NAMES.items():
        own = [row for row in rows if row["arm"] == arm]
        if own:
            means = [_interval([float(row[k]) for row in own]) for k in ("return_mean", *factors)]
            minutes = float(np.median([float(row["wall_s"]) for row in own])) / 60
            lines.append(f"| {name.format(scaled)} | {len(own)} | {' | '.join(means)} | {minutes:.1f} |")
    return lines


def _interval(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3g}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.4g} ± {half:{'.0f' if half >= 10 else '.2g'}}"


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
