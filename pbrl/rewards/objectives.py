"""Constrained steps along a front (C-MORL, Liu et al. 2025): what may not be lost, and what it then weighs."""

from __future__ import annotations

import numpy as np


def spread_of(points: np.ndarray) -> np.ndarray:
    """Return how far returns (n, J) reach in each objective (J,); 1 where all are the same, as it is a unit."""
    spread = np.ptp(points, axis=0)
    return np.where(spread > 0, spread, 1.0)


def floors(point: np.ndarray, spread: np.ndarray, slack: float, raised: int, free: float = -np.inf) -> np.ndarray:
    """Return what each objective must keep (J,) while `raised` is raised: the point's, less a share of the spread.

    The paper's beta * J has no meaning where returns are negative. point, spread: (J,) of returns; spread is how far
    the policies reach in each objective. free: the floor of the objective that is raised.
    """
    least = point - slack * spread
    least[raised] = free
    return least


def barrier_weights(
    returns: np.ndarray, least: np.ndarray, spread: np.ndarray, raised: int, sharpness: float, most: float
) -> np.ndarray:
    """Weigh the objectives (J,) in the reward, by the gradient of J_l + 1/t sum_i log(J_i - least_i).

    All in units of the spread: 1 for the objective that is raised, 1 / (t (J_i - least_i)) for the others, and `most`
    where that is more, or where a floor is not kept. returns: (J,) of the policy now. sharpness: t.
    """
    room = (returns - least) / spread
    weights = 1 / (sharpness * np.maximum(room, 1 / (sharpness * most)))
    weights[raised] = 1.0
    return weights
