"""What does not grow with a run: the cost of a checkpoint, and the memory that the process holds.

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

from pbrl.config import compose_config
from pbrl.training.run import Run
from pbrl.training.start import start

EVERY, REPEATS = 20_000, 5


def checkpoints() -> int:
    """Measure halfcheetah with an agent on 2 x 256 units; the rows of its buffer are made up."""
    print("| steps | CPU s | MiB of the checkpoint | MiB written |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        run = begin(folder, "env=halfcheetah", "steps=2000000", "evaluation.every=null")
        run.open_log()
        run.agent.learn(1000)  # so that everything is there
        for steps in (100_000, 1_000_000):
            fill(run, steps)
            run._save()
            seconds, written = [], []
            for _ in range(REPEATS):
                before = {p.stat().st_ino for p in files(folder)}
                fill(run, run.step + EVERY)
                begun = time.process_time()
                run._save()
                seconds.append(time.process_time() - begun)
                written.append(mib(p for p in files(folder) if p.stat().st_ino not in before))
            print(f"| {steps:,} | {median(seconds):.3f} | {mib(files(folder)):.0f} | {median(written):.1f} |")
    return 0


def memory() -> int:
    """Measure point_reach, whose steps take a millisecond; what the buffer holds is counted apart."""
    print("| steps | resident MiB | of which rows of the buffer so far |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            "env=point_reach",
            "steps=20000",
            "feedback.first=500",
            "feedback.every=500",
            "feedback.budget=2000",
        ]
        small = [
            "agent.hidden=[64,64]",
            "method.model.hidden=[64,64]",
            "checkpoint.every=1000",
            "evaluation.every=1000",
        ]
        run = begin(folder, *settings, *small)
        save: Any = run._save

        def saving() -> None:
            save()
            buffer = run.agent.buffer
            rows = sum(getattr(buffer, name)[: len(buffer)].nbytes for name in buffer.columns)
            print(f"| {run.step:,} | {resident():.0f} | {rows / 2**20:.1f} |", flush=True)

        run._save = saving  # type: ignore[method-assign]
        run.train()
    print(f"\npeak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return 0


def begin(folder: str, *settings: str) -> Any:
    config = compose_config(["method=pebble", *settings, f"run_dir={folder}/run", "report=false"])
    return start(config, ["results_flat.py"])


def fill(run: Run, steps: int) -> None:
    """Rows of the buffer up to this step, as if they had been acted."""
    agent: Any = run.agent
    buffer, rng = agent.buffer, np.random.default_rng(0)
    rows = slice(buffer.pos, steps)
    for array in (buffer.observations, buffer.actions, buffer.rewards):
        rng.random(dtype=np.float32, out=array[rows])
    agent.model.num_timesteps = buffer.pos = buffer.added = steps


def files(folder: str) -> list[Path]:
    return [p for p in Path(folder, "run", "checkpoints").rglob("*") if p.is_file()]


def mib(found: Any) -> float:
    return sum(p.stat().st_size for p in found) / 2**20


def resident() -> float:
    """MiB that this process holds now, of Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["checkpoints"]:
            sys.exit(checkpoints())
        case ["memory"]:
            sys.exit(memory())
        case _:
            sys.exit(__doc__)
