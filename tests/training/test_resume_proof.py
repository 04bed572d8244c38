"""A resumed run proves that it is the one its checkpoint saw; a longer one goes on; a new one begins with another's."""

import json
import re
import shutil

import gymnasium as gym
import numpy as np
import pytest
import torch
from outcome import answers, assert_same, table, weights
from tiny import collect, offline, train

from pbrl.cli import main
from pbrl.data.recorder import EpisodeRecorder, NotRepeated
from pbrl.training.checkpoint import Checkpoints


@pytest.fixture
def stopped(finished, tmp_path):
    """A copy of a run that ended with its last checkpoint, before it could say so."""
    shutil.copytree(finished(), tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def refused(capsys, *args):
    assert main(["train", *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def edit(folder, old, new):
    text = (folder / "config.yaml").read_text()
    assert text.count(old) >= 1
    (folder / "config.yaml").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\nseed: 0\n", "\nseed: 5\n", "seed is 5 and was 0"),
        ("segment_length: 10", "segment_length: 9", "feedback.segment_length is 9 and was 10"),
        ("name: oracle", "name: somebody", "teacher.name is somebody and was oracle"),
        ("- 16\n", "- 17\n", r"agent.hidden is \[17, 16\] and was \[16, 16\]"),
        ("gamma: 0.99", "gamma: 0.9", "agent.gamma is 0.9 and was 0.99"),
        ("max_episode_steps: 30", "max_episode_steps: 31", "env.make.max_episode_steps is 31 and was 30"),
    ],
)
def test_an_edited_config_is_refused_with_the_key_and_both_values(old, new, says, stopped, capsys):
    edit(stopped, old, new)
    says = f"checkpoint 320 does not fit {stopped / 'config.yaml'}: {says} when it ran; put that back"
    assert re.search(says, refused(capsys, f"resume={stopped}"))


def test_what_decides_nothing_may_be_edited(stopped, finished):
    for old, new in (("report: false", "report: true"), ("log_every: 25", "log_every: 50"), ("keep: 1", "keep: 2")):
        edit(stopped, old, new)
    assert main(["train", f"resume={stopped}"]) == 0
    assert_same(finished(), stopped)


def test_a_checkpoint_of_an_older_layout_is_refused(stopped, capsys):
    folder = stopped / "checkpoints" / "320"
    (folder / "config.json").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["config.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "has no record of its config" in refused(capsys, f"resume={stopped}")


@pytest.mark.parametrize("emptied", [False, True])
def test_a_store_without_the_answers_that_were_learned_from_is_refused(emptied, stopped, capsys):
    for file in stopped.glob("labels.sqlite*"):
        file.unlink()
    if emptied:
        (stopped / "labels.sqlite").touch()
    told = r"labels.sqlite lacks 24 answers that the checkpoint has learned from, 1 the first; put this run's file back"
    for _ in range(2):  # an attempt leaves nothing that would let the next one pass
        assert re.search(told, refused(capsys, f"resume={stopped}"))


def test_a_run_whose_last_checkpoint_is_gone_is_not_begun_anew(finished, tmp_path, capsys):
    shutil.copytree(finished(), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    before = (tmp_path / "run" / "progress.csv").read_bytes()
    assert "ended at step 320, and the checkpoint of it is gone" in refused(capsys, f"resume={tmp_path / 'run'}")
    assert (tmp_path / "run" / "progress.csv").read_bytes() == before


class Moody(gym.Env):
    """Ends, observes or rewards as it likes, whatever the seed."""

    observation_space = gym.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    end, shift, bonus = 50, 0.0, 0.0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert self.t < Moody.end, "step after the end"
        self.t += 1
        obs = np.full(2, self.t + Moody.shift * (self.t == 5), np.float32)
        return obs, 1.0 + Moody.bonus * (self.t == 6), self.t == Moody.end, False, {}


@pytest.mark.parametrize(
    ("mood", "value", "says"),
    [
        ("end", 12, "episode 1, played again, ends at step 12 and had gone on to 20"),
        ("shift", 1.0, "episode 1, played again, has another observation at step 5"),
        ("bonus", 1.0, "episode 1, played again, has another reward at step 6"),
    ],
)
def test_an_environment_that_does_not_repeat_itself_is_told(mood, value, says, monkeypatch):
    def recorder():
        return EpisodeRecorder(Moody())

    first, again = recorder(), recorder()
    first.begin(seed=3, episode=1)
    for _ in range(20):
        first.step(np.zeros(1))
    state = first.state_dict()
    np.testing.assert_array_equal(again.load_state_dict(state), [20, 20])
    monkeypatch.setattr(Moody, mood, value)
    with pytest.raises(NotRepeated, match=f"the environment does not repeat itself: {says}"):
        recorder().load_state_dict(state)


def test_such_a_run_goes_on_with_a_fresh_episode_as_its_line_says(tmp_path, monkeypatch, capsys):
    gym.register("Moody-v0", lambda: Moody(), max_episode_steps=40)
    try:
        own = ["env=gym", "env.id=Moody-v0", "checkpoint.every=70", "steps=160"]
        kept = [a for a in _tiny("true_reward") if not a.startswith(("env=", "+env", "steps=", "checkpoint"))]
        stop = _signal_at(monkeypatch, 95)
        code, _, err = train(tmp_path / "run", *kept, *own, method=None)
        assert code == 143, err
        stop()
        monkeypatch.setattr(Moody, "end", 9)
        capsys.readouterr()
        error = refused(capsys, f"resume={tmp_path / 'run'}")
        advice = re.search(r"to go on with a fresh episode instead: pbrl (train resume=\S+ fresh_episode=true)", error)
        assert main(advice[1].split()) == 0
    finally:
        del gym.registry["Moody-v0"]


def _tiny(method):
    from tiny import TINY

    return TINY[method]


def _signal_at(monkeypatch, n):
    import signal

    step, count = EpisodeRecorder.step, iter(range(1, 10_000))

    def terminated(self, action):
        if next(count) == n:
            signal.raise_signal(signal.SIGTERM)
        return step(self, action)

    monkeypatch.setattr(EpisodeRecorder, "step", terminated)
    return lambda: monkeypatch.setattr(EpisodeRecorder, "step", step)


@pytest.mark.parametrize("first", [180, 210])  # a session is due at 180, and at none of the ends of 210
def test_an_extended_run_equals_one_that_was_as_long_from_the_start(first, finished, tmp_path):
    folder = tmp_path / "run"
    assert train(folder, f"steps={first}")[0] == 0
    assert main(["train", f"resume={folder}", "steps=320"]) == 0
    ours, whole = weights(folder), weights(finished())
    assert ours.keys() == whole.keys()
    assert all(torch.equal(ours[name], whole[name]) for name in whole)
    assert answers(folder) == answers(finished())
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["env_steps"]) == ("finished", 320)
    assert "steps: 320" in (folder / "config.yaml").read_text()
    rows = [int(row["env_steps"]) for row in table(folder / "evaluations.csv")]
    assert rows == sorted({0, 110, 220, 320, first})


def test_an_extended_run_of_ppo_equals_one_that_was_as_long(finished, tmp_path):
    given = ("agent.anneal_clip=false",)
    folder = tmp_path / "run"
    assert train(folder, *given, "steps=160", method="prefppo")[0] == 0
    assert main(["train", f"resume={folder}", "steps=320"]) == 0
    ours, whole = weights(folder), weights(finished(*given, method="prefppo"))
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_fewer_steps_than_there_are_is_one_line(finished, tmp_path, capsys):
    shutil.copytree(finished(), tmp_path / "run")
    for given in ([], ["steps=320"], ["steps=100"]):
        error = refused(capsys, f"resume={tmp_path / 'run'}", *given)
        assert "this run has finished at step 320" in error
        assert f"pbrl train resume={tmp_path / 'run'} steps=N with N above 320" in error
    assert (tmp_path / "run" / "summary.json").exists()
    assert "a run goes on with its own config" in refused(capsys, f"resume={tmp_path / 'run'}", "seed=3")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("data") / "set")


def offline_weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "policy.safetensors")


def test_an_extended_offline_run_equals_one_that_was_as_long(data, tmp_path):
    for name, steps in (("short", 10), ("whole", 24)):
        given = [*offline("bc", data), f"steps={steps}"]
        assert train(tmp_path / name, *given, method=None)[0] == 0
    assert main(["train", f"resume={tmp_path / 'short'}", "steps=24"]) == 0
    whole = offline_weights(tmp_path / "whole")
    assert all(torch.equal(w, whole[name]) for name, w in offline_weights(tmp_path / "short").items())


def test_a_stage_that_is_over_stays_over_in_a_longer_run(data, tmp_path):
    folder = tmp_path / "run"
    assert train(folder, *offline("paws", data), method=None)[0] == 0
    before = Checkpoints(folder / "checkpoints", 1).load(folder / "checkpoints" / "24")
    assert main(["train", f"resume={folder}", "steps=60"]) == 0
    after = Checkpoints(folder / "checkpoints", 1).load(folder / "checkpoints" / "60")
    before, after = before["parts"]["method"], after["parts"]["method"]
    assert all(torch.equal(weights, after["model"][name]) for name, weights in before["model"].items())
    assert after["advantage_updates"] == 6  # a quarter of 24


@pytest.mark.parametrize("method", ["pebble", "prefppo"])
def test_a_new_run_begins_with_the_policy_and_the_reward_of_another(method, finished, tmp_path, monkeypatch):
    from pbrl.training.run import Run

    seen, begin = [], Run._evaluate

    def look(self):
        begin(self)
        seen.append(self.last_evaluation["return_mean"])

    monkeypatch.setattr(Run, "_evaluate", look)
    source = finished(method=method)
    monkeypatch.chdir(source.parent)
    seen.clear()
    code, _, err = train(tmp_path / "run", "init=run", "agent.lr=0", "feedback.budget=0", method=method)
    assert code == 0, err
    assert f"pbrl: begins with the policy and the reward of {source}\n" in err
    assert f"run: {source}\n" in (tmp_path / "run" / "config.yaml").read_text()  # a resume works from anywhere
    theirs, ours = weights(source), weights(tmp_path / "run")
    rewards = [name for name in theirs if name.startswith("reward")]
    assert rewards
    assert all(torch.equal(theirs[name], ours[name]) for name in rewards)
    assert seen[0] == float(table(source / "evaluations.csv")[-1]["return_mean"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["agent.hidden=[8,8]"],
            r"agent.hidden is \[16, 16\] there and \[8, 8\] here; init.policy=false leaves it out",
        ),
        (["method.model.activation=tanh"], "method.model.activation is leaky_relu there and tanh here"),
        (["method.model.hidden=[9]"], r"method.model.hidden is \[8\] there and \[9\] here; init.reward=false"),
        (["env=pendulum"], "its policy does not fit this run: .* has shape"),
        (["init.policy=1"], "init.policy=1: expected true, false or null"),
        (["init.policy=false", "init.reward=false"], "nothing is taken"),
        (["init=nowhere"], "is not a run directory"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_no_folder(given, says, finished, tmp_path):
    begin = [] if given[0].startswith("init=") else [f"init={finished()}"]
    if given == ["env=pendulum"]:
        from tiny import TINY

        own = [a for a in TINY["pebble"] if "env" not in a]
        code, _, err = train(tmp_path / "run", *begin, *own, *given, method=None)
    else:
        code, _, err = train(tmp_path / "run", *begin, *given)
    assert (code, err.count("\n")) == (2, 1), err
    assert re.search(says, err)
    assert not (tmp_path / "run").exists()


def test_an_offline_run_begins_with_another(data, tmp_path):
    assert train(tmp_path / "first", *offline("bc", data), method=None)[0] == 0
    code, _, err = train(tmp_path / "next", *offline("sft", data), f"init={tmp_path / 'first'}", method=None)
    assert code == 0, err
    first, then = (table(tmp_path / name / "evaluations.csv") for name in ("first", "next"))
    assert then[0]["return_mean"] == first[-1]["return_mean"]
    code, _, err = train(tmp_path / "online", f"init={tmp_path / 'first'}")
    assert code == 2
    assert "policies of online and of offline methods do not fit" in err


def test_where_nothing_fits_no_advice_leads_in_a_circle(data, tmp_path):
    first = tmp_path / "my first"
    assert train(first, *offline("bc", data), method=None)[0] == 0
    for given in ([], ["init.policy=false"]):
        code, _, err = train(tmp_path / "run", f"init={first}", *given)
        assert (code, err.count("\n")) == (2, 1), err
        assert f"pbrl: 'init.run={first}': " in err
        assert "nothing of that run fits this one" in err
        assert "leave init.policy=false out" not in err
    assert "init.policy=false leaves it out" not in train(tmp_path / "run", f"init={first}")[2]


def test_every_folder_that_a_run_reads_is_found_from_anywhere(tmp_path, monkeypatch):
    from omegaconf import OmegaConf

    from pbrl.overrides import PATHS
    from pbrl.training.run_dir import RunDir

    monkeypatch.chdir(tmp_path)
    config = OmegaConf.create({"env": {"name": "e"}, "method": {"name": "m"}, "seed": 0, "threads": 1, "device": "cpu"})
    for key in PATHS:
        OmegaConf.update(config, key, "there", force_add=True)
    written = OmegaConf.load(RunDir.create(config, ["pbrl"]).config)
    for key in set(PATHS) - {"run_dir"}:
        assert OmegaConf.select(written, key) == str(tmp_path / "there")
