"""A run whose answers teach nothing says so once, and on its page: ties, skips, judgements that are all alike."""

import json
from dataclasses import replace

import pytest
import torch
from offline_data import make_data
from tiny import offline, train

from pbrl.data.lists import Lists
from pbrl.data.videos import Triplets, VideoPairs
from pbrl.feedback.desk import Counts
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.labels.sets import export_labels
from pbrl.methods.rlif_people import RlifPeople
from pbrl.reports import run_report
from pbrl.training.saved import load_run
from pbrl.types import Answers

SAID = "pbrl: nothing can be learned from the answers so far: "


def said(err):
    return [line.removeprefix(SAID) for line in err.splitlines() if line.startswith(SAID)]


def found(folder):
    return json.loads((folder / "summary.json").read_text())


def no_film(*args, **kwargs):
    raise OSError("no clip is wanted here")


@pytest.mark.parametrize("method", ["pebble", "spo_judge"])
def test_ties_alone_are_told_of_once_and_on_the_page_and_so_are_a_label_set_of_them(method, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    code, _, err = train(folder, "teacher=equal", "teacher.equal=10", method=method)
    assert code == 0, err
    labels = found(folder)["labels"]
    assert labels > 6
    assert said(err) == ["6 ties, 0 skips"]  # after the first session, and not again
    assert found(folder)["nothing_learned"] == f"{labels} ties, 0 skips"
    monkeypatch.setattr(run_report, "film", no_film)
    page = run_report.write_report(load_run(folder)).file.read_text()
    assert f"Nothing could be learned from them: {labels} ties, 0 skips." in page
    export_labels(folder, tmp_path / "set")
    code, _, err = train(tmp_path / "offline", *offline("cpl", tmp_path / "set"), method=None)
    assert code == 0, err
    assert said(err) == [found(tmp_path / "offline")["nothing_learned"]] == [f"{labels} ties, 0 skips"]


def test_skips_alone_are_told_of_and_answers_that_say_something_are_not(tmp_path):
    code, _, err = train(tmp_path / "skips", "teacher=skip", "teacher.skip=10")
    assert code == 0, err
    assert said(err) == ["0 ties, 6 skips"]
    assert found(tmp_path / "skips")["reward_updates"] == 0
    code, _, err = train(tmp_path / "usual")
    assert (code, said(err)) == (0, [])
    assert "nothing_learned" not in found(tmp_path / "usual")


def test_one_answer_that_prefers_something_is_enough():
    assert Counts(equal=3, skipped=2).why_nothing() == "3 ties, 2 skips"
    assert Counts(decisive=1, equal=3, skipped=2).why_nothing() is None
    assert Counts(asked=4).why_nothing() is None  # nobody has answered yet


def test_held_out_answers_teach_nothing():
    segments = make_data().segments
    kept = PreferenceDataset(0.999, torch.Generator())
    assert kept.why_nothing() is None
    kept.add(segments[:2], segments[2:4], Answers(torch.tensor([1.0, 0.0]), torch.ones(2, dtype=torch.bool)))
    assert kept.why_nothing() == "0 ties, 2 held out"


def test_scores_and_judgements_that_are_alike_are_ties():
    data = make_data(dense=True)
    assert data.ties == 0
    assert replace(data, scores=torch.ones(5)).ties == 5
    alike = Lists(data.segments[:4], torch.ones(4), 1)
    assert replace(data, scores=None, lists=alike).ties == 4
    assert replace(data, scores=None, lists=replace(alike, told=torch.tensor([1.0, 1, 0, 1]))).ties == 0
    assert replace(data, scores=None, lists=Lists(data.segments[:4], torch.ones(2), 2)).ties == 0  # rankings


def test_episodes_in_which_nobody_stepped_in_teach_nothing():
    watched = RlifPeople.__new__(RlifPeople)
    watched._watched, watched.remembered, watched.blamed_steps = [None, None], 60, 0
    assert watched.why_nothing() == "2 episodes were watched, and nobody stepped in"
    watched.blamed_steps = 1
    assert watched.why_nothing() is None


def test_ties_about_videos_are_counted():
    rows = [torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]), torch.tensor([2, 0, 1])]
    told = torch.tensor([0.5, 1.0, 0.5])
    assert Triplets(*rows, told).ties == VideoPairs(*rows[:2], told).ties == 2
