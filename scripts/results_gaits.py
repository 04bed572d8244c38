"""How walkers of a bench walk, and which of two gaits the learned rewards of both prefer.

python scripts/results_gaits.py OUT ONE OTHER > results/few_labels/gaits.csv

ONE, OTHER: arms as walker-walk/pebble/oracle/100.

For each seed that both arms have, and each of the two: the return, the mean height of the torso (m), speed (m/s) and
uprightness once the walk has begun, and what the run's learned reward says of a step of its own episodes (`own`) and of
the other's (`other`), in units of the reward's deviation over the steps of both.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

import pbrl
from pbrl.training.saved import load_run
from pbrl.training.saved_run import SavedRun

EPISODES, BEGUN = 5, 100  # of each policy; steps after which it walks
COLUMNS = ["seed", "arm", "return", "height", "speed", "upright", "own", "other"]


def main(out: Path, arms: tuple[str, str]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    one, other = (out / "runs" / arm for arm in arms)
    finished = [{summary.parent.name for summary in folder.glob("*/summary.json")} for folder in (one, other)]
    for seed in sorted(set.intersection(*finished)):
        runs = [load_run(folder / seed) for folder in (one, other)]
        walks = [walk(run) for run in runs]
        for arm, run, own, others in zip(arms, runs, walks, reversed(walks), strict=True):
            reward = pbrl.load_reward(run.path)
            rewards = [np.asarray(reward(obs, actions)) for obs, actions, _ in (own, others)]
            liked = [r.mean() / np.concatenate(rewards).std() for r in rewards]
            table.writerow([seed[1:], arm, *(f"{number:.4g}" for number in (*own[2], *liked))])
            sys.stdout.flush()


def walk(run: SavedRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return observations (N, O) and actions (N, A) of episodes, and the mean return, height, speed and uprightness."""
    env = run.make_env()
    unwrapped: Any = env.unwrapped
    physics = unwrapped._env.physics  # of dm_control
    observed, acted, facts, rewards = [], [], [], 0.0
    for episode in range(EPISODES):
        obs, over, step = env.reset(seed=1000 + episode)[0], False, 0
        while not over:
            action = run.act(obs[None])[0]
            observed.append(obs)
            acted.append(action)
            obs, reward, ended, cut, _ = env.step(action)
            rewards, over, step = rewards + float(reward), ended or cut, step + 1
            if step > BEGUN:
                facts.append((physics.torso_height(), physics.horizontal_velocity(), physics.torso_upright()))
    env.close()
    return np.array(observed), np.array(acted), np.array([rewards / EPISODES, *np.mean(facts, 0)])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), (sys.argv[2], sys.argv[3]))
