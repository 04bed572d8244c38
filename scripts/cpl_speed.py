"""CPL against P-IQL at the published sizes: parameters and time of an update, side by side.

python scripts/cpl_speed.py DATA     a data set of drawer-open, as results/offline/speed.md makes it

P-IQL is in its second phase, IQL. One thread; the two methods alternate.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from pbrl.config import compose_config
from pbrl.training.build import build_run
from pbrl.training.run_dir import RunDir

UPDATES, REPEATS, STEPS = 20, 5, 10_000
COMMON = [
    *("env=drawer-open", "+env.make.max_episode_steps=250", "feedback.label=regret_mc", "feedback.budget=500"),
    *("method.policy.hidden=[512,512]", "method.policy.normalise=false"),
]
METHODS = {  # 96 comparisons of 2 x 32 steps each, all of which P-IQL's critics see
    "cpl": ["method=cpl", "method.batch_size=96"],
    "piql": [
        *("method=piql", "method.batch_size=6144", "method.iql.hidden=[512,512]"),
        *("method.model.hidden=[512,512]", "method.model.members=1"),
    ],
}


def main(data: Path) -> None:
    torch.set_num_threads(1)
    learners, times = {}, defaultdict(list)
    for name, own in METHODS.items():
        config = compose_config([*COMMON, *own, f"data={data}"])
        config.steps, config.evaluation.every = STEPS, None
        run = build_run(config, RunDir(data))
        run.parts.updates = STEPS // 2  # past cloning, and past the reward's phase
        run.method.step()  # P-IQL labels all transitions at its first
        learners[name] = run.method
    for _ in range(REPEATS):
        for name, learner in learners.items():
            start = time.perf_counter()
            for _ in range(UPDATES):
                learner.step()
            times[name].append((time.perf_counter() - start) / UPDATES)
    print("| method | parameters | ms per update (fastest to slowest of the repeats) |\n| --- | --- | --- |")
    for name, learner in learners.items():
        ms = [1000 * t for t in times[name]]
        size = sum(p.numel() for p in learner.parameters() if p.requires_grad)
        print(f"| {name} | {size / 1e6:.3f} M | {statistics.median(ms):.1f} ({min(ms):.1f} to {max(ms):.1f}) |")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) == 2 else __doc__)
