"""Rules of the delivery domain and statistics of segments, against values worked out by hand."""

import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl.tabular import MOVES, delivery_world, random_segments, random_world

UP, DOWN, LEFT, RIGHT = MOVES.tolist()


def statistics(world, start, *moves):
    found = world.segment_statistics(np.array([start]), np.array([moves]))
    return {name: value.item() for name, value in found.items()}


@pytest.mark.parametrize(
    ("start", "move", "end", "reward", "what"),
    [
        ((0, 1), LEFT, (0, 0), -1, "road"),
        ((0, 0), RIGHT, (0, 1), 0, "coin and road"),
        ((0, 1), RIGHT, (0, 2), -2, "road block and road"),
        ((0, 0), DOWN, (1, 0), -2, "brick"),
        ((1, 0), RIGHT, (1, 1), -1, "coin and brick"),
        ((1, 1), RIGHT, (1, 2), -3, "road block and brick"),
        ((2, 4), RIGHT, (2, 5), 50, "goal, without the road below it"),
        ((3, 4), RIGHT, (3, 5), 50, "goal, without the brick below it"),
        ((0, 3), RIGHT, (0, 3), -1, "a house from road: gas"),
        ((1, 3), RIGHT, (1, 3), -2, "a house from brick: brick"),
        ((2, 4), UP, (2, 4), -1, "a house on brick from road: the pavement of the own cell"),
        ((0, 0), UP, (0, 0), -1, "the edge from road"),
        ((0, 1), UP, (0, 1), -1, "the edge from a coin: no coin, as nothing is entered"),
        ((1, 0), LEFT, (1, 0), -2, "the edge from brick"),
        ((0, 2), UP, (0, 2), -1, "the edge from a road block: gas alone"),
        ((0, 5), DOWN, (0, 5), 0, "out of a sheep: nothing"),
        ((2, 5), LEFT, (2, 5), 0, "out of the goal: nothing"),
    ],
)
def test_a_move(everything, start, move, end, reward, what):
    states, _ = everything.walk(np.array([start]), np.array([[move]]))
    assert everything.cell(states[0, -1]) == end, what
    assert statistics(everything, start, move)["partial_return"] == reward, what


@pytest.mark.parametrize("code", [3, 9])
def test_sheep_ends_and_replaces_its_pavement(code):
    world = delivery_world(np.array([[0, code, 1]]))
    assert statistics(world, (0, 0), RIGHT, RIGHT, RIGHT)["partial_return"] == -50


def test_coins_do_not_run_out():
    world = delivery_world(np.array([[4, 4, 1]]))
    assert statistics(world, (0, 0), RIGHT, LEFT, RIGHT, LEFT)["partial_return"] == 0


def test_values_of_a_street(street):
    assert street.v_star.tolist() == [48, 49, 50, 0]
    assert street.q_star[2].tolist() == [49, 49, 48, 50]  # up, down, left, right
    assert statistics(street, (0, 1), RIGHT, RIGHT, RIGHT) == {
        "partial_return": 49,
        "v_start": 49,
        "v_end": 0,
        "regret": 0,
        "general_regret": 0,
    }


def test_partial_return_does_not_see_where_a_segment_ends(street):
    towards, away = statistics(street, (0, 1), RIGHT), statistics(street, (0, 1), LEFT)
    assert towards["partial_return"] == away["partial_return"] == -1
    assert (towards["regret"], away["regret"]) == (0, -2)


def test_deterministic_and_general_regret_are_the_same_and_never_above_0():
    for seed in range(5):
        world = random_world(seed)
        segments = random_segments(world, 500, 7, np.random.default_rng(seed))
        found = world.segment_statistics(segments.starts, segments.moves)
        np.testing.assert_allclose(found["regret"], found["general_regret"], atol=1e-9)
        np.testing.assert_allclose(found["regret"], found["partial_return"] + found["v_end"] - found["v_start"])
        assert found["regret"].max() <= 0
        assert found["regret"].min() < 0


def test_optimal_segments_have_no_regret():
    for seed in range(5):
        world = random_world(seed)
        moves = np.array([UP, DOWN, LEFT, RIGHT])
        starts = np.stack(np.divmod(world.start_states, world.codes.shape[1]), -1)
        states, taken = world.start_states, []
        for _ in range(6):
            best = world.q_star[states].argmax(-1)
            taken.append(moves[best])
            states = world.next_state[states, best]
        found = world.segment_statistics(starts, np.stack(taken, axis=1))
        assert not found["regret"].any()
        assert not found["general_regret"].any()


def test_empty_segments_and_none_at_all(street):
    found = street.segment_statistics(np.array([[0, 1]]), np.zeros((1, 0, 2)))
    assert (found["partial_return"].item(), found["v_start"].item(), found["v_end"].item()) == (0, 49, 49)
    assert street.segment_statistics(np.zeros((0, 2)), np.zeros((0, 3, 2)))["regret"].shape == (0,)


def test_whole_numbers_may_be_floats(street):
    as_floats = street.segment_statistics(np.array([[0.0, 1.0]]), np.array([[RIGHT]], float))
    assert as_floats["regret"].item() == 0


@pytest.mark.parametrize(
    ("starts", "moves", "said"),
    [
        ([0, 1], [[RIGHT]], r"starts has shape \(2,\), expected \(n, 2\)"),
        ([[0, 1]], [RIGHT], r"moves has shape \(1, 2\), expected \(n, L, 2\)"),
        ([[0, 1]], [[RIGHT], [RIGHT]], "starts has 1 rows and moves 2, expected the same"),
        ([[0, 1], [0, 9]], [[RIGHT], [RIGHT]], r"starts\[1\] is \[0, 9\], expected a row below 4 and a column below 6"),
        ([[-1, 0]], [[RIGHT]], r"starts\[0\] is \[-1, 0\]"),
        ([[0, 4]], [[RIGHT]], r"starts\[0\] is \[0, 4\], a house"),
        ([[0, 1]], [[RIGHT, [1, 1]]], r"moves\[0, 1\] is \[1, 1\], expected one of \[-1, 0\], \[1, 0\]"),
        ([[0, 1]], [[[0, 0]]], r"moves\[0, 0\] is \[0, 0\]"),
        (
            [[2, 5], [2, 4]],
            [[[0, 0], UP], [RIGHT, [0, 2]]],
            r"moves\[1, 1\] is \[0, 2\].*after goal or sheep also \[0, 0\]",
        ),
        ([[2, 3]], [[RIGHT, [0, 0], RIGHT]], r"moves\[0, 1\] is \[0, 0\]"),
        ([[0.5, 1]], [[RIGHT]], "starts has values that are not whole numbers"),
    ],
)
def test_what_is_not_a_segment(everything, starts, moves, said):
    with pytest.raises(ValueError, match=said):
        everything.segment_statistics(np.array(starts), np.array(moves))


STAY = [0, 0]


@pytest.mark.parametrize("end", [1, 3, 7, 9])  # goal and sheep, on road and on brick
def test_segments_that_are_padded_after_goal_or_sheep(end):
    world = delivery_world(np.array([[0, 0, end, 1]]))
    padded = statistics(world, (0, 1), RIGHT, STAY, STAY)
    assert padded == statistics(world, (0, 1), RIGHT, UP, LEFT) == statistics(world, (0, 1), RIGHT)
    assert padded["partial_return"] == (50 if end in (1, 7) else -50)
    assert statistics(world, (0, 2), STAY)["regret"] == 0  # one that begins at the end


def test_a_table_of_moves_learns_the_same_from_padded_segments(street):
    table = street.with_weight_per_move()
    starts, moves = np.array([[0, 1], [0, 2]]), np.array([[RIGHT, RIGHT, UP], [RIGHT, LEFT, DOWN]])
    padded = np.array([[RIGHT, RIGHT, STAY], [RIGHT, STAY, STAY]])
    collected = [
        table.features[table.walk(starts, m)[0][:, :-1], table.walk(starts, m)[1]].sum(1) for m in (moves, padded)
    ]
    np.testing.assert_array_equal(*collected)


def test_a_cell_without_a_way_out_is_named():
    world = delivery_world(np.array([[0, 2, 0, 1]]), name="walled")
    assert world.v_star[0] == -np.inf
    assert statistics(world, (0, 2), RIGHT)["regret"] == 0
    with pytest.raises(UserError, match=r"board walled: from cell \[0, 0\] no goal or sheep can be reached"):
        statistics(world, (0, 0), RIGHT)


def test_a_loop_that_pays_has_no_value():
    with pytest.raises(ValueError, match="not bounded without discount"):
        _ = delivery_world(np.array([[0, 4, 1]]), weights=(-1, 50, -50, 3, -1, -2)).v_star


def test_one_weight_per_move_changes_nothing_but_the_features(everything):
    table = everything.with_weight_per_move()
    np.testing.assert_array_equal(table.reward, everything.reward)
    np.testing.assert_array_equal(table.v_star, everything.v_star)
    assert table.weights.shape == (24 * 4,)
