"""The runs behind results/offline/metaworld.md: what each offline method reaches on Meta-World per label.

python scripts/results_offline.py collect OUT              the four data sets, in OUT/data
python scripts/results_offline.py run OUT [NAME ...]       the runs, as many at once as the machine has cores
python scripts/results_offline.py table OUT                writes metaworld.csv, prints the tables
python scripts/results_offline.py speed OUT                CPL against P-IQL at the published sizes, side by side

A run that is finished is never repeated; NAME, such as drawer-open/cpl, chooses runs; the table keeps the rows of runs
that are not in OUT. Intervals are 95 % stratified bootstrap intervals of the interquartile mean (Agarwal et al. 2021).
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from run_many import finished, run_all
from scipy import stats

from pbrl.cli import main as pbrl

TASKS = ("button-press-topdown", "drawer-open", "window-open", "door-open")
RETURN_TASK = "drawer-open"  # where labels of the return are tried too
SEEDS = (0, 1, 2)
BUDGETS = (50, 500)
HORIZON = "+env.make.max_episode_steps=250"
# Six in ten skilled episodes go for another goal: with the usual two in ten, cloning alone solves these tasks.
COLLECT = [
    "episodes=400",
    "segments=1500",
    "segment_length=32",
    "comparisons=500",
    "heldout=300",
    "other_goal=0.6",
    "seed=0",
]
SIZE = ["steps=5000", "evaluation.every=5000", "evaluation.episodes=50", "report=false"]
UNLABELLED = {
    "bc": ["method=bc"],
    "iql-true": ["method=iql"],
    "iql-zero": ["method=iql", "method.control=zero"],
}
LABELLED = {name: [f"method={name}"] for name in ("sft", "cpl", "piql", "ipl", "paws")}
NAMES = {
    "bc": "BC", "sft": "SFT", "cpl": "CPL", "piql": "P-IQL", "ipl": "IPL", "paws": "PAWS",
    "iql-true": "IQL, true reward", "iql-zero": "IQL, zero reward",
}  # fmt: skip
FILE = Path(__file__).resolve().parent.parent / "results" / "offline" / "metaworld.csv"
KEY = ("task", "label", "method", "budget", "seed")
MEASURED = ("final_success", "final_success_at_end", "best_window_success", "final_return", "reward_accuracy", "wall_s")
PAPER = ["method.policy.hidden=[512,512]", "method.policy.normalise=false"]
PAPER_IQL = [*("method.iql.hidden=[512,512]", "method.model.hidden=[512,512]", "method.model.members=1")]


def cells(out: Path) -> dict[str, list[str]]:
    """Name of each run, TASK/METHOD-LABEL-BUDGET/sSEED, and the arguments of its `pbrl train`."""
    runs = {}
    for seed in SEEDS:
        for task in TASKS:
            given = [f"env={task}", HORIZON, f"data={out / 'data' / task}", f"seed={seed}", *SIZE]
            for method, choice in UNLABELLED.items():
                runs[f"{task}/{method}-regret_mc-0/s{seed}"] = [*given, *choice, "feedback.label=regret_mc"]
            labels = ["regret_mc", "return"] if task == RETURN_TASK else ["regret_mc"]
            for label, budget in ((label, budget) for label in labels for budget in BUDGETS):
                for method, choice in LABELLED.items():
                    paid = [f"feedback.label={label}", f"feedback.budget={budget}"]
                    runs[f"{task}/{method}-{label}-{budget}/s{seed}"] = [*given, *choice, *paid]
    return runs


def collect(out: Path) -> int:
    """Makes the data sets that are missing."""
    missing = [task for task in TASKS if not (out / "data" / task).exists()]
    return max(
        (pbrl(["collect", f"env={t}", HORIZON, *COLLECT, f"out={out / 'data' / t}"]) for t in missing), default=0
    )


def table(out: Path) -> int:
    rows = {tuple(row[k] for k in KEY): row for row in _known()}
    for name in filter(lambda name: finished(out / name), cells(out)):
        row = _row(name, json.loads((out / name / "summary.json").read_text()))
        rows[tuple(row[k] for k in KEY)] = row
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, (*KEY, *MEASURED), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    for label, tasks in (("regret_mc", TASKS), ("return", (RETURN_TASK,))):
        for column in ("final_success", "final_success_at_end"):
            print("\n".join(_table(list(rows.values()), label, tasks, column)) + "\n")
    return 0


def _table(rows: Sequence[dict[str, str]], label: str, tasks: Sequence[str], column: str) -> list[str]:
    middle = "IQM" if len(tasks) > 1 else "mean"  # of three seeds, quartiles cut nothing off
    lines = [
        f"{column}, {label} labels, of the last policy, 50 starts, seeds {SEEDS[0]} to {SEEDS[-1]}:",
        "",
        f"| method | labels | {middle} (95 % interval) | {' | '.join(tasks)} | min per run |",
        "| --- | --- | --- |" + " --- |" * (len(tasks) + 1),
    ]
    for method, name in NAMES.items():
        for budget in (0, *BUDGETS):
            # What reads no label was run once, for all of them.
            labels = {label} if budget else {"regret_mc"}
            cell = [r for r in rows if r["label"] in labels and (r["method"], r["budget"]) == (method, str(budget))]
            cell = [r for r in cell if r["task"] in tasks]
            scores = defaultdict(list)
            for row in cell:
                scores[row["task"]].append(float(row[column]))
            if not scores:
                continue
            centre, low, high = interquartile_mean([scores[task] for task in tasks if task in scores])
            each = " | ".join(f"{np.mean(scores[task]):.2f}" if task in scores else "" for task in tasks)
            minutes = statistics.median(float(row["wall_s"]) for row in cell) / 60
            n = sum(map(len, scores.values()))
            iqm = f"{centre:.2f} ({low:.2f} to {high:.2f}), n = {n}"
            lines.append(f"| {name} | {budget or ''} | {iqm} | {each} | {minutes:.1f} |")
    return lines


def interquartile_mean(scores: Sequence[Sequence[float]], draws: int = 10_000) -> tuple[float, float, float]:
    """IQM over tasks and seeds, and its 95 % interval: seeds are drawn anew task by task."""
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.choice(task, (draws, len(task))) for task in scores], axis=1)
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), [0.025, 0.975])
    return float(stats.trim_mean(np.concatenate(scores), 0.25)), float(low), float(high)


def speed(out: Path, updates: int = 20, repeats: int = 5) -> int:
    """Time of an update of both methods, alternating, one thread, states; P-IQL in its second phase, IQL."""
    import torch

    from pbrl.config import compose_config
    from pbrl.training.build import build_run
    from pbrl.training.run_dir import RunDir

    torch.set_num_threads(1)
    given = ["env=drawer-open", HORIZON, f"data={out / 'data' / 'drawer-open'}", "feedback.budget=500", *PAPER]
    learners = {}
    # 96 comparisons of 2 x 32 steps each, all of which P-IQL's critics see
    batches = {"cpl": ["method.batch_size=96"], "piql": ["method.batch_size=6144", *PAPER_IQL]}
    for name, own in batches.items():
        config = compose_config([*given, f"method={name}", *own])
        config.steps, config.evaluation.every = 10_000, None
        run = build_run(config, RunDir(out))
        run.parts.updates = 10_000 // 2  # past cloning, and past the reward's phase
        run.method.step()  # P-IQL labels all transitions at its first
        learners[name] = run.method
    times = defaultdict(list)
    for _ in range(repeats):
        for name, learner in learners.items():
            start = time.perf_counter()
            for _ in range(updates):
                learner.step()
            times[name].append((time.perf_counter() - start) / updates)
    print("| method | parameters | ms per update (fastest to slowest of the repeats) |\n| --- | --- | --- |")
    for name, learner in learners.items():
        ms = [1000 * t for t in times[name]]
        size = sum(p.numel() for p in learner.parameters() if p.requires_grad)
        print(f"| {name} | {size / 1e6:.3f} M | {statistics.median(ms):.1f} ({min(ms):.1f} to {max(ms):.1f}) |")
    return 0


def _row(name: str, summary: dict) -> dict[str, str]:
    task, middle, seed = name.split("/")
    method, label, budget = middle.rsplit("-", 2)
    values = {"task": task, "label": label, "method": method, "budget": budget, "seed": seed[1:]}
    return values | {k: "" if summary[k] is None else str(summary[k]) for k in MEASURED}


def _known() -> list[dict[str, str]]:
    return list(csv.DictReader(FILE.read_text().splitlines())) if FILE.exists() else []


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", out, *names]:
            sys.exit(run_all(Path(out), cells(Path(out)), names))
        case [("collect" | "table" | "speed") as action, out]:
            sys.exit({"collect": collect, "table": table, "speed": speed}[action](Path(out)))
        case _:
            sys.exit(__doc__)
