"""A task of the user under `pbrl train`, `eval` and `collect`: nothing wrong is learned from, and nothing is lost."""

import re

import numpy as np
import pytest
import torch
from own_tasks import LENGTH, Buffered, Good, Parts, View, changed, register, seeing
from tiny import PPO, REWARD, SAC, train

from pbrl.building import build
from pbrl.cli import main
from pbrl.config import compose_config
from pbrl.data.recorder import hidden
from pbrl.training.checkpoint import Checkpoints
from pbrl_envs import door
from pbrl_envs.suites.gym import make_gym

TINY = [
    *("steps=300", "feedback.first=60", "feedback.every=60", "feedback.per_session=4", "feedback.segment_length=5"),
    *("evaluation.every=200", "evaluation.episodes=2", "log_every=100", "checkpoint.every=50", "report=false"),
]
AGENTS = {
    "sac": ["method=pebble", "feedback.budget=8", *REWARD, *SAC],
    "ppo": ["method=prefppo", "feedback.budget=8", *REWARD, *PPO],
    "sac true": ["method=true_reward", *SAC],
}


def train_on(task, folder, *overrides, agent="sac"):
    return train(folder, *TINY, *AGENTS[agent], "env=gym", f"env.id={register(task)}", *overrides, method=None)


FAULTS = {
    "list": (seeing([0.0, 0.0]), "an observation of type list"),
    "nan": (seeing(np.full(2, np.nan)), "an observation that is not finite"),
    "reward": (changed(reward=None), "reward None"),
    "success": (changed(info={"success": None}), "info['success'] None"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_no_folder(fault, tmp_path):
    task, expected = FAULTS[fault]
    code, _, err = train_on(task, tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert re.match(r"pbrl: env=\w+-v0: the environment gave ", err)
    assert expected in err
    assert not (tmp_path / "run").exists()


class Once(Good):
    """Fails once, at the n-th observation of all instances."""

    seen, at = 0, 0

    def see(self):
        type(self).seen += 1
        return self.fail() if self.seen == self.at else super().see()


def failing_at(n, how):
    return type("Failing", (Once,), {"at": n, "seen": 0, "fail": how})


def raise_error(self):
    raise ConnectionError("motor 3 does not answer")


def give_nan(self):
    return np.array([np.nan, self.t])


def last_checkpoint(folder):
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    return int(checkpoints.last().name), checkpoints.load(checkpoints.last())


@pytest.mark.parametrize("agent", ["sac", "ppo"])
def test_a_nan_in_the_middle_stops_the_run_before_anything_learns_from_it(agent, tmp_path):
    code, _, err = train_on(failing_at(250, give_nan), tmp_path / "run", "agent.n_envs=2", "steps=320", agent=agent)
    assert (code, err.count("\n")) == (2, 1)
    assert "the environment gave an observation that is not finite: entry 0 is nan, at step" in err
    step, state = last_checkpoint(tmp_path / "run")
    assert f"go on from step {step} with: pbrl train resume={tmp_path / 'run'}" in err
    assert all(torch.isfinite(w).all() for w in state["parts"]["agent"]["parameters"]["policy"].values())
    assert main(["train", f"resume={tmp_path / 'run'}"]) == 0


def test_an_exception_is_a_sentence_above_the_traceback_and_the_run_goes_on_later(tmp_path):
    code, _, err = train_on(failing_at(250, raise_error), tmp_path / "run")
    sentence, *trace = err.splitlines()
    assert code == 2
    assert "the environment raised ConnectionError at step" in sentence
    assert re.search(r"motor 3 does not answer \(the run was at step \d+\)", sentence)
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ConnectionError: motor 3 does not answer"
    assert sum("Traceback" in line for line in trace) == 1
    assert "door.py" not in err
    command = re.search(r"with: pbrl (train resume=\S+)$", sentence)[1]
    assert main(command.split()) == 0


def test_an_exception_before_the_first_step_leaves_no_folder(tmp_path):
    code, _, err = train_on(failing_at(30, raise_error), tmp_path / "run")
    assert code == 2
    assert "resume" not in err
    assert not (tmp_path / "run").exists()


def test_an_environment_without_an_end_is_told_to_have_one(tmp_path, monkeypatch):
    monkeypatch.setattr(door, "LONGEST_EPISODE", 40)
    endless = changed(truncated=False)
    code, _, err = train_on(endless, tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "not ended after 40 steps; give the environment a time limit: with env=gym, env.max_episode_steps=" in err
    assert not (tmp_path / "run").exists()
    assert train_on(endless, tmp_path / "run", "env.max_episode_steps=30")[0] == 0


def test_eval_draws_no_clip_of_a_task_that_does_not_draw(tmp_path, capsys):
    folder = tmp_path / "run"
    assert train_on(Good, folder, "steps=40", agent="sac true")[0] == 0
    capsys.readouterr()
    assert main(["eval", str(folder), "episodes=1", "video=true"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "draws no frames" in err
    assert not (folder / "videos").exists()


def test_collect_says_what_the_environment_did(tmp_path, capsys):
    id = register(failing_at(50, raise_error))
    assert main(["collect", "env=gym", f"env.id={id}", f"out={tmp_path / 'data'}"]) == 2
    assert "the environment raised ConnectionError at step" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def make_agent(name, task, n_envs):
    id = register(task)
    own = ["agent=ppo", *PPO] if name == "ppo" else ["agent=sac", *SAC, "agent.learning_starts=1000"]
    config = compose_config(["env=gym", f"env.id={id}", *own, f"agent.n_envs={n_envs}"])
    return build(config.agent, make_env=lambda: make_gym(id), given=hidden, steps=400, seed=0, device="cpu")


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("task", [Buffered, View, Parts])
def test_what_follows_the_last_step_of_an_episode_is_its_last_observation(task, n_envs):
    agent = make_agent("sac", task, n_envs)
    agent.learn(5 * LENGTH * n_envs)
    column = 0 if task is Parts else 1
    ends = np.repeat(np.arange(1, 5) * LENGTH - 1, 8)  # whose environment's it is, is drawn
    assert set(agent.buffer.transitions(ends)[2][:, column]) == {LENGTH}
    assert set(agent.buffer.transitions(ends)[0][:, column]) == {LENGTH - 1}


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("task", [Buffered, View, Parts])
def test_ppo_bootstraps_from_the_last_observation(task, n_envs, monkeypatch):
    agent = make_agent("ppo", task, n_envs)
    seen, policy, column = [], agent.model.policy, 0 if task is Parts else 1
    values = policy.predict_values
    monkeypatch.setattr(policy, "predict_values", lambda obs: seen.append(obs[:, column].tolist()) or values(obs))
    agent.learn(3 * LENGTH * n_envs)
    assert [LENGTH] in seen
    assert {time for obs in seen for time in obs if len(obs) == 1} <= {0, LENGTH}  # 0: a rollout that ends there
