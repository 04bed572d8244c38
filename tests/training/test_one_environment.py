"""An environment of which there can be only one trains and evaluates; and evaluation can be switched off."""

import json
import re

import gymnasium as gym
import numpy as np
import pytest
from killed import Kill
from outcome import assert_same, table, weights
from test_resume import kill_and_resume
from tiny import TINY, collect, offline, train

from pbrl.cli import main
from pbrl.training.log import read_table


class Robot(gym.Env):
    """Refuses to be made while another one is connected, as a robot does; 30 steps, deterministic."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    connected = 0
    made = 0

    def __init__(self):
        if Robot.connected:
            raise RuntimeError("the robot is taken")
        Robot.connected += 1
        Robot.made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=3).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x = self.x + np.float32([*action, 0.1])
        return self.x.copy(), -float(abs(self.x[:2]).sum()), False, False, {"success": float(abs(self.x[0]) < 0.5)}

    def close(self):
        Robot.connected -= 1


class Simulator(Robot):
    """The same, of which there can be any number."""

    def __init__(self):
        pass

    def close(self):
        pass


gym.register("Robot-v0", Robot, max_episode_steps=30)
gym.register("Simulator-v0", Simulator, max_episode_steps=30)
ROBOT = ["env=gym", "env.id=Robot-v0", "env.name=task"]
SIMULATOR = ["env=gym", "env.id=Simulator-v0", "env.name=task"]
ALONE = "evaluation.envs=1"
METHODS = ["pebble", "prefppo"]


def given(method, *overrides):
    """The tiny run without its environment."""
    return [o for o in TINY[method] if not o.startswith(("env=", "+env."))] + list(overrides)


def ran(folder, method, *overrides):
    code, out, err = train(folder, *given(method, *overrides), method=None)
    assert code == 0, err
    return out


@pytest.fixture(autouse=True)
def nobody_connected():
    Robot.connected = Robot.made = 0
    yield
    assert Robot.connected == 0  # each was closed, once


@pytest.mark.parametrize("method", METHODS)
def test_a_robot_trains_and_evaluates_with_one_connection(method, tmp_path):
    ran(tmp_path / "run", method, *ROBOT, ALONE, "agent.n_envs=1")
    assert Robot.made == 1
    rows = table(tmp_path / "run" / "evaluations.csv")
    # Due at 110, 220 and the end, but an episode of 30 steps is not broken off.
    assert [int(row["env_steps"]) for row in rows[:3]] == [0, 120, 240]
    assert int(rows[-1]["env_steps"]) == json.loads((tmp_path / "run" / "summary.json").read_text())["env_steps"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("envs", [1, 2])
def test_evaluating_between_episodes_changes_neither_training_nor_evaluation(method, envs, tmp_path):
    due_at_ends = ["evaluation.every=60", f"agent.n_envs={envs}"]
    ran(tmp_path / "own", method, *SIMULATOR, *due_at_ends)
    ran(tmp_path / "shared", method, *SIMULATOR, *due_at_ends, ALONE)
    own, shared = weights(tmp_path / "own"), weights(tmp_path / "shared")
    assert all(bool((own[name] == shared[name]).all()) for name in own)
    rows, same = (read_table(tmp_path / folder / "evaluations.csv") for folder in ("own", "shared"))
    if method == "pebble":  # rounds of PPO end elsewhere than its episodes
        assert [row["env_steps"] for row in rows] == [row["env_steps"] for row in same]
    for i in (0, -1):  # between them, the last update of an episode comes after it
        returns = [(row[i]["return_mean"], row[i]["return_std"]) for row in (rows, same)]
        assert returns[0] == pytest.approx(returns[1], rel=1e-3)  # a forward pass of one row rounds otherwise


def test_a_shared_environment_goes_on_as_if_never_killed(run, tmp_path):
    overrides = [*TINY["pebble"], ALONE]
    ran_whole = train(tmp_path / "whole", ALONE)
    assert ran_whole[0] == 0
    kill = Kill("pbrl.data.recorder:EpisodeRecorder.step", 113)  # evaluation is due since step 110
    kill_and_resume(run, tmp_path / "run", overrides, kill)
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("wrong", [["evaluation.envs=2"], ["agent.n_envs=2", ALONE]])
def test_a_second_instance_is_refused_with_what_to_set(wrong, tmp_path):
    code, _, err = train(tmp_path / "run", *given("pebble", *ROBOT, *wrong), method=None)
    Robot.connected = 0  # the command would have ended
    assert (code, err.count("\n")) == (2, 1)
    assert "the robot is taken (beside 1 of it; if there can be only one: agent.n_envs=1 evaluation.envs=1)" in err
    assert not (tmp_path / "run").exists()


def test_eval_report_and_collect_use_a_robot_one_at_a_time(tmp_path, capsys):
    ran(tmp_path / "run", "pebble", *ROBOT, ALONE, "report=true")
    assert "Random policy" in (tmp_path / "run" / "report.html").read_text()
    assert main(["eval", str(tmp_path / "run"), "episodes=3"]) == 0
    numbers = ["episodes=6", "segments=12", "segment_length=8", "comparisons=6", "heldout=2"]
    out = [f"out={tmp_path / 'set'}", f"policies=random,run:{tmp_path / 'run'}"]
    assert main(["collect", *ROBOT, *numbers, *out]) == 0, capsys.readouterr().err


def test_eval_says_how_to_run_one_alone(tmp_path, capsys):
    ran(tmp_path / "run", "pebble", *ROBOT, ALONE)
    with (tmp_path / "run" / "config.yaml").open("r+") as file:
        text = re.sub(r"\n  envs: 1\n", "\n  envs: 25\n", file.read())
        file.seek(0)
        file.write(text)
    assert main(["eval", str(tmp_path / "run")]) == 2
    assert "if there can be only one: pbrl eval RUN_DIR envs=1" in capsys.readouterr().err
    assert main(["eval", str(tmp_path / "run"), "envs=1", "episodes=2"]) == 0


@pytest.mark.parametrize("method", METHODS)
def test_without_evaluation_a_run_ends_with_a_policy_and_no_score(method, tmp_path, capsys):
    folder = tmp_path / "run"
    off = ["evaluation.every=null", "agent.n_envs=1", "report=true"]
    assert "not evaluated (evaluation.every=null) after" in ran(folder, method, *ROBOT, *off)
    assert Robot.made == 2  # training, and the shapes that the report's policy needs
    summary = json.loads((folder / "summary.json").read_text())
    assert [summary[f"final_{name}"] for name in ("return", "success", "success_at_end")] == [None] * 3
    assert table(folder / "evaluations.csv") == []
    assert "not evaluated" in (folder / "report.html").read_text()
    assert main(["eval", str(folder), "episodes=2", "report=true"]) == 0  # by hand it can still be
    assert "return -" in capsys.readouterr().out


def test_switching_evaluation_off_changes_nothing_that_is_learned(tmp_path, finished):
    assert train(tmp_path / "run", "evaluation.every=null")[0] == 0
    evaluated, off = weights(finished()), weights(tmp_path / "run")
    assert all(bool((evaluated[name] == off[name]).all()) for name in evaluated)


def test_offline_without_evaluation_no_environment_is_made(tmp_path, monkeypatch):
    data = collect(tmp_path / "set", "labels=return")

    def refuse(*args, **kwargs):
        raise AssertionError("made an environment")

    monkeypatch.setattr("pbrl_envs.suites.gym.make_gym", refuse)
    code, out, err = train(tmp_path / "run", *offline("cpl", data), "evaluation.every=null", method=None)
    assert (code, err) == (0, "")
    assert "not evaluated (evaluation.every=null) after 60 labels (return)" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [summary[name] for name in ("final_return", "final_success", "best_window_return")] == [None] * 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("agent.hidden=[0]", "agent.hidden=[0]: expected whole numbers from 1 to 65536"),
        ("method.model.hidden=[8,-1]", "method.model.hidden=[8, -1]: expected whole numbers from 1 to 65536"),
        ("agent.hidden=[99999999]", "agent.hidden=[99999999]: expected whole numbers from 1 to 65536"),
        ("threads=100000000", "threads=100000000: expected a number from 1 to 1024"),
        ("agent.buffer_size=0", "agent.buffer_size=0: expected a whole number of at least 1"),
        (
            ("agent.buffer_size=2", "agent.n_envs=3"),
            "agent.buffer_size=2: expected at least 3, a step of each environment, or null",
        ),
        ("seed=" + "9" * 5000, "a number of more than 300 digits"),
    ],
)
def test_numbers_that_torch_or_python_would_choke_on(wrong, said, tmp_path):
    code, _, err = train(tmp_path / "run", *([wrong] if isinstance(wrong, str) else wrong))
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", ["evaluation.envs=0", "evaluation.envs=null", "evaluation.every=0"])
def test_numbers_of_evaluation_that_make_no_sense(wrong, tmp_path):
    code, _, err = train(tmp_path / "run", wrong)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{wrong.replace('null', 'None')}: expected a whole number of at least 1" in err
