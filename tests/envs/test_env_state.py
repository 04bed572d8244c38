"""A stored simulator state shows and continues the moment it was saved at."""

import gc
import sys

import numpy as np
import pytest

from pbrl.errors import UserError
from pbrl_envs.suites.dmc import make_dmc
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.suites.metaworld import make_metaworld


def actions_for(env, steps):
    return np.random.default_rng(1).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def test_a_second_instance_renders_the_saved_moment(make_drawn):
    live, other = make_drawn(), make_drawn()
    live.reset(seed=3)
    for action in actions_for(live, 12):
        live.step(action)
    state, frame = live.save_state(), live.render()
    assert frame.shape == (48, 64, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 1  # not blank
    for action in actions_for(live, 5):
        live.step(action)

    np.testing.assert_array_equal(other.render_state(state), frame)
    other.load_state(state)
    np.testing.assert_array_equal(other.render(), frame)
    assert (live.render() != frame).any()
    live.close()
    other.close()


def test_rendering_does_not_disturb_the_running_episode(make_drawn):
    drawn, plain = make_drawn(), make_drawn()
    drawn.reset(seed=3)
    plain.reset(seed=3)
    elsewhere = drawn.save_state()
    for action in actions_for(drawn, 10):
        a, b = drawn.step(action), plain.step(action)
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1] == b[1]
        drawn.render()
        drawn.render_state(elsewhere)
    drawn.close()


def test_a_second_instance_continues_from_the_saved_moment(make):
    live, other = make(), make()
    live.reset(seed=3)
    for action in actions_for(live, 10):
        live.step(action)
    state = live.save_state()
    assert state.dtype == np.float64
    assert state.ndim == 1
    other.load_state(state)
    np.testing.assert_array_equal(other.save_state(), state)
    for action in actions_for(live, 5):
        np.testing.assert_array_equal(live.step(action)[0], other.step(action)[0])


@pytest.mark.parametrize("task", ["fish-swim", "swimmer-swimmer6", "reacher-easy", "manipulator-insert_peg"])
@pytest.mark.usefixtures("dmc", "gl_backend")
def test_dmc_states_hold_the_targets_that_tasks_move(task):
    live, other = (make_dmc(task, render_mode="rgb_array", width=64, height=64) for _ in range(2))
    live.reset(seed=1)
    other.reset(seed=2)
    np.testing.assert_array_equal(other.render_state(live.save_state()), live.render())


@pytest.mark.usefixtures("metaworld", "gl_backend")
def test_metaworld_states_hold_the_drawer_that_the_task_moves():
    live, other = (make_metaworld("drawer-open-v3", True, render_mode="rgb_array", width=64, height=64) for _ in "ab")
    live.reset(seed=1)
    other.reset(seed=2)
    before = other.unwrapped.model.body("drawer").pos.copy()
    np.testing.assert_array_equal(other.render_state(live.save_state()), live.render())
    np.testing.assert_array_equal(other.unwrapped.model.body("drawer").pos, before)
    other.load_state(live.save_state())
    np.testing.assert_array_equal(other.unwrapped.model.body("drawer").pos, live.unwrapped.model.body("drawer").pos)


@pytest.mark.usefixtures("gl_backend")
def test_environments_of_one_process_do_not_mix_up_their_pictures():
    cheetah, point = (make_gym(id, render_mode="rgb_array", width=64, height=64) for id in ("HalfCheetah-v5", POINT))
    cheetah.reset(seed=0)
    point.reset(seed=0)
    first = cheetah.render()
    assert (point.render() != first).any()
    np.testing.assert_array_equal(cheetah.render(), first)
    point.close()
    del point
    gc.collect()
    np.testing.assert_array_equal(cheetah.render(), first)

    again = make_gym("HalfCheetah-v5", render_mode="rgb_array", width=64, height=64)
    again.reset(seed=0)
    np.testing.assert_array_equal(again.render(), first)


POINT = "pbrl_envs/PointReach-v0"
PLAIN_ENV = """
import gymnasium as gym, numpy as np
class Plain(gym.Env):
    observation_space = gym.spaces.Dict({"b": gym.spaces.Box(-9, 9, (2,)), "a": gym.spaces.Discrete(3)})
    action_space = gym.spaces.Box(-5, 5, (1,), np.float64)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"a": 1, "b": np.ones(2, np.float32)}, {}
    def step(self, action):
        return {"a": 2, "b": np.full(2, action[0], np.float32)}, 1, False, False, {"is_success": True}
gym.register("Plain-v0", Plain, max_episode_steps=3)
"""


def test_an_environment_of_the_users_without_simulator_trains_but_has_no_state(tmp_path, monkeypatch):
    (tmp_path / "users_module.py").write_text(PLAIN_ENV)
    monkeypatch.syspath_prepend(tmp_path)
    env = make_gym("users_module:Plain-v0")
    np.testing.assert_array_equal(env.reset(seed=0)[0], [0, 1, 0, 1, 1])
    obs, reward, _, _, info = env.step(np.array([1], np.float32))
    np.testing.assert_array_equal(obs, [0, 0, 1, 5, 5])
    assert (reward, info["success"]) == (1.0, 1.0)
    assert not env.has_state
    assert env.save_state() is None
    with pytest.raises(UserError, match="no simulator state"):
        env.load_state(np.zeros(3))
    sys.modules.pop("users_module")


@pytest.mark.usefixtures("dmc")
def test_random_terrain_is_not_stored():
    env = make_dmc("quadruped-escape")
    env.reset(seed=0)
    assert not env.has_state
    assert env.save_state() is None


def test_a_state_of_another_environment_is_refused():
    cheetah, hopper = make_gym("HalfCheetah-v5"), make_gym("Hopper-v5")
    cheetah.reset(seed=0)
    with pytest.raises(UserError, match=r"state of env=Hopper-v5 has shape \(34,\), expected \(22,\)"):
        hopper.load_state(cheetah.save_state())


def test_render_state_says_that_it_needs_rgb_array():
    env = make_gym("HalfCheetah-v5")
    env.reset(seed=0)
    with pytest.raises(UserError, match="rendering needs rgb_array"):
        env.render_state(env.save_state())
