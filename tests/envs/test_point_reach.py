import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import pbrl_envs  # noqa: F401
from pbrl_envs.measure_own import steps_per_second
from pbrl_envs.point_reach import PointReach, scripted_policy
from pbrl_envs.suites.gym import make_gym

ID = "pbrl_envs/PointReach-v0"


def episode(env, seed, skill):
    rng = np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    total = 0.0
    for steps in range(1, 1000):
        obs, reward, terminated, truncated, info = env.step(scripted_policy(obs, skill, rng))
        total += reward
        if terminated or truncated:
            return total, info["success"], steps, terminated
    raise AssertionError("never truncated")


def test_it_passes_gymnasiums_own_check(gl_backend):
    check_env(gym.make(ID, render_mode="rgb_array", width=64, height=64).unwrapped)


def test_an_episode_is_truncated_after_100_steps():
    _, _, steps, terminated = episode(make_gym(ID), 0, 1.0)
    assert (steps, terminated) == (100, False)


def test_reward_is_one_at_the_goal_and_follows_its_formula():
    env = PointReach()
    env.reset(seed=0)
    env.data.mocap_pos[:] = env.data.qpos[:] = env.data.qvel[:] = 0
    _, reward, _, _, info = env.step(np.zeros(2, np.float32))
    assert reward == pytest.approx(1)
    assert info["success"]
    env.data.qpos[0] -= 0.5
    _, reward, _, _, info = env.step(np.zeros(2, np.float32))
    assert reward == pytest.approx(1 - np.tanh(2 * 0.5), abs=1e-6)
    assert info["factors"] == pytest.approx({"distance": 0.5, "effort": 0}, abs=1e-6)
    assert not info["success"]


def test_a_constant_force_reaches_the_wall_and_stays():
    env = PointReach()
    env.reset(seed=0)
    for _ in range(100):
        obs, *_ = env.step(np.array([1, -1], np.float32))
    np.testing.assert_allclose(obs[:2], [1, -1], atol=0.03)


def test_more_skill_gives_more_return_and_full_skill_arrives():
    env = make_gym(ID)
    returns = [np.mean([episode(env, seed, skill)[0] for seed in range(15)]) for skill in (0, 0.25, 0.5, 1)]
    assert returns == sorted(returns)
    assert returns[0] < 0.5 * returns[-1]
    assert all(episode(env, seed, 1.0)[1] for seed in range(15))


def test_skill_zero_is_random():
    obs = np.zeros(6, np.float32)
    rng = np.random.default_rng(0)
    actions = np.array([scripted_policy(obs, 0.0, rng) for _ in range(2000)])
    np.testing.assert_allclose(actions.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(actions.std(0), 1 / np.sqrt(3), atol=0.02)


def test_it_is_quick():
    assert steps_per_second(make_gym(ID), 2000) > 5000  # 110 000 on an idle core; slack for a busy machine


def test_the_goal_can_be_seen(gl_backend):
    env = make_gym(ID, render_mode="rgb_array", width=64, height=64)
    env.reset(seed=0)
    before = env.render()
    env.unwrapped.data.mocap_pos[0, :2] *= -1
    assert (env.render() != before).any()
