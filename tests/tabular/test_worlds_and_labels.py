"""Random worlds, random segments, and the labels that they get."""

import numpy as np
import pytest
from scipy.special import expit

from pbrl.errors import UserError
from pbrl.tabular import (
    MOVES,
    GridSegments,
    bernoulli_labels,
    delivery_world,
    noiseless_labels,
    preference_labels,
    random_pairs,
    random_segments,
    random_world,
)

_, _, LEFT, RIGHT = MOVES.tolist()


def test_a_seed_gives_one_world():
    first, again, other = random_world(3), random_world(3), random_world(4)
    np.testing.assert_array_equal(first.codes, again.codes)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert first.codes.shape != other.codes.shape or (first.codes != other.codes).any()


def test_random_worlds_have_the_published_sizes_shares_and_rewards():
    worlds = [random_world(seed) for seed in range(300)]
    for world in worlds:
        assert (world.codes == 1).sum() == 1
        assert set(np.unique(world.codes)) <= {0, 1, 3, 4, 5}
        shares = [(world.codes == code).sum() for code in (3, 5, 4)]
        for count, valid in zip(shares, ((0, 0.1, 0.3), (0, 0.1, 0.5, 0.8), (0, 0.1, 0.2)), strict=True):
            assert any(int(share * world.codes.size) - count in (0, 1) for share in valid)  # the goal may replace one
        assert world.weights[0] == -1
        assert world.weights[3] == 1
    assert {w.codes.shape for w in worlds} == {(h, w) for h in (3, 6, 10, 15) for w in (5, 6, 10)}
    assert {w.weights[1] for w in worlds} == {0, 1, 5, 10, 50}
    assert {w.weights[2] for w in worlds} == {-5, -10, -50, -100}
    assert {w.weights[4] for w in worlds} == {-2, -5, -10}
    assert {w.weights[5] for w in worlds} == {-1, -2, -3}


def test_random_segments_start_anywhere_but_in_houses_and_at_ends(everything):
    segments = random_segments(everything, 2000, 3, np.random.default_rng(0))
    starts = {tuple(cell) for cell in segments.starts.tolist()}
    assert starts == {everything.cell(state) for state in everything.start_states}
    assert len(starts) == 24 - 2 - 2 - 2  # houses, sheep, goals
    counts = np.unique(segments.moves.reshape(-1, 2), axis=0, return_counts=True)[1]
    np.testing.assert_allclose(counts / 6000, 0.25, atol=0.03)


def test_without_absorbing_moves_no_segment_goes_on_at_an_end(everything):
    ends = ~np.isin(np.arange(24), everything.start_states)
    for absorbing in (True, False):
        segments = random_segments(everything, 2000, 4, np.random.default_rng(0), absorbing=absorbing)
        states, _ = everything.walk(segments.starts, segments.moves)
        assert ends[states[:, :-1]].any() == absorbing
        assert ends[states[:, -1]].any()  # the last move may still enter one


def test_worlds_that_have_no_such_segments():
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="has only houses, goals and sheep"):
        random_segments(delivery_world(np.array([[1, 2, 3]])), 1, 1, rng)
    trap = delivery_world(np.array([[0, 1]]))
    with pytest.raises(UserError, match="hardly any segment of 60 moves does not end early"):
        random_segments(trap, 20, 60, rng, absorbing=False)


def test_no_segment_is_compared_with_itself(street):
    """Three cells to start from and two moves: of pairs drawn on their own some would be one segment twice."""
    left, right = random_pairs(street, 2000, 2, np.random.default_rng(0))
    (l_states, l_moves), (r_states, r_moves) = (street.walk(s.starts, s.moves) for s in (left, right))
    going = ~street.absorbing[l_states[:, :-1]]
    differ = (l_states[:, 0] != r_states[:, 0]) | ((l_moves != r_moves) & going).any(1)
    assert differ.all()
    with pytest.raises(UserError, match="hardly any two segments of 0 moves differ"):
        random_pairs(delivery_world(np.array([[0, 1]])), 3, 0, np.random.default_rng(0))


def test_segments_know_their_shapes():
    segments = GridSegments(np.zeros((4, 2), int), np.tile(RIGHT, (4, 3, 1)))
    assert len(segments) == 4
    assert len(segments[:2]) == 2
    assert GridSegments([[0, 0]], [[RIGHT, LEFT]]).moves.shape == (1, 2, 2)
    with pytest.raises(ValueError, match=r"GridSegments.starts has shape \(4,\), expected \(n, 2\)"):
        GridSegments(np.zeros(4), segments.moves)
    with pytest.raises(ValueError, match=r"GridSegments.moves has shape \(3, 3, 2\), expected \(4, L, 2\)"):
        GridSegments(segments.starts, segments.moves[:3])


def test_noiseless_labels_compare_after_two_decimals():
    left, right = np.array([0.0, 1.0, 2.0, 0.001, 0.0]), np.array([1.0, 0.0, 2.0, 0.0, 0.006])
    assert noiseless_labels(left, right).tolist() == [1, 0, 0.5, 0.5, 1]


@pytest.mark.parametrize("gap", [-2.0, 0.0, 0.7])
def test_bernoulli_labels_are_as_frequent_as_their_formula(gap):
    n = 20_000
    labels = bernoulli_labels(np.zeros(n), np.full(n, gap), np.random.default_rng(0))
    assert set(labels.tolist()) == {0, 1}
    assert labels.mean() == pytest.approx(expit(gap), abs=4 * 0.5 / np.sqrt(n))


def test_the_two_models_disagree_where_return_and_progress_do(street):
    one = np.array([[0, 1]])
    towards, away = GridSegments(one, np.array([[RIGHT]])), GridSegments(one, np.array([[LEFT]]))
    assert preference_labels(street, away, towards, "partial_return").tolist() == [0.5]
    assert preference_labels(street, away, towards, "regret").tolist() == [1]
    assert preference_labels(street, towards, away, "regret").tolist() == [0]
