"""Fronts of several objectives, all of them better where higher: who is on one, how much it covers, how even it is."""

from __future__ import annotations

from itertools import product

import numpy as np

from pbrl.errors import UserError


def on_front(points: np.ndarray) -> np.ndarray:
    """Return which points (n, J) nothing beats by being as good in all and better in one. Of equals the first."""
    better = (points[:, None] >= points[None]).all(-1) & (points[:, None] > points[None]).any(-1)
    equal = (points[:, None] == points[None]).all(-1)
    return ~better.any(0) & ~np.triu(equal, 1).any(0)


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Return the volume between a reference (J,) and what points (n, J) beat; exact, above two objectives by pymoo."""
    points = np.asarray(points, float)
    above = points[(points > reference).all(1)] - reference
    if not len(above):
        return 0.0
    if points.shape[1] == 1:
        return float(above.max())
    if points.shape[1] > 2:
        return _by_pymoo(above)
    front = above[on_front(above)]
    front = front[np.argsort(-front[:, 0])]  # so that the second objective rises
    return float((front[:, 0] * np.diff(front[:, 1], prepend=0.0)).sum())


def expected_utility(points: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean over weights (w, J) of the best weighted sum among points (n, J) (Zintgraf et al. 2015)."""
    return float((np.asarray(points) @ np.asarray(weights).T).max(0).mean())


def sparsity(points: np.ndarray) -> float:
    """Return the mean squared gap between neighbours, summed over objectives (Xu et al. 2020); 0 for fewer than 2.

    Only of points on the front, each once: duplicates would change it.
    """
    front = np.asarray(points, float)
    front = front[on_front(front)]
    if len(front) < 2:
        return 0.0
    return float(np.square(np.diff(np.sort(front, 0), axis=0)).sum() / (len(front) - 1))


def crowding(points: np.ndarray) -> np.ndarray:
    """Return how far apart each point's neighbours are (n,), in shares of the spread (Deb et al. 2002); ends: inf."""
    points = np.asarray(points, float)
    total = np.zeros(len(points))
    for values in points.T:
        order, spread = np.argsort(values, kind="stable"), max(float(np.ptp(values)), 1e-12)
        total[order[[0, -1]]] = np.inf
        total[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / spread
    return total


def simplex(objectives: int, parts: int) -> np.ndarray:
    """Return all weights (w, J) that are whole numbers of 1/parts, from the last objective alone to the first."""
    counts = [c for c in product(range(parts + 1), repeat=objectives) if sum(c) == parts]
    return np.array(counts) / parts


def _by_pymoo(above: np.ndarray) -> float:
    """Return the hypervolume of points (n, J) above 0, by pymoo."""
    try:
        from pymoo.indicators.hv import HV
    except ImportError:
        what = f"the hypervolume of {above.shape[1]} objectives is computed by pymoo"
        raise UserError(f"{what}, which is not installed; get it with: pip install 'pbrl[objectives]'") from None
    return float(HV(ref_point=np.zeros(above.shape[1]))(-above))  # pymoo minimises
