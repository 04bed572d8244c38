"""Our statistics beside those of the authors of Agarwal et al. 2021.

Imports nothing of pbrl but numpy and scipy, so that it also runs in the environment of scripts/check_rliable.sh.
"""

from functools import partial

import numpy as np
import pytest

from pbrl.statistics import runs as s

HOW = "rliable is not here; scripts/check_rliable.sh runs this test in an environment that has it"
library = pytest.importorskip("rliable.library", reason=HOW)
metrics = pytest.importorskip("rliable.metrics", reason=HOW)

SHAPES = [(5, 4), (10, 5), (3, 3), (7, 1)]  # runs, tasks
THRESHOLDS = np.linspace(-0.5, 1.5, 41)
DRAWS = 20_000


def matrix(shape: tuple[int, int], seed: int) -> np.ndarray:
    """(runs, tasks) as rliable has them, each task with a mean of its own, and some ties."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(np.linspace(0.2, 0.9, shape[1]), 0.3, shape), 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (s.mean, metrics.aggregate_mean),
        (s.median, metrics.aggregate_median),
        (s.iqm, metrics.aggregate_iqm),
        (s.optimality_gap, metrics.aggregate_optimality_gap),
    ],
)
def test_aggregates(shape, ours, theirs):
    for seed in range(20):
        scores = matrix(shape, seed)
        assert ours(list(scores.T)) == pytest.approx(theirs(scores), abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_probability_of_improvement(shape):
    for seed in range(20):
        x, y = matrix(shape, seed), matrix((4, shape[1]), 100 + seed)
        assert s.improvement(list(x.T), list(y.T)) == pytest.approx(metrics.probability_of_improvement(x, y))


@pytest.mark.parametrize("shape", SHAPES)
def test_performance_profile(shape):
    scores = matrix(shape, 0)
    theirs = [library.run_score_deviation(scores, threshold) for threshold in THRESHOLDS]
    np.testing.assert_allclose(s.profile(list(scores.T), THRESHOLDS), theirs, atol=1e-12)


def test_intervals_of_aggregates():
    """Percentiles of two independent bootstraps: equal up to the noise of the draws."""
    scores = np.random.default_rng(1).normal(0.5, 0.3, (10, 5))
    np.random.seed(1)  # noqa: NPY002  rliable draws from the global generator
    _, theirs = library.get_interval_estimates(
        {"a": scores},
        lambda x: np.array([metrics.aggregate_iqm(x), metrics.aggregate_mean(x), metrics.aggregate_optimality_gap(x)]),
        reps=DRAWS,
    )
    for column, statistic in enumerate((s.iqm, s.mean, s.optimality_gap)):
        found = s.interval(list(scores.T), statistic, DRAWS, np.random.default_rng(2))
        np.testing.assert_allclose(found, theirs["a"][:, column], atol=0.006)


def test_interval_of_improvement():
    rng = np.random.default_rng(3)
    x, y = rng.normal(0.6, 0.3, (10, 5)), rng.normal(0.5, 0.3, (8, 5))
    np.random.seed(3)  # noqa: NPY002  rliable draws from the global generator
    _, theirs = library.get_interval_estimates({"a": (x, y)}, metrics.probability_of_improvement, reps=2000)
    found = s.interval_of_two(list(x.T), list(y.T), s.improvement, DRAWS, np.random.default_rng(4))
    np.testing.assert_allclose(found, theirs["a"][:, 0], atol=0.015)


def test_bands_of_profiles():
    scores = np.random.default_rng(5).normal(0.5, 0.3, (10, 5))
    np.random.seed(5)  # noqa: NPY002  rliable draws from the global generator
    _, theirs = library.create_performance_profile({"a": scores}, THRESHOLDS, reps=4000)
    statistic = partial(s.profile, thresholds=THRESHOLDS)
    found = s.interval(list(scores.T), statistic, 4000, np.random.default_rng(6))
    np.testing.assert_allclose(found, theirs["a"], atol=0.021)  # a step of 1/50, where a percentile falls between two
