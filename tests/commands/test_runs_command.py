"""`pbrl runs`, and `pbrl report` of several runs."""

import csv
import re

import pytest
from made_runs import made_run


@pytest.fixture
def runs(tmp_path):
    for seed in range(3):
        made_run(tmp_path / "all" / f"a{seed}", [0, seed + 1], f"seed={seed}")
        made_run(tmp_path / "all" / "deep" / f"b{seed}", [0, seed + 101], f"seed={seed}", "method=surf")
    return tmp_path / "all"


def test_it_lists_all_and_compares_arms(runs, output, tmp_path):
    said = output("runs", runs, f"out={tmp_path / 'list.csv'}")
    rows = list(csv.DictReader((tmp_path / "list.csv").open()))
    assert [row["run"] for row in rows] == [str(runs / name) for k in range(3) for name in (f"a{k}", f"deep/b{k}")]
    assert (rows[0]["method"], rows[1]["return"], rows[1]["steps"]) == ("pebble", "101.0", "100 of 300")
    assert re.search(r"surf +│ 3 +│ 102\.0", said)
    assert "pebble - surf: -100.0" in said


def test_some_can_be_chosen(runs, output, refusal):
    said = output("runs", runs, "method=surf", "status=finished")
    assert "a0" not in said
    assert said.count("deep/b") == 3
    assert "method=rime: none of the 6 runs is such a one" in refusal("runs", runs, "method=rime")


def test_a_damaged_run_is_named_and_the_others_are_shown(runs, output, refusal, tmp_path):
    (runs / "a1" / "config.yaml").write_text("steps: [")
    (runs / "a2" / "evaluations.csv").write_text("env_steps,return_mean\n100,high\n")
    said = output("runs", runs)
    assert said.count("left out: ") == 2
    assert "deep/b2" in said
    (tmp_path / "none").mkdir()
    assert "has no run in it; a run is a folder with config.yaml" in refusal("runs", tmp_path / "none")
    assert "runs is no folder" in refusal("runs", tmp_path / "none" / "runs")
    assert "unknown key 'sort'" in refusal("runs", runs, "sort=return")


def test_a_page_of_several_runs(runs, output, refusal, tmp_path):
    file = tmp_path / "page.html"
    said = output("report", runs / "a0", runs / "a1", runs / "deep", f"out={file}")
    assert f"report: {file}" in said
    page = file.read_text()
    assert "5 runs of 2 arms" in page
    assert page.count("<svg") == 1
    assert "<td>102.0</td>" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)  # it needs no other file
    assert "exists" in refusal("report", runs, f"out={file}")
    assert "with= is for benches" in refusal("report", runs, "with=a.csv")
    assert "reach= is for benches" in refusal("report", runs, "reach=0.8")
