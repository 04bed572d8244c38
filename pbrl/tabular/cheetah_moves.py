"""Diverse clips before the first session, of HalfCheetah: which speeds and pitches the labelled segments show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pbrl.tabular.beds import Bed, Measured
from pbrl.tabular.walled_room import labelled

STEPS, QUESTIONS, SEGMENT = 4000, 20, 50  # of exploring, asked then, and steps of a segment
PITCH, SPEED = 1, 8  # of an observation: radians, m/s forward
FASTEST, CELLS = 4.0, 16  # m/s; cells along each side
SMALL: dict[str, Any] = {"hidden": [64, 64], "batch_size": 128}
IDLE: dict[str, Any] = SMALL | {"learning_starts": 2 * STEPS}  # what the agent would learn does not act
ARMS: dict[str, dict[str, Any]] = {
    "emitters": {"method": "diverse", "agent": IDLE},
    "k-NN": {"method": "pebble", "agent": SMALL | {"learning_starts": 500}},
    "actions at random": {"method": "pebble", "agent": IDLE},
}


def coverage(obs: np.ndarray) -> float:
    """Share of the cells of forward speed and pitch in which a step of observations (..., O) lies."""
    speed = ((obs[..., SPEED] / FASTEST + 1) / 2 * CELLS).clip(0, CELLS - 1)
    pitch = (obs[..., PITCH] / (2 * np.pi) % 1 * CELLS).clip(0, CELLS - 1)
    cells = np.stack([speed, pitch], -1).astype(int).reshape(-1, 2)
    return len(np.unique(cells, axis=0)) / CELLS**2


def run(seed: int) -> Sequence[Measured]:
    case = "speeds and pitches that labelled segments show"
    found = {arm: labelled(seed, STEPS, QUESTIONS, SEGMENT, env="halfcheetah", **how) for arm, how in ARMS.items()}
    return [Measured(case, arm, coverage(obs)) for arm, obs in found.items()]


BED = Bed(
    claim="Policies that seek what behaves otherwise show people more of what can be done, before the first session, "
    "than an agent that is paid for novelty of states.",
    task=f"HalfCheetah, {STEPS} steps of exploring, then {QUESTIONS} questions about random segments of {SEGMENT} "
    "steps",
    measure=f"share of {CELLS} x {CELLS} cells, of forward speed from {-FASTEST:g} to {FASTEST:g} m/s and of pitch",
    run=run,
)
