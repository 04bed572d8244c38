"""The runs behind results/viewer: does an agent learn from answers that come in over HTTP, and what does drawing cost?

python scripts/results_viewer.py learn OUT      HalfCheetah taught by a program that labels as a person would
python scripts/results_viewer.py slowdown OUT   training speed while somebody labels, beside the same without a viewer

The program knows the true return of the clips it is shown (from the label store, not from the server). `shuffled` gives
the same answers to the wrong pairs: a coin toss. A run that is finished is never repeated. What was learned is shown by
`python scripts/results_table.py OUT return_mean against=honest`.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from pbrl.labels.store import LabelStore
from pbrl.viewer.client import ViewerClient
from pbrl.viewer.opened import find_opened

QUIET = ["viewer.open_browser=false", "report=false"]
SMALL = ["viewer.width=64", "viewer.height=64", "viewer.max_fps=5", "viewer.repeats=0"]  # a program needs no more
LEARN = ["experiment=demo", "teacher=human", "teacher.mode=block", *SMALL, *QUIET]
SLOW = [
    *("experiment=demo_human", "steps=9000", "feedback.budget=300", "evaluation.every=100000", "seed=100", *QUIET),
    *("log_every=250", "checkpoint.every=100000"),
]
BEGUN = 3500  # steps, from where the agent learns and questions are open
SEEDS, REPEATS, EVERY_S = 3, 4, 3.0  # seconds between two answers of a quick person
Choose = Callable[[str], str]  # the better side of a pair on the screen; returns the answer


def learn(out: Path) -> None:
    cells = []
    for seed in range(SEEDS):
        toss = partial(lambda rng, better: rng.choice(["left", "right"]), random.Random(seed))
        for kind, choose in (("honest", str), ("shuffled", toss)):
            cells.append(partial(train, out / "halfcheetah" / kind / f"s{seed}", [*LEARN, f"seed={seed}"], choose))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda cell: cell(), cells))


def slowdown(out: Path) -> None:
    """Alternate between a run that somebody labels, and one without a viewer."""
    speeds = []
    for repeat in range(REPEATS):
        folders = [out / "slowdown" / kind / f"s{repeat}" for kind in ("labelled", "alone")]
        train(folders[0], SLOW, str, EVERY_S)
        train(folders[1], [*SLOW, "viewer.start=false"])
        speeds.append([steps_per_s(folder) for folder in folders])
    labelled, alone = np.array(speeds).T
    for name, values in {"labelled": labelled, "alone": alone, "labelled / alone": labelled / alone}.items():
        print(f"{name}: {np.median(values):.4g} steps/s ({values.min():.4g} to {values.max():.4g}, n = {REPEATS})")


def train(folder: Path, words: list[str], choose: Choose | None = None, every_s: float = 0.0) -> None:
    """Train to the end, from where it stopped, and answer meanwhile."""
    if (folder / "summary.json").exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = [f"resume={folder}"] if (folder / "config.yaml").exists() else [*words, f"run_dir={folder}"]
    with folder.with_suffix(".log").open("a") as log:
        command = [sys.executable, "-m", "pbrl", "train", *words]
        training = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    client = None
    while choose is not None and training.poll() is None:
        try:
            if client is None and (viewer := find_opened(folder)) is not None:
                client = ViewerClient(viewer.url, "program")
                client.enter()
            pairs = [] if client is None else client.next(1)
            for pair in pairs:
                client.answer(pair, choose(better_side(folder, pair)))
            time.sleep(every_s if pairs else 0.1)
        except (OSError, ValueError):  # noqa: PERF203  not open yet, or not any more
            client = None
            time.sleep(0.2)
    if code := training.wait():
        sys.exit(f"{folder}: exit code {code}, see {folder.with_suffix('.log')}")


def better_side(folder: Path, pair: dict) -> str:
    """Return the side of the screen with the higher true return."""
    with LabelStore(folder, create=False) as store:
        left, right = store.segments([pair["query"]])
    prefers_right = float((right.true_reward - left.true_reward).sum()) > 0
    return "right" if prefers_right != pair["swapped"] else "left"


def steps_per_s(folder: Path) -> float:
    """Return the speed while the agent learns and questions are open: after the first session."""
    with (folder / "progress.csv").open(newline="") as file:
        rows = [(float(r["time/total_timesteps"]), float(r["time/time_elapsed"])) for r in csv.DictReader(file)]
    begun = next(row for row in rows if row[0] >= BEGUN)
    return (rows[-1][0] - begun[0]) / (rows[-1][1] - begun[1])


if __name__ == "__main__":
    match sys.argv[1:]:
        case [("learn" | "slowdown") as action, out]:
            {"learn": learn, "slowdown": slowdown}[action](Path(out))
        case _:
            sys.exit(__doc__)
