import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from own_tasks import LENGTH, Buffered, Parts, ScalesInPlace, View, register

from pbrl.data.recorder import EpisodeRecorder, hidden
from pbrl.seeds import episode_seed
from pbrl_envs.suites.gym import make_gym


class Walk(gym.Env):
    """A random walk that depends on everything before it; reward and success are easy to know."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, ends_at=None):
        self.ends_at = ends_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.normal(size=2)
        return self.x.astype(np.float32), {}

    def step(self, action):
        self.t += 1
        self.x = self.x + float(action[0]) + self.np_random.normal(size=2)
        info = {"success": float(self.t == 2)}
        return self.x.astype(np.float32), self.t / 10, self.t == self.ends_at, False, info


def recorder(limit=5, ends_at=None, given=hidden, seed=0):
    env = EpisodeRecorder(TimeLimit(Walk(ends_at), limit), given)
    env.reset(seed=seed)
    return env


def play(env, steps, seed=0):
    """Random actions, with a reset wherever an episode ends; all observations."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(steps):
        obs, _, terminated, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        seen.append(obs)
        if terminated or truncated:
            seen.append(env.reset()[0])
    return np.array(seen)


def test_an_episode_has_one_observation_more_than_actions_and_says_how_it_ended():
    cut, ended = recorder(limit=5), recorder(limit=5, ends_at=3)
    seen = play(cut, 5)
    play(ended, 3)
    (first,), (second,) = cut.take_finished(), ended.take_finished()
    assert (first.obs.shape, first.actions.shape, first.terminated, len(first)) == ((6, 2), (5, 1), False, 5)
    assert (second.terminated, len(second)) == (True, 3)
    np.testing.assert_array_equal(first.obs[1:], seen[:5])
    np.testing.assert_allclose(first.true_reward, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert first.success == 1  # at its best, though the last step said 0
    assert cut.take_finished() == []


@pytest.mark.parametrize(("hide", "rewards"), [(True, [0, 0]), (False, [0.1, 0.2])])
def test_the_agent_sees_the_reward_only_where_it_may(hide, rewards):
    env = recorder(given=hidden if hide else None)
    steps = [env.step(np.zeros(1)) for _ in rewards]
    assert [reward for _, reward, *_ in steps] == rewards
    assert [info for *_, info in steps] == [{}, {}]  # nor any hint of it


def test_a_nan_reward_is_recorded_but_never_shown():
    env = EpisodeRecorder(gym.wrappers.TransformReward(TimeLimit(Walk(), 2), lambda _: np.nan), hidden)
    env.reset(seed=0)
    assert [env.step(np.zeros(1))[1] for _ in range(2)] == [0, 0]
    assert np.isnan(env.take_finished()[0].true_reward).all()


def test_episodes_are_fixed_by_seed_and_number():
    one, same, other = recorder(seed=3), recorder(seed=3), recorder(seed=4)
    np.testing.assert_array_equal(play(one, 12), play(same, 12))
    assert not np.array_equal(play(recorder(seed=3), 12), play(other, 12))
    starts = [e.obs[0].tolist() for e in one.take_finished()]
    assert starts[0] != starts[1]
    assert len({episode_seed(s, e) for s in range(30) for e in range(30)}) == 900


def test_a_restored_recorder_is_in_the_middle_of_the_same_episode():
    old, new = recorder(limit=50), recorder(limit=50, seed=9)
    play(old, 130)  # the third episode, step 30
    old.take_finished()
    state = old.state_dict()
    last = new.load_state_dict(state)
    np.testing.assert_array_equal(last, old._obs[-1])
    np.testing.assert_array_equal(play(new, 70, seed=1), play(old, 70, seed=1))
    for a, b in zip(old.take_finished(), new.take_finished(), strict=True):
        for name in ("obs", "actions", "true_reward", "terminated", "success"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_restoring_between_two_episodes_starts_the_second():
    old, new = recorder(limit=5), recorder(limit=5)
    start = play(old, 5)[-1]
    assert len(old.state_dict()["actions"]) == 0
    np.testing.assert_array_equal(new.load_state_dict(old.state_dict()), start)


@pytest.mark.parametrize("task", [Buffered, View, ScalesInPlace, Parts])
def test_replay_restores_a_task_that_writes_into_its_arrays(task):
    id = register(task)
    old, new = (EpisodeRecorder(make_gym(id), hidden) for _ in range(2))
    old.reset(seed=0)
    new.reset(seed=5)
    played = play(old, 3 * LENGTH + 7)
    state = old.state_dict()
    np.testing.assert_array_equal(new.load_state_dict(state), played[-1])
    np.testing.assert_array_equal(state["actions"], np.float32(np.random.default_rng(0).uniform(-1, 1, (67, 1)))[-7:])
    np.testing.assert_array_equal(play(new, 30, seed=1), play(old, 30, seed=1))
    first = old.take_finished()[0]
    assert first.obs[:, 0 if task is Parts else 1].tolist() == [*range(LENGTH + 1)]


@pytest.mark.parametrize("name", ["pbrl_envs/PointReach-v0", "Hopper-v5"])
def test_replay_restores_a_mujoco_task_bit_by_bit_with_its_states(name):
    old, new = (EpisodeRecorder(make_gym(name), hidden) for _ in range(2))
    old.reset(seed=0)
    new.reset(seed=5)
    play(new, 3)  # another history must leave no trace
    play(old, 130)
    new.load_state_dict(old.state_dict())
    old.take_finished()
    np.testing.assert_array_equal(play(new, 120, seed=1), play(old, 120, seed=1))
    for a, b in zip(old.take_finished(), new.take_finished(), strict=True):
        assert a.states.shape == (len(a) + 1, a.states.shape[1])
        np.testing.assert_array_equal(a.states, b.states)
