import json
import math
import signal

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from outcome import answers, table, weights
from tiny import LEARNERS, OF_A_RUN, TINY, VIDEOS, WITH_DEMONSTRATIONS, train

from pbrl.config import compose_config, options
from pbrl.data.recorder import EpisodeRecorder
from pbrl.feedback import samplers
from pbrl.teachers.scripted import ScriptedTeacher
from pbrl.training.build import build_run
from pbrl.training.run_dir import RunDir
from pbrl.types import Answers

ONLINE = [name for name in options("method") if name not in {**LEARNERS, **VIDEOS, **OF_A_RUN, **WITH_DEMONSTRATIONS}]
LEARNING = [name for name in ONLINE if name not in ("true_reward", "safe")]  # which are given the true reward
OF_THE_TRUE_REWARD = {"rollout/ep_rew_mean", "reward/true_accuracy", "reward/corr_true", "return_mean", "return_std"}


def numbers(folder, name="progress", without=()):
    """Rows of a CSV file as numbers; None where there is no value."""
    rows = table(folder / f"{name}.csv")
    without = {*without, "context"}  # which is a word
    return [{k: float(v) if v else None for k, v in row.items() if k not in without} for row in rows]


def column(folder, key, name="progress"):
    return [row[key] for row in numbers(folder, name)]


def same_weights(one, other):
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def prefers_the_nearer(self, left, right):
    """A teacher who looks at the screen: the segment that ends nearer to the goal, with no number from the task."""
    gap = [(s.obs[:, -1, :2] - s.obs[:, -1, 4:]).norm(dim=1) for s in (left, right)]
    return Answers((gap[1] < gap[0]).float(), torch.ones(len(left)).bool())


@pytest.mark.parametrize("method", LEARNING)
def test_nothing_is_learned_from_the_true_reward(method, tmp_path, monkeypatch):
    monkeypatch.setattr(ScriptedTeacher, "answer", prefers_the_nearer)
    step = TimeLimit.step  # outside of the door, which refuses such a reward
    assert train(tmp_path / "known", method=method)[0] == 0
    monkeypatch.setattr(TimeLimit, "step", lambda self, action: (*(o := step(self, action))[:1], math.nan, *o[2:]))
    monkeypatch.setattr("pbrl.training.evaluate._require_finite", lambda returns: None)  # or it would end the run
    assert train(tmp_path / "nan", method=method)[0] == 0
    assert same_weights(tmp_path / "known", tmp_path / "nan")
    for name in ("progress", "evaluations"):
        rows = numbers(tmp_path / "nan", name, without=OF_THE_TRUE_REWARD)
        assert rows == numbers(tmp_path / "known", name, without=OF_THE_TRUE_REWARD)
        assert all(value is None or math.isfinite(value) for row in rows for value in row.values())
    assert all(torch.isfinite(w).all() for w in weights(tmp_path / "nan").values())
    assert np.isnan(column(tmp_path / "nan", "return_mean", "evaluations")).all()  # so it was NaN indeed


@pytest.mark.parametrize("method", ONLINE)
def test_all_figures_are_finite_and_progress_is_seen_from_every_side(method, finished):
    folder = finished(method=method)
    rows = numbers(folder)
    assert all(value is None or math.isfinite(value) for row in rows for value in row.values())
    seen = {key.split("/")[0] for row in rows for key, value in row.items() if value is not None}
    learns = "model" in compose_config([f"method={method}"]).method
    alone = {"rlif_random": {"feedback"}, "barfi": {"reward"}, "cmorl": {"front"}, "cmorl_conditioned": {"front"}}
    own = alone.get(method, {"reward", "feedback"} if learns or "spo" in method else set())
    assert seen == {"time", "rollout", "train"} | own


@pytest.mark.parametrize("method", ["pebble", "prefppo"])
def test_evaluation_never_disturbs_training(method, finished, tmp_path):
    assert train(tmp_path / "run", "evaluation.every=37", "evaluation.episodes=3", method=method)[0] == 0
    assert same_weights(finished(method=method), tmp_path / "run")
    assert len(table(tmp_path / "run" / "evaluations.csv")) > len(table(finished(method=method) / "evaluations.csv"))


def test_the_seed_decides_the_numbers_and_how_often_one_looks_does_not(finished, tmp_path):
    looks = ["log_every=200", "checkpoint.every=400", "checkpoint.keep=3"]
    assert train(tmp_path / "same", *looks)[0] == train(tmp_path / "other", "seed=1")[0] == 0
    assert same_weights(finished(), tmp_path / "same")
    assert not same_weights(finished(), tmp_path / "other")
    assert answers(finished()) == answers(tmp_path / "same") != answers(tmp_path / "other")


def test_a_run_has_its_files_and_says_what_came_out(finished):
    folder = finished()
    expected = {
        "config.yaml", "command.txt", "versions.json", "progress.csv", "tensorboard", "evaluations.csv",
        "labels.sqlite", "episodes", "checkpoints", "policy.zip", "reward.safetensors", "summary.json", ".lock",
    }  # fmt: skip
    assert {p.name for p in folder.iterdir()} == expected
    summary = json.loads((folder / "summary.json").read_text())
    last = numbers(folder, "evaluations")[-1]
    facts = {"env": "point_reach", "method": "pebble", "agent": "SACAgent", "teacher": "oracle", "seed": 0}
    facts |= {"status": "finished", "env_steps": 320, "labels": 24, "final_return": last["return_mean"]}
    facts |= {"final_success": last["success_rate"], "final_success_at_end": last["success_at_end"]}
    assert summary.items() >= facts.items()
    assert summary["reward_updates"] == max(n for n in column(folder, "reward/updates") if n is not None) > 0


def test_the_last_policy_is_evaluated_logged_and_saved_whatever_the_intervals(finished):
    folder = finished()  # 320 steps, evaluated every 110, logged every 25
    assert column(folder, "env_steps", "evaluations") == [0, 110, 220, 320]
    assert column(folder, "time/total_timesteps")[-2:] == [300, 320]
    assert (folder / "checkpoints" / "last").read_text() == "320\n"


def test_tensorboard_shows_the_same_under_the_same_names(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished() / "tensorboard"))
    board.Reload()
    rows = numbers(finished())
    for tag in ("rollout/ep_rew_mean", "rollout/ep_learned_rew_mean", "train/critic_loss", "reward/accuracy"):
        shown = [(e.step, pytest.approx(e.value, rel=1e-5)) for e in board.Scalars(tag)]
        assert shown == [(row["time/total_timesteps"], row[tag]) for row in rows if row[tag] is not None]
    assert {"eval/mean_reward", "eval/mean_ep_length", "eval/success_rate"} <= set(board.Tags()["scalars"])


def make_run(folder, *overrides, method="pebble"):
    config = compose_config([*TINY[method], f"run_dir={folder}", *overrides])
    return build_run(config, RunDir.create(config, []))


def sessions(folder):
    """Environment steps of each session and how many questions it asked."""
    steps = [env_steps for _, env_steps, *_ in answers(folder)]
    return {step: steps.count(step) for step in sorted(set(steps))}


def test_a_wanted_spread_of_the_reward_is_what_the_agent_gets(tmp_path):
    run = make_run(tmp_path / "run", "method.reward_std=3.0", method="heron")
    assert run.train()
    method, buffer = run.method, run.parts.agent.buffer
    obs, actions, _ = run.parts.episodes.recent_steps(5000)
    assert method.scale != 1
    assert method.step_reward(obs, actions).std() == pytest.approx(3, rel=0.2)  # of the last session's episodes
    buffer.label_pending()
    known = buffer.observations[:320, 0], buffer.actions[:320, 0]
    np.testing.assert_allclose(buffer.rewards[:320, 0], method.step_reward(*known), rtol=1e-4, atol=1e-5)


def test_sessions_come_when_due_until_the_budget_is_spent(finished, tmp_path):
    assert sessions(finished()) == {120: 6, 180: 6, 240: 6, 300: 6}
    assert train(tmp_path / "run", "feedback.budget=16")[0] == 0
    assert sessions(tmp_path / "run") == {120: 6, 180: 6, 240: 4}


def test_a_session_waits_for_the_first_episode(tmp_path):
    assert train(tmp_path / "run", "feedback.first=10", "feedback.every=1000")[0] == 0
    assert sessions(tmp_path / "run") == {50: 6}  # an episode ends at 30, the next row of the log is at 50


@pytest.mark.parametrize(("counts", "asked", "labels"), [("asked", 6 + 3, 3 + 2), ("answered", 6 + 6 + 3 + 1, 9)])
def test_a_skipped_question_is_charged_as_the_config_says(counts, asked, labels, tmp_path, monkeypatch):
    def skips_every_other(self, left, right):
        return Answers(torch.ones(len(left)), torch.arange(len(left)) % 2 == 0)

    monkeypatch.setattr(ScriptedTeacher, "answer", skips_every_other)
    run = make_run(tmp_path / "run", f"feedback.counts={counts}", "feedback.budget=9")
    assert run.train()
    got = run.parts.desk.counts
    assert (got.asked, got.skipped, got.labels) == (asked, asked - labels, labels)
    assert len(run.method.preferences) == labels


def test_a_teacher_who_skips_everything_ends_no_run(tmp_path, monkeypatch):
    def skips(self, left, right):
        return Answers(torch.full((len(left),), math.nan), torch.zeros(len(left)).bool())

    monkeypatch.setattr(ScriptedTeacher, "answer", skips)
    assert train(tmp_path / "run")[0] == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["labels"], summary["reward_updates"]) == (0, 0)


def test_the_first_session_ends_exploring_and_replaces_the_critic_once(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    agent, events = run.parts.agent, []

    def noted(name, method):
        def call(*args):
            events.append((name, agent.env_steps))
            method(*args)

        return call

    for name in ("set_reward", "reset_critic", "update"):
        monkeypatch.setattr(agent, name, noted(name, getattr(agent, name)))
    assert agent.buffer.source is run.method.explore
    run.train()
    first, *later = [("set_reward", step) for step in (120, 180, 240, 300)]
    assert events == [first, ("reset_critic", 120), ("update", 120), *later]
    assert agent.buffer.source is run.method


def test_after_each_session_every_stored_reward_is_the_learned_one(tmp_path):
    run = make_run(tmp_path / "run")
    run.train()
    buffer, model = run.parts.agent.buffer, run.method.model
    buffer.label_pending()
    learned = model.step_reward(buffer.observations[:320, 0], buffer.actions[:320, 0])
    np.testing.assert_allclose(buffer.rewards[:320, 0], learned, rtol=1e-5, atol=1e-6)
    assert learned.std() > 0


def test_the_first_questions_are_uniform_and_the_next_are_the_samplers(tmp_path, monkeypatch):
    asked, choose = [], samplers.disagreement

    def noted(model, left, right, n, *rest):
        asked.append((len(left), n))
        return choose(model, left, right, n, *rest)

    monkeypatch.setattr(samplers, "disagreement", noted)
    make_run(tmp_path / "run").train()
    assert asked == [(18, 6)] * 3  # 3 candidates for each of 6 questions, in 3 of 4 sessions


def test_a_segment_longer_than_any_episode_is_one_clear_line(tmp_path):
    code, _, err = train(tmp_path / "run", "feedback.segment_length=31", "feedback.budget=24")
    assert code == 2
    assert "feedback.segment_length=31" in err
    assert "30" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("usual_signals")
def test_ctrl_c_in_the_last_round_is_a_finished_run(tmp_path, monkeypatch):
    step, count = EpisodeRecorder.step, iter(range(1, 10_000))

    def interrupted(self, action):
        if next(count) == 318:
            signal.raise_signal(signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(EpisodeRecorder, "step", interrupted)
    assert train(tmp_path / "run")[0] == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


def test_a_finished_run_is_not_resumed(finished):
    from pbrl.cli import main

    assert main(["train", f"resume={finished()}"]) == 2


def test_the_true_reward_agent_learns_from_it_and_needs_no_labels(tmp_path):
    run = make_run(tmp_path / "run", method="true_reward")
    run.train()
    rewards = run.parts.agent.buffer.rewards[:320, 0]
    assert rewards.min() > 0  # as point_reach gives
    np.testing.assert_allclose(rewards[:30].sum(), run.parts.episodes.recent_steps(320)[2][:30].sum(), rtol=1e-6)
    assert not any((tmp_path / "run" / name).exists() for name in ("labels.sqlite", "reward.safetensors"))
