"""VPL on point_maze with four goals, beside one reward for all and the true reward of each user.

python scripts/results_vpl_maze.py FOLDER SEED ... > results/systems/vpl_maze.csv

Episodes head for each goal in turn. Of 32 users each wants one goal and answers 30 pairs of segments by it; eight new
users, two for each goal, answer eight pairs. All policies learn from the same episodes by IQL with the same numbers.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import pbrl
from pbrl.building import build
from pbrl.cli import main as command
from pbrl.collection.behaviour import make_behaviours
from pbrl.collection.collect import describe_env
from pbrl.collection.episodes import collect_episodes
from pbrl.config import compose_config
from pbrl.data.cut import cut_segments
from pbrl.data.datasets import write_dataset
from pbrl.data.rows import flatten, store_of
from pbrl.training.evaluate import Evaluator
from pbrl.training.saved import load_run
from pbrl.types import Episode

GOALS = ("red", "blue", "green", "yellow")
EPISODES, SEGMENTS, LENGTH = 40, 2000, 20  # for each goal; of all, and steps of each
USERS, ANSWERS, NEW, FEW = 8, 30, 2, 8  # for each goal, and answers of each; new ones, and theirs
SKILL, NOISE = "expert:0.75", 0.5  # of who made the episodes
STARTS, EVALUATION_SEED = 20, 1000
STEPS, REWARD_STEPS = 4000, 1200  # gradient steps of a policy, its reward's included, and the reward's alone
IQL = {"hidden": [64, 64], "lr": 1e-3, "gamma": 0.97, "tau": 0.02, "beta": 0.5, "beta_unit": "spread"}
SIZES = {"method__iql": IQL, "method__policy": {"hidden": [64, 64], "dropout": 0.0}}
QUIET: dict[str, Any] = {"evaluation__every": None, "checkpoint__every": STEPS, "report": False, "verbose": False}
Act = Callable[[np.ndarray], np.ndarray]


def main(folder: Path, seeds: list[int]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["seed", "goal", "arm", "success_at_end", "return"])
    for seed in seeds:
        for goal, arms in run(folder / f"s{seed}", seed).items():
            for arm, acts in arms.items():
                measured = [evaluate(goal, act) for act in acts]
                table.writerow([seed, goal, arm, *(f"{value:.5g}" for value in np.mean(measured, 0))])
        sys.stdout.flush()


def run(out: Path, seed: int) -> dict[str, dict[str, list[Act]]]:
    """Return by goal and arm the policies of those who want that goal."""
    episodes = [e for number, goal in enumerate(GOALS) for e in heading_for(goal, len(GOALS) * seed + number)]
    rng = np.random.default_rng(seed)
    users = {f"{goal}{i}": goal for goal in GOALS for i in range(USERS)}
    write_answers(out / "users", write_data(out, "red", episodes, rng), episodes, users, ANSWERS, rng)
    told: dict[str, Any] = {"data": out / "red", "labels": out / "users", "method__reward_share": REWARD_STEPS / STEPS}
    ours, one = (train(out / name, name, STEPS, seed, told) for name in ("vpl", "piql"))
    arms: dict[str, dict[str, list[Act]]] = {}
    for goal in GOALS:
        if goal != "red":
            write_data(out, goal, episodes, rng)
        new = [out / f"new_{goal}{i}" for i in range(NEW)]
        for folder in new:
            write_answers(folder, out / "red", episodes, {folder.name: goal}, FEW, rng)
        true = train(out / f"true_{goal}", "iql", STEPS - REWARD_STEPS, seed, {"data": out / goal})
        arms[goal] = {
            "vpl": [load_run(ours).of_user(str(folder)).act for folder in new],
            "one reward for all": [load_run(one).act],
            "true reward": [load_run(true).act],
        }
    return arms


def train(out: Path, method: str, steps: int, seed: int, told: Mapping[str, Any]) -> Path:
    given: dict[str, Any] = {key: str(value) if isinstance(value, Path) else value for key, value in told.items()}
    return Path(pbrl.train(method=method, steps=steps, seed=seed, run_dir=str(out), **given, **SIZES, **QUIET).path)


def heading_for(goal: str, seed: int) -> list[Episode]:
    """Collect episodes of somebody who goes to a goal, with blocks of chance."""
    make = partial(make_env, goal)
    who = make_behaviours([SKILL], make, noise=NOISE)
    return collect_episodes(make, who, EPISODES, other_goal=0.0, stop_after_success=20, seed=seed)[0]


def env_of(goal: str) -> Any:
    return compose_config(["env=point_maze", f"env.goal={goal}"]).env


def make_env(goal: str) -> gym.Env:
    env: gym.Env = build(env_of(goal).make)
    return env


def reward(episode: Episode, goal: str) -> np.ndarray:
    """Return the reward (L,) of the task of this goal."""
    assert episode.factors is not None
    return np.float32(1 - np.tanh(episode.factors[:, episode.factor_names.index(f"distance_{goal}")]))


def write_data(out: Path, goal: str, episodes: list[Episode], rng: np.random.Generator) -> Path:
    """Write a data set of the episodes with the reward of this goal; return its folder."""
    own = [replace(episode, true_reward=reward(episode, goal)) for episode in episodes]
    train = np.zeros(len(own), int)
    cut = cut_segments(store_of(flatten(own)), train, SEGMENTS, LENGTH, rng)
    meta = {**describe_env(env_of(goal)), "sources": [SKILL], "teacher": None, "command": "", "seed": 0}
    write_dataset(
        out / goal,
        meta=meta,
        episodes=own,
        source=train,
        segment_length=LENGTH,
        ids=cut.segments.ids.numpy(),
        split=cut.split,
        scores={},
        comparisons={},
    )
    return out / goal


def write_answers(
    out: Path, data: Path, episodes: list[Episode], users: Mapping[str, str], n: int, rng: np.random.Generator
) -> None:
    """Write a label set of n answers of each user, who prefers the segment of the higher return by their own goal."""
    rooms = np.array([len(episode) - LENGTH + 1 for episode in episodes]).clip(0)
    lines = []
    for user, goal in users.items():
        for _ in range(n):
            both = [place(rooms, rng) for _ in range(2)]
            left, right = (reward(episodes[k], goal)[start : start + LENGTH].sum() for k, start in both)
            sides = [number for k, start in both for number in (k, start, LENGTH)]
            lines.append([*sides, "right" if right > left else "left", user])
    names = [f"{side}_{what}" for side in ("left", "right") for what in ("episode", "start", "length")]
    told = out.with_suffix(".csv")
    with told.open("w", newline="") as file:
        csv.writer(file).writerows([[*names, "choice", "annotator"], *lines])
    with redirect_stdout(sys.stderr):
        if command(["data", "import", f"from={told}", f"data={data}", f"out={out}"]):
            raise SystemExit(f"{told} could not be imported")


def place(rooms: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Draw episode and start of a segment, each equally likely."""
    ends = np.cumsum(rooms)
    number = int(rng.integers(ends[-1]))
    k = int(np.searchsorted(ends, number, side="right"))
    return k, number - int(ends[k] - rooms[k])


def evaluate(goal: str, act: Act) -> tuple[float, float]:
    """The share of starts that end at the goal, and the return."""
    evaluator = Evaluator(partial(make_env, goal), STARTS, EVALUATION_SEED)
    measured = evaluator(act)
    evaluator.close()
    return float(measured.ended_well.mean()), float(measured.returns.mean())


if __name__ == "__main__":
    main(Path(sys.argv[1]), list(map(int, sys.argv[2:]))) if sys.argv[2:] else print(__doc__)
