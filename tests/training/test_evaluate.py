import gymnasium as gym
import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl.finite import NotFinite
from pbrl.training.evaluate import Evaluator


class Countdown(gym.Env):
    """Starts at a random number of steps to go; the reward is the action, success comes in the second step alone."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, success):
        self.success = success

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left, self.t = int(self.np_random.integers(2, 9)), 0
        return np.float32([self.left, self.t]), {}

    def step(self, action):
        self.left, self.t = self.left - 1, self.t + 1
        info = {"success": float(self.t == 2)} if self.success else {}
        return np.float32([self.left, self.t]), float(action[0]), self.left == 0, False, info


def evaluator(success=True, seed=0):
    return Evaluator(lambda: Countdown(success), episodes=12, seed=seed)


def full_speed(obs):
    return np.ones((len(obs), 1), np.float32)


def test_each_episode_counts_until_its_own_end():
    result = evaluator()(full_speed)
    assert (result.returns == result.lengths).all()  # a reward of 1 per step
    assert set(result.lengths) > {2}
    assert result.lengths.max() <= 8
    row = result.row()
    assert row["return_mean"] == row["episode_length"] == result.lengths.mean()
    assert row["return_std"] == result.lengths.std()


def test_actions_go_to_the_episodes_they_were_chosen_for():
    result = evaluator()(lambda obs: np.where(obs[:, :1] == 2, 0.5, 0))  # once in each, two steps before its end
    np.testing.assert_array_equal(result.returns, 0.5)


def test_success_is_the_best_of_the_episode_and_none_where_the_task_has_none():
    assert evaluator()(full_speed).row()["success_rate"] == 1
    assert evaluator(success=False)(full_speed).row()["success_rate"] is None


def test_every_evaluation_runs_the_same_episodes_and_other_seeds_others():
    one = evaluator()
    first, again, other = one(full_speed), one(full_speed), evaluator(seed=1)(full_speed)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert not np.array_equal(first.lengths, other.lengths)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_policy_that_has_diverged_is_told(value):
    with pytest.raises(NotFinite, match="the agent gave an action that is not finite"):
        evaluator()(lambda obs: np.where(obs[:, :1] == 2, value, 0))


def test_a_return_that_is_no_number_is_told(monkeypatch):
    monkeypatch.setattr(Countdown, "step", lambda *_: (np.zeros(2, np.float32), np.nan, True, False, {}))
    with pytest.raises(UserError, match="the environment gave rewards whose sum over an episode is not finite"):
        evaluator()(full_speed)
