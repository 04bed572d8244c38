import json

import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl.tabular import board_names, load_board, scaled_return


def test_a_board_is_rows_of_codes_with_or_without_a_name(tmp_path):
    rows = [[0, 4, 11], [6, 2, 1]]
    (tmp_path / "bare.json").write_text("[[0.0, 4.0, 11.0], [6.0, 2.0, 1.0]]")  # as published boards are written
    (tmp_path / "named.json").write_text(json.dumps({"name": "Mine", "rows": rows}))
    bare, named = load_board(tmp_path / "bare.json"), load_board(str(tmp_path / "named.json"))
    assert (bare.name, named.name) == ("bare", "Mine")
    for world in (bare, named):
        assert world.codes.tolist() == rows
        assert world.codes.dtype.kind == "i"
        assert world.weights.tolist() == [-1, 50, -50, 1, -1, -2]


@pytest.mark.parametrize("name", board_names())
def test_our_boards_can_be_studied(name):
    world = load_board(name)
    assert world.codes.shape == (10, 10)
    assert np.isfinite(world.v_star).all()
    assert scaled_return(world, world.weights) == pytest.approx(1)


def test_our_boards_are_about_what_they_are_called():
    assert board_names() == ["brick_shortcut", "coin_detour", "sheep_detour", "town", "two_goals"]
    sheep, coins, brick = (load_board(n) for n in ("sheep_detour", "coin_detour", "brick_shortcut"))
    # Straight down it is 7 moves to the goal, over a sheep; through the gap 15, the last of which pays.
    assert sheep.codes[7, 4] == 1
    assert sheep.v_star[4] == 50 - 14
    # Along the coins costs nothing.
    assert coins.v_star[11] == 50
    # Fewer moves over brick would cost more.
    assert brick.q_star[38].argmax() == 1
    assert (brick.codes >= 6).sum() > 30


def test_a_board_of_one_cell(tmp_path):
    (tmp_path / "one.json").write_text("[[0]]")
    assert load_board(tmp_path / "one.json").next_state.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[0, 1", "or not JSON"),
        ("[" * 100_000, "or not JSON"),
        ("7", "holds no rows; valid is"),
        ('{"name": "x"}', "holds no rows"),
        ('{"rows": [[1]], "size": 1}', "unknown key 'size', valid are name, rows"),
        ('{"rows": [[1]], "name": 3}', "name is 3, expected text"),
        ("[]", r"rows is \[\], expected a list of at least one row"),
        ('{"rows": "0123"}', "rows is '0123', expected a list"),
        ("[[0, 1], []]", r"row 1 is \[\], expected a list of at least one code"),
        ("[[0, 1], 5]", "row 1 is 5, expected a list"),
        ("[[0, 1], [0]]", "row 1 has 1 cells, expected 2 as in row 0"),
        ("[[0, 1], [0, 12]]", "row 1, column 1 is 12, expected 0 road, 1 goal, .* 5 road block, \\+6 on brick"),
        ("[[-1]]", "row 0, column 0 is -1"),
        ("[[1.5]]", "row 0, column 0 is 1.5"),
        ("[[NaN]]", "row 0, column 0 is nan"),
        ("[[true]]", "row 0, column 0 is True"),
        ('[["S"]]', "row 0, column 0 is 'S'"),
        ("[[null]]", "row 0, column 0 is None"),
    ],
)
def test_malformed_boards_are_told_in_one_line(tmp_path, text, said):
    path = tmp_path / "board.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        load_board(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_board_names_those_that_there_are(tmp_path):
    with pytest.raises(UserError, match=r"is missing; valid are .*brick_shortcut"):
        load_board(tmp_path / "nowhere.json")
    with pytest.raises(UserError, match="is a folder, expected a file"):
        load_board(tmp_path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "board.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        load_board(tmp_path / "board.json")
