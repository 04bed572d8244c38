"""RLIF on tabletop_reach beside HG-DAgger and cloning, with an expert who acts badly and a judge who knows.

python scripts/results_rlif_reach.py FOLDER SEED ... > results/systems/rlif_reach.csv

The expert is SAC on the true reward, stopped early; the critics of a longer run judge. Every arm begins with 20
demonstrations of the expert and has as many steps in all; those of cloning are demonstrations to the end.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import pbrl
from pbrl.methods.rlif import judge_of
from pbrl.nets.networks import adam, descend
from pbrl.nets.policies import Policy
from pbrl.teachers.interveners import Choose, ValueIntervener
from pbrl.training.evaluate import Evaluator
from pbrl.training.saved import load_run
from pbrl.training.saved_run import SavedRun

SEED, STARTS = 1000, 30  # of expert and judge, and of the evaluations
POOR, GOOD = 2000, 6000  # steps of the expert, and of the judge
DEMONSTRATIONS, STEPS = 2000, 8000  # the second includes the first
REFIT, FITS, BATCH = 500, 200, 256  # steps between fits of a clone, gradient steps of each, and pairs in each
MARGIN, OBEYED, LENGTH, PROBABILITY = 0.25, 0.95, 4, 0.3  # of interventions; the margin is 2 % of the judge's values
AGENT = {"hidden": [64, 64], "lr": 1e-3, "gamma": 0.95, "learning_starts": 500, "backend": "auto"}
COMMON: dict[str, Any] = {"env": "tabletop_reach", "agent": AGENT, "report": False, "verbose": False}


def main(folder: Path, seeds: list[int]) -> None:
    poor, good = (train(folder / f"true_{steps}", SEED, method="true_reward", steps=steps) for steps in (POOR, GOOD))
    evaluator = Evaluator(good.make_env, STARTS, SEED)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["seed", "arm", "success_at_end", "return"])
    for seed in seeds:
        for arm, act in run(folder / f"s{seed}", seed, poor, good).items():
            found = evaluator(act)
            table.writerow([seed, arm, f"{found.ended_well.mean():.4g}", f"{found.returns.mean():.4g}"])
            sys.stdout.flush()
    evaluator.close()


def run(out: Path, seed: int, poor: SavedRun, good: SavedRun) -> dict[str, Choose]:
    about = {"expert": str(poor.path), "demonstration_steps": DEMONSTRATIONS}
    judged = {"margin": MARGIN, "obeyed": OBEYED, "length": LENGTH}
    judge = about | {"judge": str(good.path), "intervener": judged}
    chance = about | {"intervener": {"probability": PROBABILITY, "length": LENGTH}}
    intervener = ValueIntervener(**judged, expert=poor.act, judge=judge_of(good), rng=np.random.default_rng(seed))
    return {
        "RLIF": train(out / "rlif", seed, method="rlif", method_=judge).act,
        "RLIF, at random": train(out / "random", seed, method="rlif_random", method_=chance).act,
        "HG-DAgger": copied(good.make_env(), poor.act, intervener, seed),
        "cloning": copied(good.make_env(), poor.act, None, seed),
        "expert": poor.act,
        "judge": good.act,
    }


def train(out: Path, seed: int, steps: int = STEPS, method_: Any = None, **given: Any) -> SavedRun:
    """Train a run of SAC, or take one that is there already."""
    if not (out / "summary.json").is_file():
        more = {f"method__{key}": value for key, value in (method_ or {}).items()}
        at_end = {"evaluation__every": None, "checkpoint__every": steps}
        pbrl.train(seed=seed, steps=steps, run_dir=str(out), **COMMON, **at_end, **given, **more)
    return load_run(out)


def copied(env: gym.Env, expert: Choose, intervener: ValueIntervener | None, seed: int) -> Choose:
    """Fit a policy that copies all that the expert did: in demonstrations, then in interventions; None: to the end."""
    rng = torch.Generator().manual_seed(seed)
    obs, _ = env.reset(seed=seed)
    size = env.action_space.shape[0]  # type: ignore[index]
    policy = Policy(obs_shape=obs.shape, action_size=size, hidden=[64, 64], dropout=0.0, normalise=True, rng=rng)
    optimizer = adam(policy.parameters(), 1e-3)
    seen, done = [], []
    for step in range(STEPS):
        alone = intervener is None or step < DEMONSTRATIONS
        if alone:
            actions, theirs = expert(obs[None]), True
        else:
            actions, _, taken_over = intervener.watch(obs[None], policy.act(obs[None]))
            theirs = bool(taken_over[0])
        if theirs:
            seen.append(obs)
            done.append(actions[0])
        obs, _, terminated, truncated, _ = env.step(actions[0])
        if terminated or truncated:
            obs, _ = env.reset()
        if (step + 1) % REFIT == 0:
            fit(policy, optimizer, np.array(seen), np.array(done), rng)
    env.close()
    return policy.act


def fit(policy: Policy, optimizer: torch.optim.Optimizer, seen: np.ndarray, done: np.ndarray, rng: Any) -> None:
    obs, actions = torch.from_numpy(np.float32(seen)), torch.from_numpy(np.float32(done))
    policy.observe(obs.numpy())
    policy.train()
    for _ in range(FITS):
        rows = torch.randint(len(obs), (BATCH,), generator=rng)
        descend(optimizer, -policy.log_prob(obs[rows], actions[rows]).mean())
    policy.eval()


if __name__ == "__main__":
    main(Path(sys.argv[1]), list(map(int, sys.argv[2:]))) if sys.argv[2:] else print(__doc__)
