"""One policy that sees the weights of two objectives, where the best action of each weight is known."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from pbrl.statistics.fronts import simplex
from pbrl.tabular.beds import Bed, Measured

STEPS = 3000
WEIGHTS = simplex(2, 20)
STATES = np.linspace(-1, 1, 21, dtype=np.float32)[:, None]
PARTS = 5  # six weighted sums
SMALL: dict[str, Any] = {"hidden": [32, 32], "batch_size": 64, "learning_starts": 100, "lr": 1e-3}


def targets(state: np.ndarray) -> np.ndarray:
    """Return the best action for each objective alone (M, 2), at states (M, 1)."""
    return np.concatenate([0.4 + 0.4 * state, -0.4 + 0.4 * state**2], 1)


def best_actions(state: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return actions (M, 1) that maximise -sum_i w_i (a - target_i)^2 for weights (2,) of sum 1: weighted targets."""
    return (targets(state) @ weights)[:, None]


class TwoTargets(gym.Env[np.ndarray, np.ndarray]):
    """One decision: each factor is minus the squared distance of the action from a target of its own."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.state = np.zeros(1, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        first, second = -np.square(action[0] - targets(self.state[None])[0])
        factors = {"first": float(first), "second": float(second)}
        return self.state, float(first + second), True, False, {"factors": factors}


TASK = "TwoTargets-v0"
gym.register(TASK, f"{__name__}:TwoTargets")


def lost(run: Path) -> np.ndarray:
    """Return the weighted return (w,) that a run's policies lose, on average over states, at each of WEIGHTS.

    It is the mean squared distance from the best action, since the weights sum to 1.
    """
    import pbrl

    found = []
    for weights in WEIGHTS:
        actions = pbrl.load_policy(run, weights=weights.tolist())(STATES)
        found.append(np.square(actions - best_actions(STATES, weights)).mean())
    return np.array(found)


def train(seed: int, folder: Path, steps: int = STEPS, **method: Any) -> Path:
    """Train a run of some method on this task; returns its folder."""
    import pbrl

    config: dict[str, Any] = {
        **{"env": "gym", "env__id": f"{__name__}:{TASK}", "seed": seed, "steps": steps, "agent": SMALL},
        **{"evaluation__every": steps, "evaluation__episodes": 2, "checkpoint__every": 10 * steps, "report": False},
        **{"method__objectives": {"first": 1.0, "second": 1.0}, "method__parts": PARTS},
    }
    pbrl.train(**config, **method, verbose=False, run_dir=folder)
    return folder


def run(seed: int) -> Sequence[Measured]:
    equal = np.array([0.5, 0.5])
    one = [np.square(best_actions(STATES, equal) - best_actions(STATES, w)).mean() for w in WEIGHTS]
    with tempfile.TemporaryDirectory() as folder:
        seen = lost(train(seed, Path(folder) / "seen", method="cmorl_conditioned"))
        sums = lost(train(seed, Path(folder) / "sums", method="cmorl", method__first_share=1.0))
    arms = {"one that sees weights": seen, "six weighted sums": sums, "best for equal weights": np.array(one)}
    return [
        Measured(case, arm, float(of(values)))
        for case, of in (("mean over weights", np.mean), ("worst of them", np.max))
        for arm, values in arms.items()
    ]


BED = Bed(
    claim="One policy that sees the weights of two objectives does for each of them what is best for it, at the steps "
    "of a few policies for some of them.",
    task=f"one decision, two objectives, {STEPS} steps; the best action of each weight is known, and {len(WEIGHTS)} "
    "weights are asked of",
    measure="weighted return that is lost, the mean squared distance from the best action",
    run=run,
)
