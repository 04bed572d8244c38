"""Labels carried from the segments of one task to those of another by Gromov-Wasserstein transport (PEARL, Liu 2024).

The plan matches segments by how far they lie from each other within their own task, so it needs neither a common space
nor anything known of what the tasks share. M segments of the source, N of the target.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.spatial.distance import pdist, squareform

from pbrl.checks import positive
from pbrl.errors import UserError
from pbrl.install import install_extra

SINKHORN_STEPS = 200  # at most, within each of the outer ones


def distances(points: np.ndarray) -> np.ndarray:
    """Return Euclidean distances (N, N) of points (N, D), the largest of which is 1."""
    found = squareform(pdist(points.astype(np.float64)))
    largest = found.max(initial=0.0)
    return found / largest if largest > 0 else found


def transport_plan(source: np.ndarray, target: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """Return the plan (M, N) between uniform weights that keeps distances: entropic Gromov-Wasserstein, square loss.

    Args:
        source, target: (M, M) and (N, N) distances, as `distances` gives them.
        epsilon: strength of the entropy; towards 0 a segment is matched with one other alone.
        iterations: projected gradient steps, at most.

    Raises:
        UserError: POT is not installed.
        ValueError: the plan is not finite, where epsilon is too small for these distances.
    """
    positive(epsilon=epsilon)
    try:
        from ot.gromov import entropic_gromov_wasserstein
    except ModuleNotFoundError as error:
        get = install_extra("transport")
        raise UserError(f"carrying labels to another task needs POT; get it with: {get}") from error
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is found below
        plan: np.ndarray = entropic_gromov_wasserstein(
            source,
            target,
            loss_fun="square_loss",
            epsilon=epsilon,
            symmetric=True,
            max_iter=iterations,
            numItermax=SINKHORN_STEPS,
        )
    if not np.isfinite(plan).all() or (plan.sum(0) <= 0).any():
        raise ValueError(f"epsilon={epsilon}: the plan is not finite; expected a larger number, as {10 * epsilon:g}")
    return plan


def told_matrix(
    left: np.ndarray, right: np.ndarray, prefers_right: np.ndarray, m: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return answers (C,) about M segments as (M, M): the sum of 2 P(column preferred to row) - 1, and their number."""
    told, count = np.zeros((m, m)), np.zeros((m, m))
    for row, column, sign in ((left, right, 1), (right, left, -1)):
        np.add.at(told, (row, column), sign * (2 * prefers_right - 1))
        np.add.at(count, (row, column), 1)
    return told, count


def carry(plan: np.ndarray, told: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the probability (N, N) that the column is preferred to the row: told answers, weighted by the plan.

    The answer about (k, l) counts for the pair (i, j) as much as k is matched with i and l with j; 0.5 where none does.
    """
    share = plan / plan.sum(0)  # (M, N)
    said, weight = share.T @ told @ share, share.T @ count @ share
    return 0.5 + 0.5 * np.divide(said, weight, out=np.zeros_like(said), where=weight > 0)


def contradicted(carried: np.ndarray, left: np.ndarray, right: np.ndarray, prefers_right: np.ndarray) -> bool:
    """Return whether known answers (C,) about rows of the target say, all in all, the opposite of what was carried.

    Where good and bad segments lie alike, a plan that takes one for the other keeps all distances as well.
    """
    return bool(((2 * carried[left, right] - 1) * (2 * prefers_right - 1)).sum() < 0)
