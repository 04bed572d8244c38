"""Rankings and thumbs in runs: asked, learned from, gone on with, exported, and learned from offline."""

import json

import numpy as np
import pytest
from killed import Kill
from outcome import assert_same, table
from tiny import TINY, collect, offline, train

from pbrl.cli import main

ASKED = {
    "plackett_luce": ["fit.loss=plackett_luce", "fit.loss.items=3", "queries=uniform"],
    "thumbs": ["fit.loss=thumbs", "queries=uniform", "fit.pessimism=worst_case"],
}


@pytest.mark.parametrize("loss", ASKED)
def test_lists_are_asked_and_learned_from_and_runs_go_on_as_if_never_killed(loss, run, tmp_path):
    options = [*ASKED[loss], "feedback.heldout=0.3"]
    code, _, err = train(tmp_path / "whole", *options)
    assert code == 0, err
    killed = [*TINY["pebble"], *options, f"run_dir={tmp_path / 'killed'}", "report=false"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert table(tmp_path / "whole" / "progress.csv")[-1]["feedback/labels"] == "24"
    assert json.loads((tmp_path / "whole" / "summary.json").read_text())["reward_updates"] > 0


@pytest.mark.parametrize(("loss", "kind"), [("plackett_luce", "choice"), ("thumbs", "rating")])
def test_what_was_asked_online_is_learned_from_offline(loss, kind, finished, tmp_path):
    labels = tmp_path / "labels"
    assert main(["labels", "export", str(finished(*ASKED[loss])), f"out={labels}", f"kind={kind}"]) == 0
    small = [*offline("piql", labels), "feedback.heldout=0.3"]
    of_loss = [option for option in ASKED[loss] if option.startswith("fit.loss")]
    code, _, err = train(tmp_path / "run", *small, *of_loss, method=None)
    assert code == 0, err
    assert np.isfinite(float(table(tmp_path / "run" / "progress.csv")[-1]["validation/accuracy"]))
    code, _, err = train(tmp_path / "pairs", *small, method=None)
    assert code == 2
    assert f"has answers of kind {kind}; valid here is segment_pair" in err


def test_rankings_of_scored_segments(tmp_path):
    data = collect(tmp_path / "data")
    dense = [*offline("piql", data), "feedback.pairs=dense", "fit.loss=lambda_rank"]
    code, _, err = train(tmp_path / "run", *dense, method=None)
    assert code == 0, err
    code, _, err = train(tmp_path / "x", *offline("piql", data), "fit.loss=plackett_luce", method=None)
    assert code == 2
    assert "has answers to pairs; valid for this loss is feedback.pairs=dense, or a label set of kind choice" in err
    code, _, err = train(tmp_path / "x", *offline("paws", data), "fit.loss=plackett_luce", method=None)
    assert code == 2
    assert "fit.loss=PlackettLuce learns from answers of kind choice, PAWS from pairs" in err


WRONG = {
    "fit.loss=plackett_luce": "segments for choice are drawn uniformly; choose queries=uniform",
    "fit.loss=plackett_luce queries=uniform teacher=hierarchy": "teacher=hierarchy answers questions of kind",
    "fit.loss=thumbs queries=uniform fit.annotators=dawid_skene": "compares answers to pairs, and fit.loss=Thumbs",
    "fit.loss=thumbs queries=uniform method.model.crop=[3,5]": "method.model.crop is about pairs",
    "fit.loss=lambda_rank fit.loss.items=1": "fit.loss.items=1: expected a whole number of at least 2",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_what_cannot_be_asked_is_one_line_and_no_folder(overrides, tmp_path):
    code, _, err = train(tmp_path / "run", *overrides.split())
    assert (code, err.count("\n")) == (2, 1), err
    assert WRONG[overrides] in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["surf", "qpa"])
def test_methods_that_crop_pairs_refuse_lists(method, tmp_path):
    code, _, err = train(tmp_path / "run", *ASKED["thumbs"], method=method)
    assert code == 2
    assert "fit.loss=Thumbs learns from answers of kind rating" in err
