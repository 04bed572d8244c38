"""Statistics beside SciPy's, and those taken from SciPy beside their formulas."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pbrl.reports.label_kinds import kendall_tau
from pbrl.statistics import runs
from pbrl.statistics.intervals import wilson_interval

Z95 = 1.959963984540054


@pytest.mark.parametrize("n", [1, 2, 7, 40, 1000])
def test_wilson_interval_is_where_the_share_is_within_z_standard_errors(n):
    for hits in range(0, n + 1, max(n // 8, 1)):
        share, half = hits / n, Z95 * math.sqrt(hits / n * (1 - hits / n) / n + Z95**2 / (4 * n**2))
        low, high = ((share + Z95**2 / (2 * n) + side * half) / (1 + Z95**2 / n) for side in (-1, 1))
        assert wilson_interval(hits, n) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-14)


def test_kendall_tau_counts_pairs_in_the_same_order():
    for order in itertools.permutations(range(4)):
        same = sum(order.index(a) < order.index(b) for a, b in itertools.combinations(range(4), 2))
        assert kendall_tau(range(4), order) == pytest.approx((2 * same - 6) / 6)


def test_bootstrap_draws_and_intervals_are_those_of_scipy():
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=5), rng.normal(size=7)]
    ours = runs.redraw(scores, runs.iqm, 500, np.random.default_rng(1))
    theirs = stats.bootstrap(
        scores,
        lambda *tasks, axis: runs.iqm(tasks),
        n_resamples=500,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(1),
    )
    np.testing.assert_array_equal(ours, theirs.bootstrap_distribution)
    assert runs.percentiles(ours) == pytest.approx(theirs.confidence_interval, abs=1e-12)


def test_t_interval_is_that_of_scipy():
    values = np.random.default_rng(2).normal(size=(3, 6))
    expected = stats.t.interval(0.95, 5, values.mean(1), stats.sem(values, axis=1))
    np.testing.assert_allclose(runs.t_interval(values), expected, rtol=1e-12)
