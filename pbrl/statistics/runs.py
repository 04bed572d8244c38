"""Statistics of few runs on several tasks, after Agarwal et al. 2021, *Deep Reinforcement Learning at the Edge of the
Statistical Precipice* (NeurIPS 2021), whose library rliable they are tested against.

Scores are one array per task whose last axis holds the runs (seeds); tasks may differ in the number of runs and weigh
the same all the same. Axes before the last are batches: a statistic maps arrays (..., n_task) to (...), or to (..., K)
where it has K values. A curve of K points is a batch: an array (K, n_task) per task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

Scores = Sequence[np.ndarray]  # one (..., n_task) per task
Statistic = Callable[[Scores], np.ndarray]
LEVEL = 0.95  # of all intervals


class Interval(NamedTuple):
    """The ends of an interval of one number or, elementwise, of K."""

    low: np.ndarray
    high: np.ndarray

    @property
    def excludes_zero(self) -> bool:
        return bool(np.all((self.low > 0) | (self.high < 0)))


def mean(scores: Scores) -> np.ndarray:
    """Return the mean of the tasks' means."""
    return np.mean([task.mean(-1) for task in _checked(scores)], axis=0)


def median(scores: Scores) -> np.ndarray:
    """Return the median of the tasks' means."""
    return np.median([task.mean(-1) for task in _checked(scores)], axis=0)


def iqm(scores: Scores) -> np.ndarray:
    """Return the interquartile mean: that of all runs without the lowest and the highest 25 % of them.

    With equally many runs per task it is `scipy.stats.trim_mean(runs, 0.25)` of all runs, as in Agarwal et al. 2021.
    With unequal numbers a run counts 1 / (tasks * runs of its task), and what is cut off is that share of the sum of
    weights; pooling them instead would favour whoever has most runs on the easiest task.
    """
    tasks = _checked(scores)
    runs = np.concatenate(tasks, axis=-1)
    cut = int(0.25 * runs.shape[-1])
    if len({task.shape[-1] for task in tasks}) == 1:
        return np.sort(runs, axis=-1)[..., cut : runs.shape[-1] - cut].mean(-1)
    return _weighted_middle(runs, np.concatenate([np.full(n, 1 / n) for n in (t.shape[-1] for t in tasks)]), cut)


def optimality_gap(scores: Scores, gamma: float = 1.0) -> np.ndarray:
    """Return how far runs fall short of a score of gamma on average; what is above gamma does not make up for it."""
    return gamma - mean([np.minimum(task, gamma) for task in _checked(scores)])


def profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Return the performance profile (..., K): the share of runs above each threshold, averaged over tasks."""
    return np.mean([(task[..., None, :] > thresholds[:, None]).mean(-1) for task in _checked(scores)], axis=0)


def improvement(ours: Scores, theirs: Scores) -> np.ndarray:
    """Return the probability that a run of ours beats one of theirs on the same task, a tie counting half.

    The Mann-Whitney statistic over the number of pairs, averaged over tasks.
    """
    shares = []
    for x, y in zip(_checked(ours), _checked(theirs), strict=True):
        x_of_pair, y_of_pair = x[..., :, None], y[..., None, :]
        shares.append(((x_of_pair > y_of_pair).mean((-2, -1)) + (x_of_pair >= y_of_pair).mean((-2, -1))) / 2)
    return np.mean(shares, axis=0)


def redraw(scores: Scores, statistic: Statistic, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the statistic of `draws` samples (draws, ...), which redraw each task's runs with replacement."""
    return statistic([_resample(task, draws, rng) for task in _checked(scores)])


def interval(scores: Scores, statistic: Statistic, draws: int, rng: np.random.Generator) -> Interval | None:
    """Return the stratified bootstrap percentile interval; None where a task has one run, which cannot vary."""
    if fewest(scores) < 2:
        return None
    return percentiles(redraw(scores, statistic, draws, rng))


def interval_of_two(
    ours: Scores,
    theirs: Scores,
    statistic: Callable[[Scores, Scores], np.ndarray],
    draws: int,
    rng: np.random.Generator,
) -> Interval | None:
    """Return the interval of a statistic of two methods, whose runs are redrawn independently of each other's."""
    if min(fewest(ours), fewest(theirs)) < 2:
        return None
    first, second = ([_resample(task, draws, rng) for task in _checked(scores)] for scores in (ours, theirs))
    return percentiles(statistic(first, second))


def iqm_difference(ours: Scores, theirs: Scores) -> np.ndarray:
    """Return IQM of ours minus IQM of theirs. ValueError where the tasks are not equally many."""
    _require_same_tasks(ours, theirs)
    return iqm(ours) - iqm(theirs)


def permutation_p(ours: Scores, theirs: Scores, draws: int, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of the difference of IQMs when it makes no difference which method a run is of.

    Runs change sides within their task; the observed order counts as one of the draws, so that the test keeps its level
    (Phipson and Smyth 2010, *Permutation p-values should never be zero*).
    """
    _require_same_tasks(ours, theirs)
    first, second = [], []
    for x, y in zip(_checked(ours), _checked(theirs), strict=True):
        pooled = np.concatenate([x, y])
        mixed = rng.permuted(np.broadcast_to(pooled, (draws, len(pooled))), axis=1)
        first.append(mixed[:, : len(x)])
        second.append(mixed[:, len(x) :])
    observed = abs(float(iqm_difference(ours, theirs)))
    # Equal differences may come out of different sums; the slack makes ties count, which errs to the safe side.
    as_large = np.abs(iqm_difference(first, second)) >= observed - 1e-9 * (1 + observed)
    return float((1 + as_large.sum()) / (1 + draws))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values corrected for their number (Holm 1979): any false one is below 0.05 with at most 5 % chance."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = raised.clip(max=1)
    return corrected


def t_interval(runs: np.ndarray) -> Interval | None:
    """Return Student's interval of the mean over the last axis, (..., n) to (...); None for a single run."""
    (checked,) = _checked([runs])
    n = checked.shape[-1]
    if n < 2:
        return None
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * checked.std(-1, ddof=1) / np.sqrt(n)
    return Interval(checked.mean(-1) - half, checked.mean(-1) + half)


def percentiles(drawn: np.ndarray) -> Interval:
    """Return the middle 95 % over the first axis."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Interval(low, high)


def fewest(scores: Scores) -> int:
    """Count the runs of the task that has the fewest."""
    return min(task.shape[-1] for task in _checked(scores))


def _weighted_middle(runs: np.ndarray, weights: np.ndarray, cut: int) -> np.ndarray:
    """Return the mean between the quantiles of weight that `cut` of the runs are on average, over the last axis."""
    order, share = np.argsort(runs, axis=-1), cut / len(weights)
    ends = np.cumsum((weights / weights.sum())[order], axis=-1).clip(share, 1 - share)
    kept = np.diff(ends, axis=-1, prepend=share)
    return (np.take_along_axis(runs, order, -1) * kept).sum(-1) / kept.sum(-1)


def _resample(task: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw runs again, (..., n) to (draws, ..., n); a curve is drawn whole."""
    n = task.shape[-1]
    return np.moveaxis(task[..., rng.integers(0, n, (draws, n))], -2, 0)


def _checked(scores: Scores) -> list[np.ndarray]:
    tasks = [np.asarray(task, dtype=float) for task in scores]
    if not tasks:
        raise ValueError("scores of 0 tasks, expected at least 1")
    for i, task in enumerate(tasks):
        if task.ndim == 0 or task.shape[-1] == 0:
            raise ValueError(f"scores of task {i} have shape {task.shape}, expected (..., runs) with at least 1 run")
        if task.shape[:-1] != tasks[0].shape[:-1]:
            raise ValueError(f"scores of task {i} have shape {task.shape}, those of task 0 {tasks[0].shape}")
        if np.isnan(task).any():
            raise ValueError(f"scores of task {i} hold {int(np.isnan(task).sum())} NaN of {task.size} numbers")
    return tasks


def _require_same_tasks(ours: Scores, theirs: Scores) -> None:
    if len(ours) != len(theirs):
        raise ValueError(f"scores of {len(ours)} and of {len(theirs)} tasks, expected the same tasks in the same order")
