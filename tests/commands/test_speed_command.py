import json

import pytest

from pbrl.commands.speed_command import HEADER, cells, peak_rss
from pbrl.speed import parts
from pbrl.speed.timing import Timing

QUICK = ("repeats=2", "seconds=0.01")


@pytest.fixture
def small(monkeypatch):
    """Each part in a second: short arrays, one size of update."""
    monkeypatch.setattr(parts, "cores", lambda: 1)  # two threads crawl where something else has the second core
    monkeypatch.setattr(parts, "MILLION", 1000)
    monkeypatch.setattr(parts, "UPDATES", [(64, 32)])
    monkeypatch.setattr("pbrl.commands.speed_command.LOOP_STEPS", 400)


def test_every_part_gives_rows_and_the_file_keeps_every_repeat(output, small, tmp_path):
    out = tmp_path / "speed.json"
    lines = output("speed", *QUICK, f"out={out}").splitlines()
    written = json.loads(out.read_text())
    assert written["command"].startswith("pbrl speed repeats=2")
    assert written["machine"]["cpu"]
    assert 50 * 2**20 < written["peak_rss_bytes"] <= peak_rss()
    kernel = written["machine"]["sac_kernel"] is not None
    shown = {row["part"] for row in written["rows"]}
    assert shown == {"limit", "SAC update", "acting", "reward fit", "relabelling", "environment", "whole loop"}
    assert len([line for line in lines if line.count(" | ") == len(HEADER) - 1]) == 2 + len(written["rows"])
    for row in written["rows"]:
        assert len(row["ours"]["seconds"]) == 2
        assert min(row["ours"]["seconds"]) > 0
        assert (row["other"] is None) == (row["part"] in ("limit", "reward fit", "relabelling"))
        if not row["setting"].startswith("in registers"):
            has_floor = kernel and row["part"] in ("limit", "SAC update", "reward fit", "relabelling")
            assert (row["floor_s"] is not None) == has_floor, row["setting"]
    backends = {row["setting"].split(", ")[2] for row in written["rows"] if row["part"] == "SAC update"}
    assert backends == ({"torch", "native"} if kernel else {"torch"})


def test_a_line_shows_medians_ranges_the_ratio_and_the_share_of_the_limit():
    row = parts.Row(
        "update", "small", 1, "ms", Timing((0.002, 0.001, 0.004)), Timing((0.004, 0.004, 0.004)), "it", 5e-4
    )
    assert cells(row) == [
        "update", "small", "1", "2 ms (1 to 4)", "4 ms (it)", "2.00 (1.00 to 4.00)", "0.5 ms", "25%",
    ]  # fmt: skip
    rate = parts.Row("fit", "small", 2, "pairs/s", Timing((0.002, 0.001, 0.004)))
    assert cells(rate) == ["fit", "small", "2", "500 pairs/s (250 to 1000)", "", "", "", ""]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("parts=updates", "parts=updates: valid are limit, update, act, reward, relabel, env, loop"),
        ("repeats=0", "repeats=0: expected a whole number of at least 1"),
        ("seconds=nan", "seconds=nan: expected a number above 0 and up to 600"),
        ("seconds=0", "seconds=0: expected a number above 0 and up to 600"),
        ("loop_steps=10", "loop_steps=10: expected a whole number of at least 4000"),
        ("thread=1", "unknown key 'thread': valid are parts, repeats, seconds, loop_steps, out"),
        ("update", "unknown word 'update'; usage: pbrl speed"),
        ("out=no/such/file.json", "out=no/such/file.json: there is no folder no/such"),
    ],
)
def test_bad_input_is_one_line(refusal, word, said):
    assert refusal("speed", word).startswith(f"pbrl: {said}")


def test_a_file_that_is_there_is_not_overwritten(refusal, tmp_path):
    (tmp_path / "speed.json").write_text("mine")
    assert "exists and is not overwritten" in refusal("speed", f"out={tmp_path / 'speed.json'}")
    assert (tmp_path / "speed.json").read_text() == "mine"
