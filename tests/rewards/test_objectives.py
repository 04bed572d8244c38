"""C-MORL's constraints: floors and barrier weights by hand, and the front of exact policies."""

import numpy as np
import pytest

from pbrl.rewards.objectives import barrier_weights, floors, spread_of
from pbrl.tabular.random_fronts import constrained, make_world, run, solve


def test_floors_mean_the_same_where_returns_are_negative():
    spread = np.array([10.0, 2.0])
    for shift in (0.0, -100.0):
        point = np.array([5.0, 1.0]) + shift
        assert floors(point, spread, 0.1, raised=0)[1] == pytest.approx(point[1] - 0.2)
        assert floors(point, spread, 0.1, raised=0)[0] == -np.inf


def test_the_barrier_weighs_an_objective_by_how_near_its_floor_is():
    spread, least = np.array([10.0, 2.0]), np.array([-np.inf, 1.0])

    def of(second):
        return barrier_weights(np.array([0.0, second]), least, spread, raised=0, sharpness=20, most=10)

    np.testing.assert_allclose(of(1.2), [1, 1 / (20 * 0.1)])
    np.testing.assert_allclose(of(3.0), [1, 1 / 20])
    assert of(1.0).tolist() == of(-50.0).tolist() == [1, 10]


def test_an_objective_that_never_changed_does_not_outweigh_the_others():
    """As success, before anybody has any: 0 in all policies."""
    points = np.array([[0.0, 5.0], [0.0, 1.0], [0.0, 3.0]])
    spread = spread_of(points)
    assert spread.tolist() == [1, 4]
    least = floors(points[0], spread, 0.1, raised=1)
    weights = barrier_weights(points[0], least, spread, 1, sharpness=1000, most=10) / spread
    np.testing.assert_allclose(weights / weights.sum(), np.array([0.01, 0.25]) / 0.26)


def test_constraints_are_kept_and_the_front_gets_wider():
    world = make_world(np.random.default_rng(0))
    ends = np.array([solve(world, np.array(w)) for w in ([1.0, 0.0], [0.5, 0.5], [0.0, 1.0])])
    spread, found = np.ptp(ends, axis=0), constrained(world, ends)
    for i, point in enumerate(found):
        other = 1 - i % 2
        assert point[other] >= ends[i // 2, other] - 0.1 * spread[other] - 1e-6
        assert point[i % 2] >= ends[i // 2, i % 2] - 1e-6
    rows = [{(m.case, m.arm): m.value for m in run(seed)} for seed in range(2)]
    six, more, ours, released = list(dict.fromkeys(arm for _, arm in rows[0]))
    mean = {arm: np.mean([row["hypervolume", arm] for row in rows]) for arm in (six, more, ours, released)}
    assert mean[six] < 0.98 < min(mean[ours], mean[released])
    assert mean[six] < mean[more] < mean[ours]
