"""Fronts on points whose figures are known by hand."""

import builtins

import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl.statistics.fronts import crowding, expected_utility, hypervolume, on_front, simplex, sparsity

STAIRS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])


def test_a_point_that_another_beats_is_not_on_the_front_and_equals_count_once():
    points = np.array([[1, 3], [2, 2], [2, 2], [1, 2], [3, 1], [0, 3]])
    assert on_front(points).tolist() == [True, True, False, False, True, False]


def test_the_hypervolume_is_the_area_of_the_stairs():
    assert hypervolume(STAIRS, np.zeros(2)) == 6
    assert hypervolume(STAIRS[::-1], np.ones(2)) == 1  # what is not above the reference covers nothing
    assert hypervolume(np.concatenate([STAIRS, STAIRS, [[1.0, 1.0]]]), np.zeros(2)) == 6
    assert hypervolume(STAIRS, np.array([3.0, 3.0])) == 0
    assert hypervolume(STAIRS[:, :1], np.zeros(1)) == 3


def test_above_two_objectives_it_is_that_of_a_library():
    pytest.importorskip("pymoo", reason="pymoo is not installed; get it with: pip install 'pbrl[objectives]'")
    boxes = np.array([[2.0, 1, 1], [1, 2, 1], [1, 1, 2]])
    assert hypervolume(boxes, np.zeros(3)) == pytest.approx(4)
    flat = np.c_[STAIRS, np.ones(3)]
    assert hypervolume(flat, np.zeros(3)) == pytest.approx(6)


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    imported = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pymoo"):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"3 objectives .* pip install 'pbrl\[objectives\]'"):
        hypervolume(np.ones((1, 3)), np.zeros(3))


def test_utility_is_what_the_best_point_has_for_each_weight():
    assert expected_utility(STAIRS, np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])) == pytest.approx((3 + 2 + 3) / 3)
    assert expected_utility(STAIRS[:1], simplex(2, 100)) == pytest.approx(2)


def test_sparsity_does_not_change_by_duplicates_or_beaten_points():
    assert sparsity(STAIRS) == (1 + 1 + 1 + 1) / 2
    assert sparsity(np.concatenate([STAIRS, STAIRS, [[0.0, 0.0]]])) == sparsity(STAIRS)
    assert sparsity(STAIRS[:1]) == 0


def test_the_ends_of_a_front_are_never_crowded():
    points = np.array([[0.0, 4], [1, 3], [2, 2], [4, 0]])
    found = crowding(points)
    assert np.isinf(found[[0, 3]]).all()
    assert found[1:3] == pytest.approx([(2 + 2) / 4, (3 + 3) / 4])


def test_weights_lie_evenly_on_the_simplex():
    np.testing.assert_allclose(simplex(2, 5)[:, 0], np.arange(6) / 5)
    assert len(simplex(3, 5)) == 21
    np.testing.assert_allclose(simplex(3, 5).sum(1), 1)
