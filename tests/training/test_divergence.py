"""NaN and infinity end a run before anything learns from them or is saved; the line and the log say what came."""

import math

import numpy as np
import pytest
import torch
from outcome import table
from tiny import collect, offline, train

from pbrl.cli import main
from pbrl.methods.offline import OfflineMethod
from pbrl.rewards.partial_return import PartialReturn
from pbrl.training.log import read_table
from pbrl.training.run import Run


def one_line(err):
    """The last; what comes before is progress."""
    return err.splitlines()[-1]


def steps_kept(folder):
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def poison_at(monkeypatch, owner, name, n, poison):
    """The n-th call's result is `poison(result)`, and all later ones."""
    original, count = getattr(owner, name), iter(range(1, 100_000))

    def poisoned(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        return poison(self, result) if next(count) >= n else result

    monkeypatch.setattr(owner, name, poisoned)


def spoil_weights(module):
    with torch.no_grad():
        next(iter(module.parameters())).fill_(math.nan)


@pytest.mark.parametrize(("method", "agent"), [("pebble", "sac"), ("pebble", "sac_sb3"), ("prefppo", "ppo")])
def test_an_agent_whose_weights_are_spoilt_stops_the_run_and_spares_the_checkpoint(
    method, agent, tmp_path, monkeypatch
):
    from pbrl.agents.sb3 import SB3Agent

    def spoil(self, episodes):
        if self.env_steps >= 160:
            spoil_weights(self.model.policy.actor if hasattr(self.model, "actor") else self.model.policy.action_net)
        return episodes

    poison_at(monkeypatch, SB3Agent, "learn", 1, spoil)
    code, _, err = train(tmp_path / "run", f"agent={agent}", "checkpoint.every=80", method=method)
    assert code == 2
    line = one_line(err)
    assert line.startswith("pbrl: the agent gave ")
    assert "the run has diverged; the checkpoint of step 80 is kept" in line
    assert f"begun with init={tmp_path / 'run'}, a lower learning rate of the agent may help" in line
    assert steps_kept(tmp_path / "run") == ["80", "last"]
    assert not (tmp_path / "run" / "policy.zip").exists()


def test_a_reward_that_is_nan_ends_the_run_before_the_agent_learns_from_it(tmp_path, monkeypatch):
    from pbrl.methods.pebble import Pebble

    poison_at(monkeypatch, Pebble, "of_steps", 1, lambda self, rewards: rewards * math.nan)
    code, _, err = train(tmp_path / "run")
    assert code == 2
    assert one_line(err).startswith("pbrl: the reward model gave a reward that is not finite at step ")


def test_a_loss_that_is_nan_is_seen_in_the_log_and_ends_the_run(tmp_path, monkeypatch):
    from pbrl.agents.buffers import LearnedRewardBuffer

    def spoil(self, rows):  # which every backend draws
        self.rewards[:] = np.nan
        return rows

    poison_at(monkeypatch, LearnedRewardBuffer, "_draw", 150, spoil)
    code, _, err = train(tmp_path / "run", method="true_reward")
    assert code == 2
    assert "the agent gave a critic_loss (nan) that is not finite" in one_line(err)
    rows = read_table(tmp_path / "run" / "progress.csv")
    assert math.isnan(rows[-1]["train/critic_loss"])
    assert math.isfinite(rows[-2]["train/critic_loss"])


def test_a_reward_model_that_gives_nan_is_named_before_the_agent_learns_from_it(tmp_path, monkeypatch):
    poison_at(monkeypatch, PartialReturn, "step_reward", 8, lambda _, reward: reward * np.inf)
    code, _, err = train(tmp_path / "run", "checkpoint.every=100")
    assert code == 2
    assert one_line(err).startswith("pbrl: the reward model gave a reward that is not finite at step ")
    assert "a lower learning rate of the reward model may help" in err


def test_a_fit_of_the_reward_that_diverges_is_named(tmp_path, monkeypatch):
    poison_at(monkeypatch, PartialReturn, "update", 3, lambda _, metrics: metrics | {"loss": math.nan})
    code, _, err = train(tmp_path / "run")
    assert code == 2
    assert one_line(err).startswith("pbrl: the reward model gave a loss (nan) that is not finite at step 120")
    assert "the checkpoint of step 75 is kept" in err


def test_at_step_0_no_learning_rate_is_blamed(tmp_path, monkeypatch):
    begin = Run._evaluate

    def spoilt(self):
        spoil_weights(self.parts.agent.model.policy.actor)
        begin(self)

    monkeypatch.setattr(Run, "_evaluate", spoilt)
    code, _, err = train(tmp_path / "run")
    assert code == 2
    assert "the agent gave an action that is not finite at step 0, before it has learned anything" in one_line(err)
    assert "learning rate" not in err


@pytest.mark.parametrize(("method", "who", "n"), [("bc", "the agent", 5), ("paws", "the reward model", 5)])
def test_an_offline_run_stops_too(method, who, n, tmp_path, monkeypatch):
    def spoil(self, metrics):
        return {name: math.nan if name.endswith("loss") else value for name, value in metrics.items()}

    data = collect(tmp_path / "data")
    poison_at(monkeypatch, OfflineMethod, "step", n, spoil)
    code, _, err = train(tmp_path / "run", *offline(method, data), "checkpoint.every=3", method=None)
    assert code == 2
    line = one_line(err)
    assert line.startswith(f"pbrl: {who} gave a ")
    assert f"at step {n}: the run has diverged; the checkpoint of step 3 is kept" in line
    assert steps_kept(tmp_path / "run") == ["3", "last"]
    assert any(value == "nan" for value in table(tmp_path / "run" / "progress.csv")[-1].values())


def test_spoilt_weights_of_an_offline_run_are_never_saved(tmp_path, monkeypatch):
    data = collect(tmp_path / "data")
    poison_at(monkeypatch, OfflineMethod, "step", 9, lambda self, metrics: spoil_weights(self.actor) or metrics)
    code, _, err = train(tmp_path / "run", *offline("bc", data), method=None)
    assert code == 2
    assert "the agent gave a " in one_line(err)
    assert steps_kept(tmp_path / "run") == ["7", "last"]


def test_what_is_not_known_is_nan_in_the_log_and_a_report_copes(tmp_path):
    given = ["teacher=skip", "teacher.skip=0.9", "teacher.bpref_compat=false", "report=true"]
    code, _, err = train(tmp_path / "run", *given)
    assert code == 0, err
    assert (tmp_path / "run" / "report.html").exists()
    assert main(["eval", str(tmp_path / "run"), "episodes=1"]) == 0


@pytest.mark.parametrize("method", ["pebble", "heron"])  # and one that scales by what it gives
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_reward_that_no_fit_has_spoilt_is_refused_before_anything_is_computed_from_it(method, tmp_path, monkeypatch):
    poison_at(monkeypatch, PartialReturn, "step_reward", 1, lambda _, reward: reward * np.inf)
    code, _, err = train(tmp_path / "run", method=method)
    assert code == 2
    line = one_line(err)
    assert line.startswith("pbrl: the reward model gave a reward that is not finite at step 120, before it has learned")
    assert "learning rate" not in line


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_reward_that_a_fit_has_spoilt_is_refused_too(tmp_path, monkeypatch):
    poison_at(monkeypatch, PartialReturn, "step_reward", 2, lambda _, reward: reward * np.inf)
    code, _, err = train(tmp_path / "run")
    assert code == 2
    assert "a lower learning rate of the reward model may help" in one_line(err)


def test_a_folder_with_a_space_is_quoted_as_a_shell_needs_it(tmp_path):
    from pbrl.finite import AGENT, NotFinite
    from pbrl.training.checkpoint import Checkpoints
    from pbrl.training.divergence import explain_divergence

    run = tmp_path / "my run"
    run.mkdir()
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    checkpoints.save(7, {}, {})
    said = str(explain_divergence(NotFinite(AGENT, "an action"), 9, True, checkpoints, run))
    assert f"begun with 'init={run}', a lower" in said
