"""Statistics of few runs: values by hand, invariances, and how often intervals hold what they should."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from pbrl.statistics import runs as s

# 2 tasks x 4 runs: the runs in order are 0 1 2 3 4 5 6 17, so the middle half is 2 3 4 5.
HAND = [np.array([0.0, 3.0, 4.0, 17.0]), np.array([6.0, 1.0, 5.0, 2.0])]
AGGREGATES = (s.mean, s.median, s.iqm, s.optimality_gap)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal_tasks(seed: int, tasks: int = 5, runs: int = 10) -> list[np.ndarray]:
    return list(rng(seed).normal(size=(tasks, runs)))


def test_aggregates_of_a_matrix_by_hand():
    assert s.mean(HAND) == pytest.approx((6 + 3.5) / 2)
    assert s.median([*HAND, np.array([1.0, 1.0])]) == pytest.approx(3.5)
    assert s.iqm(HAND) == pytest.approx((2 + 3 + 4 + 5) / 4)
    # Clipped at 1: 0 1 1 1 and 1 1 1 1, so the mean is 0.875.
    assert s.optimality_gap(HAND) == pytest.approx(0.125)
    assert s.optimality_gap(HAND, gamma=4) == pytest.approx(4 - (2.75 + 2.75) / 2)


def test_profile_by_hand_is_strictly_above_and_weighs_tasks_alike():
    ragged = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0])]
    np.testing.assert_allclose(s.profile(ragged, np.array([-1.0, 1.0, 2.5])), [1.0, (0.5 + 0.5) / 2, (0.25 + 0) / 2])


def test_improvement_by_hand_counts_ties_half():
    ours, theirs = [np.array([1.0, 2.0])], [np.array([1.0, 0.0, 3.0])]
    # 1 against 1, 0, 3: a tie and a win. 2: two wins. 3.5 of 6.
    assert s.improvement(ours, theirs) == pytest.approx(3.5 / 6)
    with_another_task = s.improvement([*ours, np.ones(2)], [*theirs, np.zeros(3)])
    assert with_another_task == pytest.approx((3.5 / 6 + 1) / 2)


def test_improvement_is_mann_whitney():
    x, y = rng(1).normal(size=7), rng(2).normal(0.3, size=9)
    assert s.improvement([x], [y]) == pytest.approx(stats.mannwhitneyu(x, y).statistic / (7 * 9))
    assert s.improvement([x], [y]) + s.improvement([y], [x]) == pytest.approx(1)
    assert s.improvement([x], [x]) == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 5), (3, 5), (4, 7), (5, 10)])
def test_iqm_is_the_trimmed_mean_of_all_runs(shape: tuple[int, int]):
    matrix = rng(3).normal(size=shape)
    assert s.iqm(list(matrix)) == pytest.approx(stats.trim_mean(matrix, 0.25, axis=None))


def test_iqm_of_unequal_numbers_of_runs_is_that_of_a_task_with_each_run_twice():
    small, large = rng(4).normal(size=4), rng(5).normal(size=8)
    assert s.iqm([small, large]) == pytest.approx(s.iqm([small.repeat(2), large]), abs=0.05)
    # 12 and 24 runs cut off whole quarters, so nothing is left to rounding.
    small, large = rng(4).normal(size=12), rng(5).normal(size=24)
    assert s.iqm([small, large]) == pytest.approx(s.iqm([small.repeat(2), large]))


def test_many_runs_on_an_easy_task_do_not_raise_an_aggregate():
    hard, easy = np.zeros(6), np.ones(6)
    for aggregate in AGGREGATES:
        assert aggregate([hard, np.ones(60)]) == pytest.approx(aggregate([hard, easy]), abs=0.02)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_order_of_runs_and_of_tasks_does_not_matter(aggregate):
    shuffled = [rng(6).permutation(task) for task in HAND]
    assert aggregate(shuffled) == pytest.approx(aggregate(HAND))
    assert aggregate(HAND[::-1]) == pytest.approx(aggregate(HAND))


@pytest.mark.parametrize("aggregate", [s.mean, s.median, s.iqm])
def test_shift_and_scale_pass_through_with_the_interval(aggregate):
    changed = [3 * task + 7 for task in HAND]
    assert aggregate(changed) == pytest.approx(3 * aggregate(HAND) + 7)
    before, after = (s.interval(x, aggregate, 500, rng()) for x in (HAND, changed))
    np.testing.assert_allclose(after, 3 * np.array(before) + 7)


@pytest.mark.parametrize("statistic", [*AGGREGATES, partial(s.profile, thresholds=np.linspace(0, 1, 3))])
def test_batches_are_one_row_each(statistic):
    batch = [rng(7).normal(size=(3, 4)), rng(8).normal(size=(3, 6))]
    rows = [statistic([task[i] for task in batch]) for i in range(3)]
    np.testing.assert_allclose(statistic(batch), rows)


def test_runs_are_redrawn_within_their_task():
    apart = [np.full(5, 10.0), np.full(3, 20.0)]
    assert (s.redraw(apart, s.mean, 200, rng()) == 15).all()


def test_a_curve_is_redrawn_whole():
    curves = [np.array([[0.0, 5.0, 9.0], [1.0, 6.0, 10.0]])]  # 2 points of 3 runs; the second is 1 above the first
    drawn = s.redraw(curves, s.mean, 50, rng())
    assert drawn.shape == (50, 2)
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 1)


def test_same_generator_same_interval_and_another_differs():
    first, again, other = (s.interval(HAND, s.iqm, 300, rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_interval_of_mean_has_the_width_of_the_standard_error():
    runs = rng(9).normal(size=400)
    low, high = s.interval([runs], s.mean, 4000, rng())
    assert high - low == pytest.approx(2 * 1.96 * runs.std() / 20, rel=0.06)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = [s.interval(normal_tasks(seed), s.iqm, 400, rng()) for seed in range(300)]
    assert 0.88 <= np.mean([low <= 0 <= high for low, high in held]) <= 0.99


def test_differences_of_equal_methods_are_mostly_not_resolved():
    found = [
        s.interval_of_two(normal_tasks(seed), normal_tasks(1000 + seed), s.iqm_difference, 400, rng())
        for seed in range(300)
    ]
    assert 0.01 <= np.mean([one.excludes_zero for one in found]) <= 0.12


def test_two_methods_are_redrawn_independently():
    """The same runs twice: pairs drawn together would always differ by 0."""
    task = [rng(10).normal(size=50)]
    low, high = s.interval_of_two(task, task, s.iqm_difference, 2000, rng())
    single_low, single_high = s.interval(task, s.iqm, 2000, rng())
    assert high - low == pytest.approx(2**0.5 * (single_high - single_low), rel=0.1)


def test_a_single_run_has_no_interval():
    single = [np.array([1.0]), np.array([1.0, 2.0])]
    assert s.interval(single, s.iqm, 10, rng()) is None
    assert s.interval_of_two(HAND, single, s.iqm_difference, 10, rng()) is None
    assert s.t_interval(np.array([3.0])) is None


def test_t_interval_is_students():
    runs = np.array([1.0, 2.0, 3.0, 6.0])
    np.testing.assert_allclose(s.t_interval(runs), stats.t.interval(0.95, 3, loc=3, scale=stats.sem(runs)), rtol=1e-12)


def test_permutation_p_of_all_orders_by_hand():
    """2 against 2 runs, apart: 2 of the 6 ways to split them are as far apart."""
    p = s.permutation_p([np.array([3.0, 4.0])], [np.array([1.0, 2.0])], 30_000, rng())
    assert p == pytest.approx(1 / 3, abs=0.01)
    assert s.permutation_p(HAND, HAND, 100, rng()) == 1


def test_permutation_p_keeps_its_level_with_five_seeds():
    tasks = [(normal_tasks(seed, 2, 5), normal_tasks(1000 + seed, 2, 5)) for seed in range(400)]
    found = [s.permutation_p(*pair, 200, rng(seed)) for seed, pair in enumerate(tasks)]
    assert np.mean(np.array(found) <= 0.05) <= 0.08
    assert np.mean(np.array(found) <= 0.5) == pytest.approx(0.5, abs=0.09)


def test_holm_by_hand():
    np.testing.assert_allclose(s.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(s.holm([0.9, 0.5]), [1, 1])
    assert s.holm([]).shape == (0,)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([np.array([1.0, np.nan])], "task 0 hold 1 NaN of 2"),
        ([], "0 tasks"),
        ([np.ones(2), np.ones(0)], r"task 1 have shape \(0,\)"),
        ([np.ones((2, 3)), np.ones((4, 3))], r"\(4, 3\)"),
    ],
)
def test_scores_that_make_no_sense_are_refused(scores, message: str):
    for call in (s.iqm, s.mean, s.median, s.optimality_gap, lambda x: s.improvement(x, x), s.fewest):
        with pytest.raises(ValueError, match=message):
            call(scores)


def test_different_tasks_are_refused():
    for call in (s.iqm_difference, partial(s.permutation_p, draws=3, rng=rng())):
        with pytest.raises(ValueError, match="2 and of 1 tasks"):
            call(HAND, HAND[:1])
