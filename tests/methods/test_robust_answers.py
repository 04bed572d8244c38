"""The `fit` section in runs, online and offline: each option trains and goes on, and what cannot be is one line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import Kill
from offline_data import begun, make_data, update
from outcome import assert_same, table
from test_piql import small_iql, small_reward
from tiny import TINY, collect, offline, train

from pbrl.config import load_config
from pbrl.errors import UserError
from pbrl.labels.set_checks import count_rows
from pbrl.labels.sets import export_labels, write_label_set
from pbrl.methods.pebble import Pebble
from pbrl.methods.piql import RewardThenIQL
from pbrl.question_kinds import SegmentPair
from pbrl.reading import read_arrays
from pbrl.rewards.losses.em import FlipEM
from pbrl.rewards.losses.loss import BradleyTerry
from pbrl.rewards.objective import Objective
from pbrl.rewards.pessimism import Mean, WorstCase

COMMON_REPLAY = ["teacher=replay", "fit.annotators=dawid_skene", "queries=uniform"]
ONLINE = {
    "pebble": ["fit.loss=em", "fit.pessimism=worst_case", "feedback.heldout=0.3", "fit.calibrate=true"],
    "surf": ["fit.loss=co_teaching", "fit.loss.ramp=5", "fit.pessimism=nominal_worst"],
    "rune": ["fit.loss=unbiased", "fit.loss.flip_rate=0.3", "fit.pessimism=mean_minus_variance"],
    "qpa": ["fit.loss=margin", "fit.score=mean"],
    "ppe": ["fit.loss=unbiased"],
    "rime": ["fit.loss=margin", "fit.score=mean"],
    "prefppo": ["fit.loss=soft_labels", "fit.score=mean"],
    "heron": ["fit.loss=em"],
}


@pytest.mark.parametrize("method", ONLINE)
def test_options_of_the_fit_change_what_each_method_learns(method, finished, tmp_path):
    code, _, err = train(tmp_path / "robust", *ONLINE[method], method=method)
    assert code == 0, err
    plain = finished(method=method) / "reward.safetensors"
    assert plain.read_bytes() != (tmp_path / "robust" / "reward.safetensors").read_bytes()


def test_a_run_with_an_estimate_of_its_own_goes_on_as_if_never_killed(run, tmp_path):
    options = [*ONLINE["pebble"], "report=false"]
    assert train(tmp_path / "whole", *options)[0] == 0
    killed = [*TINY["pebble"], *options, f"run_dir={tmp_path / 'killed'}"]
    assert run(["train", *killed], Kill("pbrl.data.recorder:EpisodeRecorder.step", 233)) == -9
    assert run(["train", f"resume={tmp_path / 'killed'}"]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")
    rows = [row for row in table(tmp_path / "whole" / "progress.csv") if row["reward/heldout_ece"]]
    assert 0.001 <= float(rows[-1]["reward/flip_rate"]) < 0.5
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    figures = ("loss", "accuracy", "ece", "temperature", "calibrated_loss", "calibrated_ece")
    assert all(summary[f"heldout_{name}"] == float(rows[-1][f"reward/heldout_{name}"]) for name in figures)
    assert 0 <= summary["heldout_ece"] <= 1


WRONG = {
    "fit.loss=em fit.loss.flip_rate=0.5": "fit.loss.flip_rate=0.5: expected a probability of at least 0.001 and below",
    "fit.loss=nobody": "fit.loss=nobody: valid are bradley_terry, co_teaching, em, ",
    "fit.pessimism=worst": "fit.pessimism=worst: valid are mean, .*did you mean worst_case",
    "fit.loss=null": "fit.loss=None: expected the name of a YAML",
    "fit.pessimism=3": "fit.pessimism=3: expected the name of a YAML",
    "fit.loss=co_teaching method.model.members=1": "fit.loss=CoTeaching needs 2 members at least, and method.model.mem",
    "fit.pessimism=worst_case method.model.members=1": "fit.pessimism=WorstCase needs 2 members at least",
    "fit.calibrate=true": "fit.calibrate=true needs held-out answers; set feedback.heldout",
    "fit.calibrate=true feedback.heldout=0.3 method.reward_std=1.0": "reward_std=1.0 both set the scale of the reward",
    "fit.loss=margin method.model.smoothing=0.1": "method.model.smoothing=0.1: fit.loss=Margin reads how much better",
    "fit.loss=soft_labels fit.annotators=dawid_skene": "dawid_skene puts how sure one may be in its place",
    "method.model.crop=[1.5,3]": r"method.model.crop=\[1.5, 3\]: expected \[shortest, longest\]",
    "method.model.crop=3": r"method.model.crop=3: expected \[shortest, longest\]",
    "fit.score=max": "fit.score=max: valid are sum, mean",
    "fit.annotators=dawid_skene": "fit.annotators=dawid_skene needs pairs that two annotators answer, here one does",
    "fit.annotators=dawid_skene teacher=human viewer.start=false": "people do with viewer.overlap=2",
    "fit=5": "fit=5: expected settings",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_what_does_not_go_together_is_one_line_and_no_folder(overrides, tmp_path):
    code, _, err = train(tmp_path / "run", *overrides.split())
    assert (code, err.count("\n")) == (2, 1), err
    assert re.search(WRONG[overrides], err)
    assert not (tmp_path / "run").exists()


def test_heron_calibrates_once_its_own_scale_is_off(tmp_path):
    wanted = ["fit.calibrate=true", "feedback.heldout=0.3"]
    code, _, err = train(tmp_path / "run", *wanted, method="heron")
    assert (code, "set method.reward_std=null" in err) == (2, True)
    assert train(tmp_path / "run", *wanted, "method.reward_std=null", method="heron")[0] == 0  # as the message says


def test_methods_without_such_a_reward_say_so(tmp_path):
    code, _, err = train(tmp_path / "run", "fit.loss=em", method="true_reward")
    assert code == 2
    assert "fit.loss=FlipEM: TrueReward has nothing that it would change; leave it out" in err


def test_a_loss_of_its_own_is_not_silently_kept():
    class Own(Pebble):
        def learn_model(self):
            return {"updates": 0}

    method = Own.__new__(Own)
    method.objective = robust(loss=FlipEM(flip_rate=0.2, rate=0.1))
    with pytest.raises(UserError, match=r"fit.loss=FlipEM: Own has a loss of its own; leave it out"):
        method.check_objective(None)


def robust(**changes):
    usual = {"loss": BradleyTerry(), "pessimism": Mean(), "score": "sum", "annotators": "alike", "calibrate": False}
    return Objective(**usual | changes)


def learner(data, objective, steps=400):
    class Robust(RewardThenIQL):
        pass

    Robust.objective = objective
    numbers = {"batch_size": 16, "scale": False, "iql": small_iql, "model": small_reward, "pairs": 32}
    return begun(Robust, data, steps, reward_share=0.9, reward_schedule="constant", **numbers)


def test_offline_the_estimate_rises_with_the_share_of_flipped_answers():
    data = make_data()
    flips = torch.rand(200, generator=torch.Generator().manual_seed(0)) < 0.4
    told = torch.where(flips, 1 - data.pairs.prefers_right, data.pairs.prefers_right)
    found = []
    for answers in (data, replace(data, pairs=replace(data.pairs, prefers_right=told))):
        one = learner(answers, robust(loss=FlipEM(flip_rate=0.1, rate=0.05)), steps=220)
        for _ in range(198):
            metrics = update(one)
        found.append(metrics["reward/flip_rate"])
    assert found[0] < 0.05
    assert found[1] > found[0] + 0.02  # 200 answers are learned by heart in part


def test_offline_rewards_are_cooled_by_the_temperature_and_lowered_by_pessimism():
    data = make_data()
    plain, cool, careful = (
        learner(data, fit, steps=40) for fit in (robust(), robust(calibrate=True), robust(pessimism=WorstCase()))
    )
    for one in (plain, cool, careful):
        for _ in range(37):
            update(one)
    temperature = cool.temperature()
    assert temperature != 1
    torch.testing.assert_close(cool._rewards * temperature, plain._rewards)
    assert (careful._rewards <= plain._rewards + 1e-5).all()
    assert (careful._rewards < plain._rewards - 1e-3).any()
    figures = cool.metrics()
    assert {f"validation/{k}" for k in ("loss", "accuracy", "ece", "temperature", "calibrated_loss")} <= set(figures)
    facts = cool.facts()
    assert facts["heldout_ece"] == figures["validation/ece"]


def test_offline_methods_train_by_name(tmp_path):
    collected = collect(tmp_path / "data")
    code, _, err = train(tmp_path / "bc", *offline("bc", collected), "fit.score=mean", method=None)
    assert code == 2
    assert "fit.score=mean: BC has nothing that it would change; leave it out" in err
    for method, options in {
        "piql": ["fit.loss=em", "fit.pessimism=worst_case", "feedback.heldout=0.2", "fit.calibrate=true"],
        "preference_transformer": ["fit.loss=unbiased"],
        "paws": ["fit.loss=margin", "fit.score=mean"],
        "regret": ["fit.loss=soft_labels"],
    }.items():
        code, _, err = train(tmp_path / method, *offline(method, collected), *options, method=None)
        assert code == 0, err
    code, _, err = train(tmp_path / "x", *offline("preference_transformer", collected), "fit.score=mean", method=None)
    assert code == 2
    assert "is a mean over steps already" in err
    code, _, err = train(tmp_path / "x", *offline("piql", collected), "fit.annotators=dawid_skene", method=None)
    assert code == 2
    assert "needs pairs that two annotators answer" in err
    assert np.isfinite(float(table(tmp_path / "piql" / "progress.csv")[-1]["validation/ece"]))


def test_offline_several_annotators_are_believed_as_they_agree():
    data, rng = make_data(), torch.Generator().manual_seed(0)
    truth = data.pairs.prefers_right
    wrong = torch.stack([torch.rand(200, generator=rng) < share for share in (0.05, 0.1, 0.5)])
    told = torch.where(wrong & (truth != 0.5), 1 - truth, truth).flatten()
    rows, who = torch.arange(200).repeat(3), torch.arange(3).repeat_interleave(200)
    crowd = replace(data.pairs[rows], prefers_right=told, annotator=who)
    one = learner(
        replace(data, pairs=crowd, annotators=("ann", "bob", "cyd")), robust(annotators="dawid_skene"), steps=4
    )
    learned = one._answers.pairs.prefers_right.view(3, -1)
    assert learned[0].equal(learned[1])
    decided = truth != 0.5
    assert ((learned[0] > 0.5) == (truth > 0.5))[decided].float().mean() > 0.88  # 0.925 by the majority
    assert update(one)["reward/reliability_min"] < 0.65
    assert list(one.facts()["reliability"]) == ["ann", "bob", "cyd"]


def test_annotators_who_share_no_question_cannot_be_told_apart():
    data = make_data()
    two = replace(data, pairs=replace(data.pairs[:20], annotator=torch.arange(20) % 2))
    with pytest.raises(ValueError, match="no question was answered by two annotators"):
        learner(two, robust(annotators="dawid_skene"))


def test_answers_of_two_annotators_are_replayed_and_weighed(finished, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    export_labels(finished(), one)
    again = [*COMMON_REPLAY, f"teacher.labels={one}"]
    code, _, err = train(tmp_path / "alone", *again)
    assert code == 2
    assert "fit.annotators=dawid_skene needs pairs that two annotators answer, here one does" in err
    meta, arrays = json.loads((one / "meta.json").read_text()), read_arrays(one / "comparisons.npz")
    n = len(arrays["query"])
    rows = np.repeat(np.arange(n), 2)  # each question twice, the second time for the second annotator
    arrays = {name: column[rows] for name, column in arrays.items()}
    arrays["annotator"] = np.tile([0, 1], n)
    meta |= {"annotators": ["ann", "bob"], "counts": count_rows(arrays, SegmentPair)}
    write_label_set(two, arrays, meta, two)
    code, _, err = train(tmp_path / "both", *COMMON_REPLAY, f"teacher.labels={two}")
    assert code == 0, err
    told = json.loads((tmp_path / "both" / "summary.json").read_text())["reliability"]
    assert list(told) == ["replay:ann", "replay:bob"]
    assert min(told.values()) > 0.7  # they never disagree


def test_a_loss_of_ones_own_is_what_the_page_says_and_a_yaml_of_ones_own_chooses(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "robust-answers.md").read_text()
    (tmp_path / "loss").mkdir()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "own_loss.py").write_text(page.split("```python\n")[1].split("```")[0])
    (tmp_path / "loss" / "hard.yaml").write_text("_target_: own_loss.Hard\n")
    chosen = "# @package _global_\ndefaults:\n  - override /loss@fit.loss: hard\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(chosen)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ["--config-dir", str(tmp_path), "experiment=mine"]
    code, _, err = train(tmp_path / "run", *own)
    assert code == 0, err
    saved = load_config(tmp_path / "run" / "config.yaml")
    assert saved.fit.loss._target_ == "own_loss.Hard"
