"""The runs behind results/viewer: does an agent learn from answers that come in over HTTP, and what does drawing cost?

python scripts/results_viewer.py learn OUT      HalfCheetah taught by a program that labels as a person would
python scripts/results_viewer.py slowdown OUT   training speed while somebody labels, beside the same without a viewer
python scripts/results_viewer.py table OUT      prints what is in OUT

The program knows the true return of the clips it is shown (from the label store, not from the server). `shuffled` gives
the same answers to the wrong pairs: a coin toss. A run that is finished is never repeated.
"""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from run_many import evaluations, finished

from pbrl.labels.store import LabelStore
from pbrl.statistics.runs import t_interval
from pbrl.viewer.client import ViewerClient

SEEDS = (0, 1, 2)
KINDS = ("honest", "shuffled")
SMALL = ["viewer.width=64", "viewer.height=64", "viewer.max_fps=5", "viewer.repeats=0"]  # a program needs no more
LEARN = ["experiment=demo", "teacher=human", "teacher.mode=block", "viewer.open_browser=false", *SMALL, "report=false"]
SLOW = [
    *("experiment=demo_human", "steps=9000", "feedback.budget=300", "evaluation.every=100000", "report=false"),
    *("viewer.open_browser=false", "log_every=250", "checkpoint.every=100000"),
]
EVERY_S = 3.0  # between two answers of a quick person
REPEATS = 4
Choose = Callable[[dict, str], str]  # a pair and its better side on the screen; returns the answer


def learn(out: Path) -> int:
    cells = [(kind, seed) for seed in SEEDS for kind in KINDS if not finished(out / kind / f"s{seed}")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return max(pool.map(lambda cell: _taught(out, *cell), cells), default=0)


def _taught(out: Path, kind: str, seed: int) -> int:
    folder, rng = out / kind / f"s{seed}", random.Random(seed)
    command = ["resume=" + str(folder)] if (folder / "config.yaml").exists() else [*LEARN, f"seed={seed}"]
    training = _train(folder, command)

    def choose(pair: dict, better: str) -> str:
        return rng.choice(["left", "right"]) if kind == "shuffled" else better

    _label(folder, training, choose, every_s=0.0)
    print(f"{kind}/s{seed}: exit code {training.wait()}", flush=True)
    return training.returncode


def slowdown(out: Path) -> int:
    """Alternating: with a viewer and somebody who labels, and without a viewer."""
    for repeat in range(REPEATS):
        for kind in ("labelled", "alone"):
            folder = out / "slowdown" / kind / f"r{repeat}"
            if finished(folder):
                continue
            training = _train(folder, [*SLOW, "seed=100", f"viewer.start={str(kind == 'labelled').lower()}"])
            if kind == "labelled":
                _label(folder, training, lambda pair, better: better, every_s=EVERY_S)
            training.wait()
    return 0


def table(out: Path) -> int:
    print("| answers | n | return at 25,000 steps (each) | mean, 95 % t interval |\n| --- | --- | --- | --- |")
    ends: dict[str, dict[int, float]] = {}
    for kind in KINDS:
        made = [s for s in SEEDS if finished(out / kind / f"s{s}")]
        ends[kind] = {s: float(evaluations(out / kind / f"s{s}")[-1]["return_mean"]) for s in made}
        _row(kind, list(ends[kind].values()))
    both = sorted(ends["honest"].keys() & ends["shuffled"].keys())
    _row("difference by seed", [ends["honest"][s] - ends["shuffled"][s] for s in both])
    pairs = [[out / "slowdown" / kind / f"r{repeat}" for kind in ("alone", "labelled")] for repeat in range(REPEATS)]
    pairs = [pair for pair in pairs if all(map(finished, pair))]
    speeds = dict(zip(("alone", "labelled"), zip(*(map(_speed, pair) for pair in pairs), strict=True), strict=False))
    if speeds:
        ratios = [b / a for a, b in zip(speeds["alone"], speeds["labelled"], strict=True)]
        for kind, values in speeds.items():
            print(f"{kind}: {statistics.median(values):.1f} steps/s ({min(values):.1f} to {max(values):.1f})")
        low, high = min(ratios), max(ratios)
        print(f"speed beside labelling: {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f}, n = {len(ratios)})")
    return 0


def _row(name: str, values: list[float]) -> None:
    if values and (found := t_interval(np.array(values))) is not None:
        mean, each = np.mean(values), ", ".join(f"{v:.0f}" for v in values)
        print(f"| {name} | {len(values)} | {each} | {mean:.0f} ± {found.high - mean:.0f} |")


def _train(folder: Path, words: list[str]) -> subprocess.Popen:
    folder.parent.mkdir(parents=True, exist_ok=True)
    where = [] if words[0].startswith("resume=") else [f"run_dir={folder}"]
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    with folder.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pbrl", "train", *words, *where], stdout=log, stderr=log, env=environment
        )


def _label(folder: Path, training: subprocess.Popen, choose: Choose, every_s: float) -> None:
    """Answers until the training ends."""
    client, entered = None, False
    while training.poll() is None:
        try:
            if client is None:
                client = ViewerClient(json.loads((folder / "viewer.json").read_text())["url"], "program")
            if not entered:
                client.enter()
                entered = True
            pairs = client.next(1)
            for pair in pairs:
                client.answer(pair, choose(pair, _better(folder, pair)))
                time.sleep(every_s)
            if not pairs:
                time.sleep(0.1)
        except (OSError, ValueError):  # noqa: PERF203  not open yet, or not any more
            client, entered = None, False
            time.sleep(0.2)


def _better(folder: Path, pair: dict) -> str:
    """The side of the screen with the higher true return."""
    with LabelStore(folder, create=False) as store:
        left, right = store.segments([pair["query"]])
    prefers_right = float((right.true_reward - left.true_reward).sum()) > 0
    return "right" if prefers_right != pair["swapped"] else "left"


def _speed(folder: Path) -> float:
    """Steps per second while the agent learns and questions are open: after the first session."""
    rows = list(csv.DictReader((folder / "progress.csv").open(newline="")))
    steps = [(float(r["time/total_timesteps"]), float(r["time/time_elapsed"])) for r in rows]
    begun = next(row for row in steps if row[0] >= 3500)
    return (steps[-1][0] - begun[0]) / (steps[-1][1] - begun[1])


if __name__ == "__main__":
    match sys.argv[1:]:
        case [("learn" | "slowdown" | "table") as action, out]:
            sys.exit({"learn": learn, "slowdown": slowdown, "table": table}[action](Path(out)))
        case _:
            sys.exit(__doc__)
