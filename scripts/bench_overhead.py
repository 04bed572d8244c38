"""Time that a bench adds to its runs: the same runs by `pbrl bench` and by `pbrl train`, one after another.

python scripts/bench_overhead.py [REPEATS]

The two sides take turns; seconds are of the wall clock, one run at a time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CELLS = 3
RUN = ["env=pendulum", "method=true_reward", "steps=4000", "evaluation.every=2000", "report=false"]
GRID = f"""
seeds: {CELLS}
common: [steps=4000, evaluation.every=2000, report=false]
envs: [pendulum]
methods: [true_reward]
"""
PBRL = [sys.executable, "-m", "pbrl"]


def main(repeats: int) -> int:
    sides: dict[str, Callable[[Path], None]] = {"pbrl train": by_train, "pbrl bench": by_bench}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                begun = time.monotonic()
                sides[name](Path(folder))
                taken[name].append(time.monotonic() - begun)
    print(f"| {CELLS} runs by | seconds (fastest to slowest) |\n| --- | --- |")
    ratios = [bench / train for train, bench in zip(*taken.values(), strict=True)]
    for name, values in {**{f"`{name}`": values for name, values in taken.items()}, "bench / train": ratios}.items():
        print(f"| {name} | {statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g}) |")
    return 0


def by_train(folder: Path) -> None:
    for seed in range(CELLS):
        call([*PBRL, "train", *RUN, f"seed={seed}", f"run_dir={folder / str(seed)}"])


def by_bench(folder: Path) -> None:
    (folder / "overhead.yaml").write_text(GRID)
    call([*PBRL, "bench", f"grid={folder / 'overhead.yaml'}", f"out={folder / 'bench'}", "workers=1", "probe_s=0"])


def call(command: list[str]) -> None:
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=one_thread, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
