"""Runs beside each other: what one arm is, Student's interval by hand, and what is said of differences."""

import numpy as np
import pytest
from made_runs import made_run

import pbrl


@pytest.fixture
def runs(tmp_path):
    """PEBBLE ends at 1, 2 and 3, and at 101, 102, 103 with another teacher."""
    for seed in range(3):
        made_run(tmp_path / "all" / f"a{seed}", [0, seed + 1], f"seed={seed}")
        made_run(tmp_path / "all" / f"b{seed}", [0, seed + 101], f"seed={seed}", "teacher=noisy", "report=false")
    return tmp_path / "all"


def test_runs_that_differ_by_their_seeds_alone_are_one_arm(runs):
    found = pbrl.compare(runs)
    assert [(row["arm"], row["n"]) for row in found.rows] == [("pebble teacher=oracle", 3), ("pebble teacher=noisy", 3)]
    first = found.rows[0]
    half = 4.302652730 / np.sqrt(3)  # 97.5 % quantile of t with 2 degrees of freedom; the standard deviation is 1
    assert (first["return"], first["labels"], first["steps"], first["success"]) == (2, 10, 100, 0.25)
    assert (first["low"], first["high"]) == (pytest.approx(2 - half), pytest.approx(2 + half))


def test_a_difference_has_an_interval_and_a_corrected_p(runs):
    (d,) = pbrl.compare(runs).differences
    assert (d.one, d.other, d.difference) == ("pebble teacher=oracle", "pebble teacher=noisy", -100)
    assert -102 <= d.low <= -100 <= d.high <= -98
    # Of the 20 ways to divide six runs two are as extreme.
    assert d.p == pytest.approx(0.1, abs=0.02)
    assert pbrl.compare(runs).words[0].endswith(": no clear difference")


def test_single_runs_say_that_they_say_little(tmp_path):
    one = made_run(tmp_path / "a", [0, 5])
    other = made_run(tmp_path / "b", [0, 7], "agent.lr=0.01", status=None)
    bare = made_run(tmp_path / "c", [])
    found = pbrl.compare([one, pbrl.load_run(other), bare])
    assert [row["arm"] for row in found.rows] == ["pebble agent.lr=0.0005", "pebble agent.lr=0.01"]
    assert (found.differences[0].p, found.rows[0]["low"]) == (None, None)
    assert "one run of an arm says nothing of the others like it" in found.words[0]
    assert found.notes[0] == "1 without an evaluation are left out"
    assert "1 not finished, as far as they came:" in found.notes[1]


def test_arms_of_several_environments_are_not_set_against_each_other(tmp_path):
    made_run(tmp_path / "a", [0, 5])
    made_run(tmp_path / "b", [0, 7], "env=pendulum")
    found = pbrl.compare(tmp_path)
    assert [row["env"] for row in found.rows] == ["point_reach", "pendulum"]
    assert found.differences == []
    assert [text.get_text() for text in found.figure().legends[0].get_texts()] == [
        "point_reach pebble (n = 1)",
        "pendulum pebble (n = 1)",
    ]


def test_the_thick_line_is_the_mean_of_the_runs(runs):
    lines = pbrl.compare(runs).figure().axes[0].lines
    assert [line.get_ydata().tolist() for line in lines if line.get_linewidth() > 1] == [[0, 2], [0, 102]]


def test_a_notebook_shows_table_and_curves(runs):
    html = pbrl.compare(runs)._repr_html_()
    assert "<td>pebble teacher=noisy</td><td>3</td><td>102.0</td>" in html
    assert "data:image/png;base64," in html


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(pbrl.UserError, match="has no run in it; a run is a folder with"):
        pbrl.compare(tmp_path)
    with pytest.raises(pbrl.UserError, match="is no folder"):
        pbrl.compare([tmp_path / "nowhere"])
    with pytest.raises(pbrl.UserError, match="was given no run"):
        pbrl.compare([])
