"""Runs and episodes that are too short for questions, or just long enough."""

import gymnasium as gym
import numpy as np
import pytest
from tiny import train

from pbrl.cli import main
from pbrl.collection.collect import assemble
from pbrl.errors import UserError
from pbrl.labels.store import LabelStore


class OneStep(gym.Env):
    """The reward is the action; each episode is one step. `ends`: by terminating, else by a limit of its own."""

    observation_space = gym.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, ends=False):
        self.ends = ends

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), float(action[0]), self.ends, not self.ends, {}


@pytest.fixture(autouse=True)
def one_step():
    gym.register("OneStep-v0", OneStep)
    gym.register("Ending-v0", OneStep, kwargs={"ends": True})
    gym.register("Limited-v0", OneStep, max_episode_steps=1)
    yield
    for id in ("OneStep-v0", "Ending-v0", "Limited-v0"):
        del gym.registry[id]


ONE = ["env=gym", "feedback.segment_length=1", "feedback.budget=12"]


@pytest.mark.parametrize("id", ["OneStep-v0", "Ending-v0", "Limited-v0"])
def test_episodes_of_one_step_are_compared_by_segments_of_one_step(id, tmp_path):
    code, _, err = run_one(tmp_path / "run", id)
    assert code == 0, err
    with LabelStore(tmp_path / "run", create=False) as store:
        comparisons = store.comparisons()
    assert len(comparisons) == 12
    gain = (comparisons.right.actions - comparisons.left.actions).flatten()
    assert ((gain > 0) == (comparisons.prefers_right > 0.5)).all()  # the oracle prefers the larger action


def run_one(folder, id, *more):
    small = ["agent.hidden=[8]", "method.model.hidden=[8]", "method.explore=null", "evaluation.episodes=1"]
    times = ["steps=160", "feedback.first=60", "feedback.every=30", "feedback.per_session=6"]
    return train(folder, f"env.id={id}", *ONE, *small, *times, *more, method=None)


def test_a_segment_longer_than_the_time_limit_is_refused_before_a_step_is_made(tmp_path):
    code, _, err = train(tmp_path / "run", "feedback.segment_length=31")
    assert (code, err) == (
        2, "pbrl: feedback.segment_length=31: episodes end after 30 steps; valid are 1 to 30 steps\n"
    )  # fmt: skip
    assert not (tmp_path / "run").exists()
    code, _, err = run_one(tmp_path / "run", "Limited-v0", "feedback.segment_length=2")
    assert code == 2
    assert "valid is 1 step" in err


def test_a_run_that_ends_before_its_first_rollout_can_be_asked_about_is_refused(tmp_path):
    code, _, err = train(tmp_path / "run", "agent.n_steps=200", method="prefppo")  # 400 of 320 steps
    assert code == 2
    assert "too short for questions" in err
    assert "step 400" in err


@pytest.mark.parametrize(("steps", "said"), [(320, False), (330, True)])
def test_a_run_that_ends_with_its_rollout_says_where(steps, said, tmp_path):
    code, _, err = train(tmp_path / "run", f"steps={steps}", method="prefppo")  # rollouts of 40 steps
    assert code == 0, err
    assert ("this run takes 360, not 330" in err) == said


def test_a_run_that_may_end_before_its_first_episode_says_so(tmp_path):
    code, _, err = train(tmp_path / "run", "steps=30", "feedback.first=20", "agent.learning_starts=10")
    assert code == 0
    assert "steps=30 may be too short for questions" in err
    assert "over at step 30" in err


@pytest.mark.parametrize("teacher", ["human", "replay"])
def test_collect_refuses_a_teacher_that_cannot_answer_before_it_collects(teacher, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pbrl.collection.collect.collect_episodes", lambda *_, **__: pytest.fail("collected"))
    assert main(["collect", "env=point_reach", f"teacher={teacher}", f"out={tmp_path / 'data'}"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "valid are scripted teachers" in err


def test_import_refuses_such_a_teacher_in_the_same_words(tmp_path):
    from omegaconf import OmegaConf

    teacher, plan = OmegaConf.create({"name": "human"}), None  # refused before the plan is looked at
    with pytest.raises(UserError, match="valid are scripted teachers"):
        assemble(tmp_path / "data", {}, [], np.zeros(0), plan, ["return"], {}, teacher, print)
