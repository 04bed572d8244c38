"""Figures that do not grow with a run: the cost of a checkpoint, and the memory that the process holds.

python scripts/results_flat.py checkpoints    CPU seconds and MiB of one at 1e5 and at 1e6 steps; half a minute
python scripts/results_flat.py memory         of a run with many sessions, checkpoints and evaluations; half a minute
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import pbrl
from pbrl.config import compose_config
from pbrl.training.run import Run
from pbrl.training.start import start

EVERY, REPEATS = 20_000, 5
SMALL = {"agent__hidden": [64, 64], "method__model__hidden": [64, 64]}
MANY = {"feedback": {"first": 500, "every": 500, "budget": 2000}, "checkpoint__every": 1000, "evaluation__every": 1000}


def checkpoints(folder: Path) -> None:
    """Measure halfcheetah with an agent on 2 x 256 units; the rows of its buffer are made up."""
    print("| steps | CPU s | MiB of the checkpoint | MiB written |\n| --- | --- | --- | --- |")
    words = ["env=halfcheetah", "method=pebble", "steps=2000000", "evaluation.every=null", "report=false"]
    run = start(compose_config([*words, f"run_dir={folder}"]), ["results_flat.py"])
    run.open_log()
    run.agent.learn(1000)  # so that everything is there
    for steps in (100_000, 1_000_000):
        fill(run, steps)
        run._save()
        seconds, written = [], []
        for _ in range(REPEATS):
            before = set(sizes(folder))
            fill(run, run.step + EVERY)
            begun = time.process_time()
            run._save()
            seconds.append(time.process_time() - begun)
            written.append(sum(size for node, size in sizes(folder).items() if node not in before))
        print(f"| {steps:,} | {median(seconds):.3f} | {sum(sizes(folder).values()):.0f} | {median(written):.1f} |")


def fill(run: Run, steps: int) -> None:
    """Make up rows of the buffer up to this step, as if they had been acted."""
    agent: Any = run.agent
    buffer, rng = agent.buffer, np.random.default_rng(0)
    rows = slice(buffer.pos, steps)
    for array in (buffer.observations, buffer.actions, buffer.rewards):
        rng.random(dtype=np.float32, out=array[rows])
    agent.model.num_timesteps = buffer.pos = buffer.added = steps


def sizes(folder: Path) -> dict[int, float]:
    """Return the MiB of each file of the checkpoints, by its inode: a hard link is the same file."""
    files = [p.stat() for p in (folder / "checkpoints").rglob("*") if p.is_file()]
    return {file.st_ino: file.st_size / 2**20 for file in files}


class Memory(pbrl.Callback):
    """Prints what the process holds at each evaluation, and apart what the buffer holds of it."""

    def on_evaluation(self, run: Any, row: Any) -> None:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()  # of Linux
        buffer = run.agent.buffer
        rows = sum(getattr(buffer, name)[: len(buffer)].nbytes for name in buffer.columns)
        print(f"| {run.step:,} | {resident / 2**20:.0f} | {rows / 2**20:.1f} |", flush=True)


def memory(folder: Path) -> None:
    """Measure point_reach, whose steps take a millisecond."""
    print("| steps | resident MiB | of which rows of the buffer so far |\n| --- | --- | --- |")
    pbrl.train(env="point_reach", steps=20_000, **MANY, **SMALL, run_dir=str(folder), callbacks=[Memory()])
    print(f"\npeak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    if sys.argv[1:] not in (["checkpoints"], ["memory"]):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as made:
        {"checkpoints": checkpoints, "memory": memory}[sys.argv[1]](Path(made) / "run")
