"""Whether rewards learned on button-press-topdown tell pressing the button from touching it.

python results/offline/pressing.py OUT    OUT: of `pbrl bench grid=cpl_labels`; a row for each arm with a learned reward

Steps are told apart by the true reward: 2.5 to 3.5 a step with the fingers at the button, above 6 with the button going
down. Shown is how much more the learned reward pays the latter, in standard deviations over the steps of the data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import pbrl
from pbrl.data.datasets import load_dataset

TOUCHING, PRESSING = (2.5, 3.5), 6.0


def more_for_pressing(true: np.ndarray, learned: np.ndarray) -> float:
    """Return how much more the learned reward (M,) pays pressing steps, in its standard deviations. true: (M,)."""
    touching = (true > TOUCHING[0]) & (true < TOUCHING[1])
    return float((learned[true > PRESSING].mean() - learned[touching].mean()) / learned.std())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    print("| task | method | label | pairs | more for pressing, seed by seed |\n| --- | --- | --- | --- | --- |")
    for arm in sorted(out.glob("runs/*/piql*/data/*")):
        task, method, _, _ = arm.relative_to(out / "runs").parts
        episodes = load_dataset(out / "data" / task).episodes
        true, actions = (np.concatenate([getattr(e, key) for e in episodes]) for key in ("true_reward", "actions"))
        obs = np.concatenate([e.obs[:-1] for e in episodes])
        runs = [file.parent for file in sorted(arm.glob("s*/summary.json"))]
        if not runs:
            continue
        found = [more_for_pressing(true, pbrl.load_reward(run)(obs, actions)) for run in runs]
        feedback = pbrl.load_run(runs[0]).config["feedback"]
        values = ", ".join(f"{value:+.2f}" for value in found)
        print(f"| {task} | {method} | {feedback['label']} | {feedback['pairs']} | {values} |", flush=True)
