"""What training relies on: spaces, seeds, ends of episodes, success."""

import gymnasium as gym
import numpy as np
import pytest

from pbrl_envs.suites.dmc import make_dmc
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.suites.metaworld import make_metaworld
from pbrl_envs.suites.robotics import make_robotics


def random_actions(env: gym.Env, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def roll(env: gym.Env, actions: np.ndarray, seed: int | None) -> tuple[list[np.ndarray], list[float]]:
    """Observations and rewards of one episode, up to its end."""
    observations, rewards = [env.reset(seed=seed)[0]], []
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        observations.append(obs)
        rewards.append(reward)
        if terminated or truncated:
            break
    return observations, rewards


def last_step(env: gym.Env, steps: int) -> tuple[int, bool, bool]:
    env.reset(seed=0)
    for number, action in enumerate(random_actions(env, steps), start=1):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return number, terminated, truncated
    return steps, False, False


def test_spaces_are_float32_vectors_with_actions_between_minus_one_and_one(make):
    env = make()
    assert env.observation_space.dtype == env.action_space.dtype == np.float32
    assert len(env.observation_space.shape) == 1
    np.testing.assert_array_equal(env.action_space.low, -1)
    np.testing.assert_array_equal(env.action_space.high, 1)


def test_observations_lie_in_their_space_and_rewards_are_finite(make):
    env = make()
    observations, rewards = roll(env, random_actions(env, 30), seed=1)
    assert all(env.observation_space.contains(obs) and np.isfinite(obs).all() for obs in observations)
    assert all(isinstance(reward, float) and np.isfinite(reward) for reward in rewards)


def test_seed_and_actions_determine_everything_whatever_happened_before(make):
    used, fresh = make(), make()
    actions = random_actions(used, 50)
    first = roll(used, actions, seed=7)
    roll(used, actions[::-1], seed=8)
    roll(used, actions[:20], seed=None)
    for other in (roll(used, actions, seed=7), roll(fresh, actions, seed=7)):
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])


def test_every_reset_draws_a_new_start_from_the_seed(make):
    env = make()
    starts = [env.reset(seed=3)[0], env.reset()[0], env.reset()[0], env.reset(seed=4)[0]]
    assert all((a != b).any() for i, a in enumerate(starts) for b in starts[:i])
    again = [env.reset(seed=3)[0], env.reset()[0], env.reset()[0]]
    np.testing.assert_array_equal(starts[:3], again)


def test_halfcheetah_is_truncated_after_1000_steps():
    assert last_step(make_gym("HalfCheetah-v5"), 1100) == (1000, False, True)


def test_hopper_falls_and_that_is_a_termination():
    number, terminated, truncated = last_step(make_gym("Hopper-v5"), 1000)
    assert number < 200
    assert terminated
    assert not truncated


@pytest.mark.usefixtures("dmc")
@pytest.mark.parametrize("task", ["walker-walk", "acrobot-swingup", "lqr-lqr_2_1"])
def test_dmc_is_truncated_after_1000_steps(task):
    assert last_step(make_dmc(task), 1100) == (1000, False, True)


@pytest.mark.usefixtures("dmc")
def test_dmc_discount_zero_is_a_termination():
    env = make_dmc("lqr-lqr_2_1")  # ends when position and velocity vanish
    env.reset(seed=0)
    env.load_state(np.zeros_like(env.save_state()))
    assert env.step(np.zeros(1, np.float32))[2:4] == (True, False)


@pytest.mark.usefixtures("metaworld")
def test_metaworld_is_truncated_after_500_steps():
    assert last_step(make_metaworld("drawer-open-v3", True), 600) == (500, False, True)


@pytest.mark.usefixtures("robotics")
def test_fetch_is_truncated_after_50_steps():
    assert last_step(make_robotics("FetchReach-v4"), 60) == (50, False, True)


def test_max_episode_steps_overrides_the_horizon(make):
    env = make(max_episode_steps=5)
    assert last_step(env, 10) == (5, False, True)


def test_actions_are_scaled_to_the_range_of_the_environment():
    env = make_gym("Pendulum-v1")
    env.reset(seed=0)
    env.step(np.array([1.0], np.float32))
    assert env.unwrapped.last_u == 2.0  # Pendulum's torque lies in [-2, 2]


@pytest.mark.parametrize(
    "name",
    [
        "drawer-open-v3",
        "FetchReach-v4",
        *(f"pbrl_envs/{task}-v0" for task in ("PointReach", "PointMaze", "SweepAvoiding", "SweepGrouping")),
    ],
)
@pytest.mark.usefixtures("metaworld", "robotics")
def test_success_is_reported_at_each_step_where_the_suite_knows_it(name):
    maker = {"d": lambda id: make_metaworld(id, True), "F": make_robotics, "p": make_gym}[name[0]]
    env = maker(name)
    env.reset(seed=0)
    assert all(env.step(action)[-1]["success"] in (0.0, 1.0) for action in random_actions(env, 5))


@pytest.mark.usefixtures("metaworld")
def test_metaworld_goal_is_seen_or_zero():
    seen, hidden = make_metaworld("reach-v3", True), make_metaworld("reach-v3", False)
    np.testing.assert_allclose(seen.reset(seed=0)[0][-3:], seen.unwrapped._target_pos, rtol=1e-6)
    np.testing.assert_array_equal(hidden.reset(seed=0)[0][-3:], 0)
    np.testing.assert_array_equal(seen.unwrapped._target_pos, hidden.unwrapped._target_pos)


@pytest.mark.usefixtures("dmc", "robotics")
def test_dict_observations_are_flattened_in_sorted_order():
    walker = make_dmc("walker-walk")  # height, orientations, velocity
    assert walker.reset(seed=0)[0][0] == np.float32(walker.unwrapped._env.physics.torso_height())
    fetch = make_robotics("FetchReach-v4")  # achieved_goal, desired_goal, observation
    np.testing.assert_allclose(fetch.reset(seed=0)[0][3:6], fetch.unwrapped.goal, rtol=1e-6)
