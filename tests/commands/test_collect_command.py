"""`pbrl collect` on the command line."""

import json

import numpy as np
import pytest

from pbrl.cli import main
from pbrl.data.datasets import load_dataset
from pbrl.training.saved import load_run

SMALL = ("env=point_reach", "+env.make.max_episode_steps=40", "episodes=10", "segments=60", "segment_length=16")
FEW = ("comparisons=20", "heldout=3", "labels=return")


def test_it_makes_a_data_set_and_says_what_is_in_it(output, tmp_path):
    printed = output("collect", *SMALL, "comparisons=20", "heldout=3", "noise=0", f"out={tmp_path / 'set'}")
    data = load_dataset(tmp_path / "set")
    assert printed.startswith(f"10 episodes of {data.meta['counts']['steps']} steps; segments: ")
    assert "comparisons by regret_mc: 20 train, 3 validation, 3 test" in printed
    assert data.meta["command"].startswith("pbrl collect env=point_reach +env.make.max_episode_steps=40 episodes=10 ")
    assert " out=" not in data.meta["command"]
    assert data.meta["sources"][0] == "expert:0"


def test_the_teacher_is_that_of_the_configs(output, tmp_path):
    output("collect", *SMALL, *FEW, "teacher=mistake", "teacher.mistake=0.4", f"out={tmp_path / 'set'}")
    assert load_dataset(tmp_path / "set").meta["teacher"]["mistake"] == 0.4


def test_policies_and_critics_of_a_run(output, tmp_path, trained, refusal):
    policies = f"policies=run:{trained},run:{trained}@300,random"
    output("collect", *SMALL, *FEW, policies, f"out={tmp_path / 'set'}")
    sources = load_dataset(tmp_path / "set").meta["sources"]
    assert sources == [f"run:{trained}", f"run:{trained}@300", "random"]
    critic = ("labels=return,regret_critic", f"critic=run:{trained}")
    message = refusal("collect", *SMALL, policies, *critic, f"out={tmp_path / 'other'}")
    assert "values the reward that it learned; valid is a run with method=true_reward" in message


def test_regret_by_the_critics_of_a_run_on_the_true_reward(output, tmp_path, refusal):
    run = tmp_path / "run"
    tiny = ("agent.hidden=[16]", "agent.learning_starts=20", "evaluation.episodes=1", "report=false")
    output("train", "env=point_reach", "method=true_reward", "steps=120", *tiny, f"run_dir={run}")
    command = ("labels=regret_critic", f"critic=run:{run}", "segments=60", "segment_length=16", "heldout=2")
    output("collect", *SMALL[:3], *command, f"out={tmp_path / 'set'}")
    data = load_dataset(tmp_path / "set")
    assert list(data.scores) == ["return", "regret_critic", "critic_likelihood"]
    wanted = load_run(run).act(data.segments.obs[0, :-1].numpy())
    apart = np.square(data.segments.actions[0].numpy() - wanted).sum()
    assert data.scores["critic_likelihood"][0] == pytest.approx(-apart, rel=1e-5)
    assert list(data.comparisons) == ["regret_critic"]
    assert data.meta["critic"] == str(run)
    message = refusal("collect", "env=pendulum", *command, f"out={tmp_path / 'other'}")
    assert "has observations and actions of shape ((6,), (2,))" in message


def test_the_temperature_of_a_saved_agent_is_the_learned_one(trained):
    at_end, earlier = (load_run(trained, step).agent.model.log_ent_coef.item() for step in (None, "300"))
    assert at_end == load_run(trained, "600").agent.model.log_ent_coef.item()
    assert at_end < earlier < 0  # it starts at 0 and falls


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["out=x"], "env= is missing: an environment, as env=point_reach"),
        (["env=point_reach"], "out= is missing: a new folder"),
        (["env=nowhere", "out=x"], "env=nowhere: valid are"),
        (["env=point_reach", "out=x", "episode=3"], "unknown key 'episode'; did you mean episodes?"),
        (["env=point_reach", "out=x", "steps=3"], "unknown key 'steps'"),
        (["env=point_reach", "out=x", "method=cpl"], "unknown key 'method'; valid are env, teacher, out"),
        (["env=point_reach", "out=x", "teacher=nobody"], "teacher=nobody: valid are"),
        (["env=point_reach", "out=x", "env.nothing=3"], "unknown key 'env.nothing'"),
        (["env=point_reach", "out=x", "now"], "unknown word 'now'"),
        (["env=point_reach", "out=x", "--fast"], "unknown option --fast"),
        (["env=point_reach", "out=x", "episodes=0"], "episodes=0: expected a whole number of at least 1"),
        (["env=point_reach", "out=x", "noise=-1"], "noise=-1: expected a number from 0 to 10"),
        (["env=point_reach", "out=x", "noise=loud"], "noise=loud: expected a number from 0 to 10"),
        (["env=point_reach", "out=x", "other_goal=2"], "other_goal=2: expected a number from 0 to 1"),
        (["env=point_reach", "out=x", "splits=0.5,0.5"], "splits=0.5,0.5: expected three shares that sum to 1"),
        (["env=point_reach", "out=x", "splits=1,1,1"], "splits=1,1,1: expected three shares that sum to 1"),
        (["env=point_reach", "out=x", "segment_length=0"], "segment_length=0: expected a whole number of at least 1"),
        (["env=point_reach", "out=x", "stop_after_success=soon"], "stop_after_success=soon: expected a whole number"),
        (["env=point_reach", "out=x", "labels=luck"], "labels=luck: valid are return, regret_mc, regret_critic"),
        (["env=point_reach", "out=x", "labels=return,return"], "expected different words with commas between"),
        (["env=point_reach", "out=x", "policies=expert:9"], "policies=expert:9: valid are expert:SKILL"),
        (["env=point_reach", "out=x", "states=maybe"], "states=maybe: expected true or false"),
        (["env=point_reach", "out=x", "rollouts=4"], "rollouts=4 are all the same without noise"),
        (["env=point_reach", "out=x", "rollout_error=0.1"], "rollout_error is of several roll-outs"),
        (["env=point_reach", "out=x", "critic=run:"], "critic=run:: expected run:DIR or run:DIR@STEP"),
        (["env=point_reach", "out=x", "segment_length=500"], "segment_length=500: the longest of 60 episodes has"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(refusal, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal("collect", *args)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused_at_once(refusal, tmp_path):
    (tmp_path / "set").mkdir()
    message = refusal("collect", "env=point_reach", "episodes=1000000", f"out={tmp_path / 'set'}")
    assert "exists and is not overwritten" in message
    (tmp_path / "file").touch()
    message = refusal("collect", "env=point_reach", "episodes=1000000", f"out={tmp_path / 'file' / 'set'}")
    assert "file is not a folder that can be written to" in message


def test_stopped_by_the_user_it_ends_with_130_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("pbrl.collection.collect.partial_return", stop)
    assert main(["collect", *SMALL, f"out={tmp_path / 'set'}"]) == 130
    assert capsys.readouterr().err == "pbrl: stopped\n"
    assert not list(tmp_path.iterdir())


def test_info_tells_what_a_data_set_holds(output, refusal, tmp_path):
    output("collect", *SMALL, *FEW, "teacher=skip", f"out={tmp_path / 'set'}")
    printed = output("data", "info", tmp_path / "set")
    for text in ("point_reach", "made by: pbrl collect", "expert:0.25", "teacher: skip", "agree with score"):
        assert text in printed
    report = json.loads(output("data", "info", tmp_path / "set", "--json"))
    counts = load_dataset(tmp_path / "set").meta["counts"]
    assert {s: v["segments"] for s, v in report["splits"].items()} == counts["segments"]
    assert sum(v["episodes"] for v in report["sources"].values()) == 10
    assert report["labels"]["return"]["train"]["comparisons"] == 20
    (tmp_path / "set" / "segments.npz").unlink()
    assert "segments.npz is missing" in refusal("data", "info", tmp_path / "set")


def test_a_data_set_too_small_for_comparisons_says_that_it_has_none(output, tmp_path):
    small = ("env=point_reach", "+env.make.max_episode_steps=16", "episodes=3", "segment_length=16", "labels=return")
    printed = output("collect", *small, "policies=random", f"out={tmp_path / 'set'}")
    assert load_dataset(tmp_path / "set").meta["counts"]["comparisons"]["return"]["train"] == 0
    assert "; no comparisons by return; see: pbrl data info " in printed
