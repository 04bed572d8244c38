"""Preferences between segments by an exact statistic of both: 1 for the right one, 0 for the left, 0.5 for a tie."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.special import expit

from pbrl.tabular.grid_world import GridWorld
from pbrl.tabular.segments import GridSegments

Model = Literal["partial_return", "regret"]
MODELS: tuple[Model, ...] = get_args(Model)
DECIMALS = 2  # of a statistic, before it is compared: what is left of a difference below is rounding


def preference_labels(
    world: GridWorld,
    left: GridSegments,
    right: GridSegments,
    model: Model,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Return prefers_right (n,) of someone who judges by `model` under the true reward; without rng free of noise."""
    g_left, g_right = (world.segment_statistics(s.starts, s.moves)[model] for s in (left, right))
    return noiseless_labels(g_left, g_right) if rng is None else bernoulli_labels(g_left, g_right, rng)


def noiseless_labels(g_left: np.ndarray, g_right: np.ndarray) -> np.ndarray:
    """Return 1 where the right statistic, rounded to 2 decimals, is larger, 0 where it is smaller, 0.5 where equal."""
    return 0.5 + 0.5 * np.sign(np.round(g_right, DECIMALS) - np.round(g_left, DECIMALS))


def bernoulli_labels(g_left: np.ndarray, g_right: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw 1 with probability logistic(g_right - g_left), else 0: once for each pair."""
    return (rng.random(len(g_left)) < expit(g_right - g_left)).astype(float)
