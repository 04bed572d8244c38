"""Agreement of people beyond chance: Cohen's kappa and Krippendorff's alpha, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

Table = np.ndarray  # (..., C, C) how often value c met value k, for C different values in ascending order
RESAMPLES = 1000
FEW_UNITS = 10  # resampling fewer says little about others


class Agreement(NamedTuple):
    value: float | None  # 1 = perfect, 0 = as by chance, negative = less than that; None where it is not defined
    low: float | None  # 95 % interval, percentiles over resampled units; None with few units, and where all of them
    high: float | None  # agree or all disagree: resampling them cannot show what others would do
    units: int  # that at least two people judged
    reason: str | None  # why there is no value


def cohen_kappa(
    first: np.ndarray,
    second: np.ndarray,
    *,
    weights: Literal["nominal", "linear"],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Return kappa = 1 - sum_ck w_ck o_ck / sum_ck w_ck e_ck, with o the shares of units that the two judged c and k,
    and e_ck = o_c. o_.k what chance gives; Cohen 1960, and with weights Cohen 1968.

    first, second: (U,) values of two annotators for the same units, NaN = missing. nominal: w = 1 where c differs
    from k. linear: w = |c - k|, so that values must be numbers with meaningful distances.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"values of shape {first.shape} and {second.shape}, expected (U,) twice")
    shared = ~np.isnan(first) & ~np.isnan(second)
    values, codes = np.unique(np.stack([first[shared], second[shared]]), return_inverse=True)
    a, b = codes.reshape(2, -1)
    is_value = np.eye(len(values))
    tables = is_value[a][:, :, None] * is_value[b][:, None, :]  # (U, C, C)
    distance = np.abs(values[:, None] - values)  # (C, C)
    distance = distance if weights == "linear" else (distance > 0).astype(float)

    def disagreement(table: Table) -> tuple[np.ndarray, np.ndarray]:
        total = table.sum((-2, -1))
        by_chance = table.sum(-1)[..., :, None] * table.sum(-2)[..., None, :] / total[..., None, None]
        return (distance * table).sum((-2, -1)), (distance * by_chance).sum((-2, -1))

    return _with_interval(tables, disagreement, rng, resamples)


def krippendorff_alpha(
    ratings: np.ndarray,
    *,
    metric: Literal["nominal", "ordinal", "interval"],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Return alpha = 1 - (n - 1) sum_ck o_ck d_ck / sum_ck n_c n_k d_ck; Krippendorff 2011, "Computing
    Krippendorff's Alpha-Reliability".

    ratings: (A, U) of A annotators, NaN = missing. o_ck: coincidences, the ordered pairs (c, k) inside each unit over
    its number of values less one; n_c: their sum over k; n: of all. d_ck is 1 where c differs from k (nominal),
    (c - k)^2 (interval), or the square of how many values lie between c and k, half of both included (ordinal).
    """
    ratings = np.asarray(ratings, float)
    if ratings.ndim != 2:
        raise ValueError(f"ratings have shape {ratings.shape}, expected (A, U)")
    ratings = ratings[:, (~np.isnan(ratings)).sum(0) >= 2]
    given = ~np.isnan(ratings)
    values = np.unique(ratings[given])
    counts = ((ratings[:, :, None] == values) & given[:, :, None]).sum(0).astype(float)  # (U, C)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))  # (U, C, C)
    tables = pairs / (counts.sum(1) - 1)[:, None, None]

    def disagreement(table: Table) -> tuple[np.ndarray, np.ndarray]:
        n_c = table.sum(-1)  # (..., C)
        place = n_c.cumsum(-1) - n_c / 2 if metric == "ordinal" else np.broadcast_to(values, n_c.shape)
        distance = (place[..., :, None] - place[..., None, :]) ** 2
        if metric == "nominal":
            distance = (distance > 0).astype(float)
        by_chance = n_c[..., :, None] * n_c[..., None, :] / (n_c.sum(-1) - 1)[..., None, None]
        return (distance * table).sum((-2, -1)), (distance * by_chance).sum((-2, -1))

    return _with_interval(tables, disagreement, rng, resamples)


def _with_interval(
    tables: np.ndarray,  # (U, C, C), one per unit
    disagreement: Callable[[Table], tuple[np.ndarray, np.ndarray]],  # observed and expected
    rng: np.random.Generator,
    resamples: int,
) -> Agreement:
    units = len(tables)
    if units == 0:
        return Agreement(None, None, None, 0, "nothing that two of them answered")
    value = _beyond_chance(*disagreement(tables.sum(0)))
    if np.isnan(value):
        return Agreement(None, None, None, units, "all answers are the same, so chance would agree as well")
    if units < FEW_UNITS:
        return Agreement(float(value), None, None, units, None)
    flat = tables.reshape(units, -1)
    resampled = np.empty((resamples, flat.shape[1]))
    for row in resampled:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units) @ flat
    found = _beyond_chance(*disagreement(resampled.reshape(resamples, *tables.shape[1:])))
    found = found[~np.isnan(found)]  # a resample may have drawn only equal answers
    low, high = np.quantile(found, [0.025, 0.975]).tolist() if len(found) > resamples / 2 else (None, None)
    if low == high:
        low = high = None
    return Agreement(float(value), low, high, units, None)


def _beyond_chance(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return agreement beyond chance, NaN where nothing could disagree."""
    possible = expected > 0
    return np.where(possible, 1 - observed / np.where(possible, expected, 1), np.nan)
