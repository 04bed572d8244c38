"""Diverse clips before the first session: how much of a room with walls the labelled segments show."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from pbrl.tabular.beds import Bed, Measured

STEP = 0.05  # at most, along each axis, in a room of side 1
WALLS = ((1 / 3, 0.8, 1.0), (2 / 3, 0.0, 0.2))  # x, and between which y one can pass
START = (0.1, 0.1)
EPISODE = 60  # steps
CELLS = 12  # along each side
STEPS, QUESTIONS, SEGMENT = 6000, 50, 20  # before the first session, in it, and of a segment
SMALL: dict[str, Any] = {"hidden": [32, 32], "batch_size": 64}
IDLE: dict[str, Any] = SMALL | {"learning_starts": 2 * STEPS}  # what the agent would learn does not act
DIVERSE: dict[str, Any] = {"method": "diverse", "agent": IDLE, "method__explore__turn": SEGMENT}
ARMS: dict[str, dict[str, Any]] = {
    "emitters": DIVERSE,
    "policies at random": DIVERSE | {"method__explore__population": STEPS, "method__explore__archive": STEPS},
    "k-NN": {"method": "pebble", "agent": SMALL | {"learning_starts": 500}},
    "actions at random": {"method": "pebble", "agent": IDLE},
}


class WalledRoom(gym.Env[np.ndarray, np.ndarray]):
    """A point in a square room that two walls make a winding way of; observations are its place in [-1, 1]^2."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.place = np.array(START)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = np.array(START)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move along x unless a wall is in the way, then along y."""
        x, y = self.place
        to_x, to_y = np.clip(self.place + STEP * np.clip(action, -1, 1), 0, 1)
        if not any(min(x, to_x) <= wall <= max(x, to_x) and not low <= y <= high for wall, low, high in WALLS):
            x = to_x
        self.place = np.array([x, to_y])
        return self._observe(), float(x), False, False, {}

    def _observe(self) -> np.ndarray:
        return np.asarray(2 * self.place - 1, np.float32)


ROOM = "WalledRoom-v0"
gym.register(ROOM, f"{__name__}:WalledRoom", max_episode_steps=EPISODE)


def labelled(seed: int, steps: int, questions: int = QUESTIONS, segment: int = SEGMENT, **arm: Any) -> np.ndarray:
    """Observations (N, T + 1, O) of the segments about which a run asks in its first session, after so many steps.

    arm: what `pbrl.train` is given besides; this room is the task unless it says another.
    """
    import pbrl

    asked = {"first": steps, "every": steps, "per_session": questions, "budget": questions}
    segments = {"segment_length": segment, "pool_episodes": steps, "candidates": 1}
    config: dict[str, Any] = {
        **({} if "env" in arm else {"env": "gym", "env__id": f"{__name__}:{ROOM}"}),
        **{"seed": seed, "steps": steps + EPISODE},
        **{"feedback": asked | segments, "queries": "uniform", "method__model__hidden": [8]},
        **{"method__critic_updates": 0, "evaluation__every": None, "checkpoint__every": 10 * steps, "report": False},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        pbrl.train(**config, verbose=False, run_dir=path, **arm)
        pairs = pbrl.load_labels(path).pairs
    return np.concatenate([pairs.left.obs.numpy(), pairs.right.obs.numpy()])


def coverage(places: np.ndarray) -> float:
    """Share of the cells of the room in which at least one of places (..., 2) in [-1, 1]^2 lies."""
    cells = np.floor((places.reshape(-1, 2) + 1) / 2 * CELLS).astype(int).clip(0, CELLS - 1)
    return len(np.unique(cells, axis=0)) / CELLS**2


def furthest(places: np.ndarray) -> float:
    """Share of segments that are, at some step, beyond the last wall."""
    return float(((places[..., 0] + 1) / 2 > WALLS[-1][0]).any(1).mean())


def run(seed: int) -> Sequence[Measured]:
    found = []
    for arm, how in ARMS.items():
        places = labelled(seed, STEPS, **how)
        found.append(Measured("cells that labelled segments visit", arm, coverage(places)))
        found.append(Measured("labelled segments that are beyond both walls", arm, furthest(places)))
    return found


BED = Bed(
    claim="Policies that seek what behaves otherwise show people more of what can be done, before the first session, "
    "than an agent that is paid for novelty of states.",
    task=f"a square room with two walls, from a corner, in episodes of {EPISODE} steps; {STEPS} steps of exploring, "
    f"then {QUESTIONS} questions about random segments of {SEGMENT} steps",
    measure=f"share of {CELLS} x {CELLS} cells, and of segments",
    run=run,
)
