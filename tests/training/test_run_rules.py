"""What a run does at its edges: no answers, no end of an episode, two processes, imported answers."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny import COMMON, REWARD, SAC, train

from pbrl.agents.exploration import StateEntropy
from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.training.start import resume, start
from pbrl_envs.point_reach import PointReach

TINY_PEBBLE = [*COMMON, *REWARD, *SAC]


def config_of(folder, *overrides):
    return compose_config([*TINY_PEBBLE, f"run_dir={folder}", *overrides])


def make_run(folder, *overrides):
    return start(config_of(folder, *overrides), ["test"])


def test_without_an_answer_the_agent_goes_on_exploring(tmp_path):
    run = make_run(tmp_path / "run", "teacher=skip", "teacher.skip=1", "teacher.bpref_compat=false")
    run.parts.desk.teacher.threshold = lambda eps, steps: np.inf
    run.train()
    buffer = run.parts.agent.buffer
    assert run.parts.desk.counts.skipped > 0
    assert run.method.updates == run.labels == 0
    assert isinstance(buffer.source, StateEntropy)
    assert not buffer.rewards.any()


def test_the_critic_starts_afresh_once_at_the_first_session_with_answers(tmp_path):
    run, resets = make_run(tmp_path / "run"), []
    answer, reset = run.parts.desk.teacher.answer, run.parts.agent.reset_critic

    def skips_the_first_session(left, right):
        answers = answer(left, right)
        return answers._replace(answered=answers.answered & (run.parts.desk.sessions > 1))

    run.parts.desk.teacher.answer = skips_the_first_session
    run.parts.agent.reset_critic = lambda: (resets.append(run.parts.agent.env_steps), reset())
    run.train()
    assert resets == [180]  # sessions are due at 120 and 180


def test_no_session_at_the_last_step(tmp_path):
    run = make_run(tmp_path / "run", "steps=180")
    run.train()
    assert run.parts.desk.sessions == 1  # at 120; at 180 there is nobody left to learn


def asked_pairs(run):
    with LabelStore(run, create=False) as labels:
        left, right = labels.segments([q.id for q in labels.queries()])
    return left.ids, right.ids


def test_no_clip_is_compared_with_itself_where_an_episode_is_one_segment(tmp_path):
    given = ["feedback.segment_length=30", "feedback.pool_episodes=3", "feedback.per_session=12", "steps=250"]
    code, _, err = train(tmp_path / "run", *given)
    assert code == 0, err
    left, right = asked_pairs(tmp_path / "run")
    assert len(left) == 3 * 12  # at 120, 180 and 240
    assert (left != right).all()


def test_a_session_waits_for_a_second_segment(tmp_path):
    given = ["feedback.segment_length=30", "feedback.first=31", "feedback.budget=6", "steps=100"]
    code, _, err = train(tmp_path / "run", *given)
    assert code == 0, err
    assert err.count("questions wait for a second segment") == 1
    left, right = asked_pairs(tmp_path / "run")
    assert len(left) == 6
    assert (left != right).all()


def test_a_pool_of_one_segment_is_refused(tmp_path):
    code, _, err = train(tmp_path / "run", "feedback.segment_length=30", "feedback.pool_episodes=1")
    assert code == 2
    assert "a question compares two; give feedback.pool_episodes=2" in err
    assert not (tmp_path / "run").exists()
    shorter = ["feedback.segment_length=29", "feedback.pool_episodes=1", "steps=130"]
    assert train(tmp_path / "shorter", *shorter)[0] == 0  # as the message says
    left, right = asked_pairs(tmp_path / "shorter")
    assert (left != right).all()


def test_equal_answers_are_not_decisive(tmp_path, monkeypatch):
    """In a task that pays nothing all segments are equal, and the oracle says so."""
    monkeypatch.setattr("pbrl_envs.point_reach.PointReach.step", unpaid(PointReach.step))
    run = make_run(tmp_path / "run", "feedback.budget=12")
    run.train()
    counts = run.parts.desk.counts
    assert (counts.asked, counts.decisive, counts.equal) == (12, 0, 12)


def unpaid(step):
    def free(self, action):
        obs, _, *rest = step(self, action)
        return obs, 0.0, *rest

    return free


def test_a_diverged_run_ends_at_its_next_evaluation(tmp_path):
    run = make_run(tmp_path / "run")
    act = run.parts.agent.act
    run.parts.agent.act = lambda *args, **more: act(*args, **more) * (np.nan if run.step >= 200 else 1)
    with pytest.raises(
        UserError, match="the agent gave an action that is not finite at step 220: the run has diverged"
    ):
        run.train()
    assert not run.folder.summary.exists()


def test_a_config_that_cannot_be_built_leaves_no_folder(tmp_path):
    code, _, err = train(tmp_path / "run", "env=gym", "env.id=NoSuch-v0", method=None)
    assert code == 2
    assert "NoSuch-v0" in err
    assert not (tmp_path / "run").exists()


def test_two_processes_cannot_train_one_run(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="by another process"):
        resume(tmp_path / "run", config_of(tmp_path / "run"))
    run.folder.unlock()
    resume(tmp_path / "run", config_of(tmp_path / "run")).folder.unlock()


def test_imported_answers_are_learned_from_and_cost_no_budget(finished, tmp_path):
    from pbrl.cli import main

    assert main(["labels", "export", str(finished()), f"out={tmp_path / 'set'}"]) == 0
    run = make_run(tmp_path / "run", "feedback.budget=12", "seed=1")
    assert main(["labels", "import", str(tmp_path / "run"), f"from={tmp_path / 'set'}"]) == 0
    run.train()
    with LabelStore(finished(), create=False) as labels:
        brought = labels.counts()["answers"]
    assert run.labels == 12
    assert len(run.method.preferences) == 12 + brought


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("feedback.first=320", "valid are 1 to 319"),
        ("method.fit.patience=2", "set feedback.heldout"),
        ("method.model.crop=[5,20]", "exceeds feedback.segment_length=10"),
        ("agent=ppo", "drives sac"),
        ("device=tpu", "valid are cpu, cuda, auto"),
    ],
)
def test_settings_that_do_not_fit_each_other(wrong, says, tmp_path):
    given = [a for a in TINY_PEBBLE if not (wrong == "agent=ppo" and a.startswith("agent."))]
    code, _, err = train(tmp_path / "run", *given, wrong, method=None)
    assert (code, err.count("\n")) == (2, 1)
    assert says in err
    assert not (tmp_path / "run").exists()


def test_sb3s_own_sac_refuses_an_interval_it_would_ignore(tmp_path):
    code, _, err = train(tmp_path / "run", "agent=sac_sb3", "agent.target_update_interval=2")
    assert code == 2
    assert "valid are divisors" in err


def test_too_short_a_run_says_how_many_questions_it_asks(tmp_path):
    _, _, err = train(tmp_path / "run", "feedback.budget=500")
    assert "320 steps have time for 24 of 500 questions" in err


def test_the_console_script_finds_modules_of_the_working_directory(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import gymnasium as gym\n"
        "gym.register('Mine-v0', entry_point='gymnasium.envs.classic_control:PendulumEnv', max_episode_steps=40)\n"
    )
    script = [sys.executable, "-c", "import sys; sys.path.remove(''); from pbrl.cli import main; sys.exit(main())"]
    settings = [a for a in TINY_PEBBLE if "env" not in a]
    args = ["train", "env=gym", "env.id=mine:Mine-v0", *settings, "run_dir=run"]
    done = subprocess.run([*script, *args], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
