"""A policy from demonstrations in HDF5, by comparisons alone: python examples/offline_hdf5.py [UPDATES]

The file is made here, in robomimic's layout: a point that is pushed to a goal, well or badly.
"""

import sys

import h5py
import numpy as np

import pbrl
from pbrl.cli import main as pbrl_command

UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 2000


def write_demos(path: str, n: int, rng: np.random.Generator) -> None:
    """Write n demos of 60 steps: half go to the goal, half walk about."""
    with h5py.File(path, "w") as file:
        for i in range(n):
            position, goal = rng.uniform(-1, 1, (2, 2))
            obs, actions = [], []
            for _ in range(60):
                wanted = goal - position if i % 2 else rng.normal(size=2)
                obs.append(np.concatenate([position, goal]))
                actions.append(np.clip(5 * wanted, -1, 1))
                position = position + 0.05 * actions[-1]
            demo = file.create_group(f"data/demo_{i}")
            demo["obs/state"] = np.array(obs, np.float32)
            demo["actions"] = np.array(actions, np.float32)
            demo["rewards"] = -np.linalg.norm(np.array(obs)[:, :2] - goal, axis=1)


write_demos("demos.hdf5", 60, np.random.default_rng(0))
pbrl_command(["data", "import", "from=demos.hdf5", "out=data/demos", "segment_length=20", "labels=return", "env=none"])

run = pbrl.train(method="piql", data="data/demos", env="none", steps=UPDATES, feedback__budget=200, run_dir="runs/hdf5")
policy = run.policy()
obs = np.array([0.5, 0.5, -0.5, -0.5], np.float32)  # here, and a goal down to the left
print("reward fits held-out pairs:", run.summary["reward_accuracy"])
print("the policy goes", policy(obs))
