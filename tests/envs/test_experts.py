"""Scripted experts: that they solve their tasks, read only, and go on from a restored state."""

import numpy as np
import pytest
from own_tasks import Good, register

from pbrl.errors import UserError
from pbrl_envs.experts import Expert, find_expert, find_naive, time_limit
from pbrl_envs.measure import expert_table
from pbrl_envs.suites.dmc import make_dmc
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.suites.metaworld import make_metaworld

TASKS = ("button-press-topdown-v3", "drawer-open-v3", "window-open-v3", "door-open-v3")


def make_point():
    return make_gym("pbrl_envs/PointReach-v0")


def follow(env, seed, steps, stop=True):
    """Observations, states, actions, rewards and success of the expert."""
    expert = find_expert(env)
    obs, _ = env.reset(seed=seed)
    rows, success = [], 0.0
    for _ in range(steps):
        before = obs.copy()
        action = expert.act(obs)
        np.testing.assert_array_equal(obs, before)  # some of Meta-World's policies write into what they see
        state = env.save_state()
        obs, reward, _, _, info = env.step(action)
        rows.append((before, state, action, reward))
        success = max(success, info["success"])
        if success and stop:
            break
    return rows, success


@pytest.mark.parametrize("seed", range(5))
def test_the_expert_of_point_reach_reaches(seed):
    assert follow(make_point(), seed, 100)[1] == 1


@pytest.mark.usefixtures("metaworld")
@pytest.mark.parametrize("task", TASKS)
def test_experts_of_metaworld_succeed_and_go_on_from_a_restored_state(task):
    env, other = (make_metaworld(task, goal_observable=True) for _ in "12")
    rows, success = follow(env, 0, 300)
    assert success == 1
    expert = find_expert(other)
    other.reset(seed=5)  # another layout
    start = len(rows) // 2
    other.load_state(rows[start][1])
    obs = rows[start][0]
    for seen, _, action, reward in rows[start:]:
        np.testing.assert_array_equal(obs, seen)
        np.testing.assert_array_equal(expert.act(obs), action)
        obs, again, *_ = other.step(action)
        assert again == reward


@pytest.mark.usefixtures("metaworld")
def test_actions_are_float32_within_their_bounds():
    for env in (make_point(), make_metaworld("window-open-v3", goal_observable=True)):
        actions = np.array([row[2] for row in follow(env, 1, 60, stop=False)[0]])
        assert actions.dtype == np.float32
        assert np.abs(actions).max() <= 1


@pytest.mark.usefixtures("metaworld")
def test_elsewhere_the_body_is_here_and_the_goal_is_there():
    env = make_metaworld("drawer-open-v3", goal_observable=True)
    expert = find_expert(env)
    one, two = (env.reset(seed=s)[0].copy() for s in (0, 1))
    mixed = expert.elsewhere(one, two)
    np.testing.assert_array_equal(mixed[[0, 1, 2, 3, 18, 19, 20, 21]], one[[0, 1, 2, 3, 18, 19, 20, 21]])
    np.testing.assert_array_equal(mixed[[*range(4, 18), *range(22, 39)]], two[[*range(4, 18), *range(22, 39)]])
    point = Expert(lambda obs: obs, own=(0,)).elsewhere(np.array([1.0, 2]), np.array([3.0, 4]))
    assert point.tolist() == [1, 4]


@pytest.mark.usefixtures("metaworld")
def test_an_expert_that_cannot_see_its_goal_is_refused():
    with pytest.raises(UserError, match=r"the expert of reach-v3 reads the goal; set env\.goal_observable=true"):
        find_expert(make_metaworld("reach-v3", goal_observable=False))


def test_most_environments_have_none():
    assert find_expert(make_gym("Pendulum-v1")) is None
    assert find_naive(make_point()) is None


def test_an_expert_of_a_task_may_write_into_what_it_sees_and_says():
    class Writing(Good):
        said = np.zeros(1)

        def expert_action(self, obs):
            self.said[:] = obs[0]
            obs[:] = 7
            return self.said

    expert, seen = find_expert(make_gym(register(Writing))), np.float32([0.25, 3])
    actions = [expert.act(seen), expert.act(2 * seen)]
    assert seen.tolist() == [0.25, 3]
    assert [a.tolist() for a in actions] == [[0.25], [0.5]]


@pytest.mark.parametrize(("action", "expected"), [(np.zeros(2), r"0\. 0\."), ([np.nan], "nan"), (None, "nan")])
def test_an_expert_that_gives_no_action_is_named(action, expected):
    class Lost(Good):
        def expert_action(self, obs):
            return action

    with pytest.raises(UserError, match=rf"expert_action\(\) of Lost gave .*{expected}"):
        find_expert(make_gym(register(Lost))).act(np.zeros(2, np.float32))


@pytest.mark.usefixtures("metaworld", "dmc")
def test_time_limits_are_those_of_the_episodes():
    assert time_limit(make_point()) == 100
    assert time_limit(make_gym("pbrl_envs/PointReach-v0", max_episode_steps=30)) == 30
    assert time_limit(make_metaworld("reach-v3", goal_observable=True, max_episode_steps=60)) == 60
    assert time_limit(make_dmc("cartpole-swingup")) == 1000


@pytest.mark.usefixtures("metaworld")
def test_the_table_of_experts_has_a_row_for_each_task():
    *_, row = expert_table(["window-open-v3"], starts=1)
    name, ever, at_end, steps, _ = row.strip("| ").split(" | ")
    assert (name, float(ever)) == ("window-open-v3", 1)
    assert float(at_end) in (0, 1)
    assert 0 < int(steps) <= 500
