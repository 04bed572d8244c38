"""`pbrl report`; what is in a bench's report is tested in tests/bench."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pbrl.reports import figures

Run = Callable[..., str]
BENCH = """{"name": "made", "about": null, "commands": [], "code": "1a2b3c4d", "versions": {}, "seeds": [0], "cells": 4,
"finished": 4, "failed": [], "published": [], "methods": {"pebble": {"labels": true, "about": null}}, "envs": {"reach":
{"score": "return", "low": 0, "high": 1, "high_method": "true_reward", "unit": "env_steps"}}}"""
HEADER = """env,method,teacher,agent,budget,seed,status,env_steps,updates,labels,label_kind,return,success,\
success_at_end,score,normalised,reward_accuracy,reward_updates,wall_s,config,code,source"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two arms of two seeds; its figures are left out."""
    monkeypatch.setattr(figures.Picture, "write", lambda self, folder: "")
    folder = tmp_path / "bench"
    folder.mkdir()
    (folder / "bench.json").write_text(BENCH)
    cells = [("pebble", "oracle", 100, 0), ("pebble", "oracle", 100, 1), ("true_reward", "none", 0, 0)]
    rows = [f"reach,{m},{t},sac,{b},{s},finished,9,,{b},,{1 - b / 200},,,,,,,,,," for m, t, b, s in cells]
    (folder / "results.csv").write_text("\n".join([HEADER, *rows, ""]))
    return folder


def test_of_a_bench_beside_results_of_others(bench: Path, output: Run, tmp_path: Path):
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("env,method,teacher,budget,seed,return\nreach,surf,oracle,100,0,0.75\n")
    assert "pebble reaches most: 0.50 [0.50, 0.50]" in output("report", bench)
    printed = output("report", bench, f"with={theirs}", f"out={tmp_path / 'out'}")
    assert "surf (theirs.csv) reaches most: 0.75. Not resolved from it: pebble." in printed
    for folder in (bench / "report", tmp_path / "out"):
        names = {file.name for file in folder.iterdir()}
        assert names == {"report.html", "tables.md", "summary.csv", "comparisons.csv", "per_task.csv", "figures"}


def test_of_a_run(run_dir: Path, output: Run):
    (run_dir / "report.html").unlink(missing_ok=True)
    assert f"report: {run_dir / 'report.html'}" in output("report", run_dir)
    assert "point_reach" in (run_dir / "report.html").read_text()


def test_what_cannot_be_reported(bench: Path, refusal: Run, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("env,method,teacher,budget,seed,return\nreach,surf,oracle,100,0,high\n")
    assert "expected a folder, none given" in refusal("report")
    assert "there is no such folder" in refusal("report", tmp_path / "no")
    assert "empty has no run in it; a run is a folder with config.yaml" in refusal("report", tmp_path / "empty")
    assert "is a bench, which has a report of its own" in refusal("report", tmp_path / "empty", bench)
    assert "unknown key 'wiht'" in refusal("report", bench, "wiht=a.csv")
    assert "reach=most: expected a number" in refusal("report", bench, "reach=most")
    assert "reach=0: expected" in refusal("report", bench, "reach=0")
    assert "bad.csv, line 2: return is 'high'" in refusal("report", bench, f"with={tmp_path / 'bad.csv'}")
    assert "a.csv does not exist" in refusal("report", bench, f"with={tmp_path / 'a.csv'}")
    assert "holds something else" in refusal("report", bench, f"out={bench}")
    shutil.rmtree(bench / "report", ignore_errors=True)
    (bench / "report").write_text("a file")
    assert "holds something else" in refusal("report", bench)
    (tmp_path / "empty" / "config.yaml").write_text("a: 1")
    assert "out= is for benches" in refusal("report", tmp_path / "empty", "out=x")
