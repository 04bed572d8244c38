"""The sweeping tasks: what pushes moves, what counts is what geometry says, and liked behaviour is worth more."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pbrl.errors import UserError
from pbrl_envs.experts import find_expert, find_naive
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.sweeping import avoiding, grouping
from pbrl_envs.sweeping.avoiding import SweepAvoiding
from pbrl_envs.sweeping.grouping import SweepGrouping
from pbrl_envs.sweeping.world import BLOCK_RADIUS, EMBODIMENTS, GOAL_Y, TOUCH, WELL_IN

IDS = ("pbrl_envs/SweepAvoiding-v0", "pbrl_envs/SweepGrouping-v0")
STILL = np.zeros(3, np.float32)


def placed(task, agent, blocks, zone=None):
    """The task in this layout, at rest, as right after a reset."""
    task.reset(seed=0)
    task.put(agent, np.array(blocks, float))
    if zone is not None:
        task.data.mocap_pos[0, 0] = zone
    return task


def episode(env, seed, expert):
    """Return, and the info of the last step."""
    obs, _ = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        obs, reward, terminated, truncated, info = env.step(expert.act(obs))
        total, done = total + reward, terminated or truncated
    return total, info


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
@pytest.mark.parametrize("id", IDS)
def test_they_pass_gymnasiums_own_check(id, embodiment, gl_backend):
    check_env(gym.make(id, render_mode="rgb_array", width=64, height=64, embodiment=embodiment).unwrapped)


@pytest.mark.parametrize("id", IDS)
def test_all_embodiments_see_and_do_the_same_numbers(id):
    envs = [make_gym(id, {"embodiment": name}) for name in EMBODIMENTS]
    assert len({(env.observation_space.shape, env.action_space.shape) for env in envs}) == 1
    starts = np.array([env.reset(seed=5)[0] for env in envs])
    np.testing.assert_array_equal(starts, starts[:1].repeat(len(envs), 0))


@pytest.mark.parametrize(("id", "steps"), [*zip(IDS, (50, 70), strict=True)])
def test_nothing_but_the_time_limit_ends_an_episode(id, steps):
    env = make_gym(id)
    env.reset(seed=0)
    ends = [env.step(STILL)[2:4] for _ in range(steps)]
    assert ends[-1] == (False, True)
    assert not any(map(any, ends[:-1]))


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
def test_a_block_moves_with_what_pushes_it_and_stays_when_nothing_does(embodiment):
    task = placed(SweepAvoiding(embodiment=embodiment), (-0.6, -0.7, 0), [[-0.6, -0.5]])
    for _ in range(9):
        obs, *_ = task.step(np.array([0, 1, 0], np.float32))
    assert obs[8] - obs[1] == pytest.approx(TOUCH, abs=0.01)  # in contact
    assert obs[8] > -0.2
    assert obs[7] == pytest.approx(-0.6, abs=0.01)
    for _ in range(50):
        obs, *_ = task.step(STILL)
    before = obs[7:9].copy()
    np.testing.assert_allclose(task.step(STILL)[0][7:9], before, atol=1e-4)


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
def test_walls_hold_agent_and_block(embodiment):
    task = placed(SweepAvoiding(embodiment=embodiment), (-0.7, 0.3, 0), [[-0.7, 0.6]])
    for _ in range(100):
        obs, *_ = task.step(np.array([0, 1, 0], np.float32))
    assert obs[8] == pytest.approx(1 - BLOCK_RADIUS, abs=0.02)
    task = placed(SweepAvoiding(embodiment=embodiment), (0.3, 0, np.pi / 2), [[-0.7, 0.6]])
    for _ in range(100):
        obs, *_ = task.step(np.array([1, 0, 0], np.float32))
    assert 0.7 < obs[0] < 1


def test_observations_are_the_layout():
    task = placed(SweepGrouping(), (0.1, -0.7, np.pi / 2), [[0.2, 0], [-0.3, 0.1], [0.4, 0.5]])
    obs = task.observe()
    np.testing.assert_allclose(obs[:4], [0.1, -0.7, 0, 1], atol=1e-6)
    blocks = obs[7:].reshape(3, 6)
    np.testing.assert_allclose(blocks[:, :2], [[0.2, 0], [-0.3, 0.1], [0.4, 0.5]], atol=1e-6)
    np.testing.assert_allclose(blocks[:, 4:] + obs[:2], blocks[:, :2], atol=1e-6)


def test_the_reward_of_avoiding_follows_its_formula():
    task = placed(SweepAvoiding(), (0.8, -0.5, 0), [[0.8, 0.1]], zone=-0.2)
    measured = task.measure()
    assert measured.factors == pytest.approx({"distance": 0.6, "intrusion": 0, "reach": 0.6, "effort": 0})
    assert measured.reward == pytest.approx(0.2 * (1 - np.tanh(1.2)) + 0.8 * (1 - np.tanh(0.6 + WELL_IN)))
    # The middle of the block at the middle of the zone: as deep as can be, and out through the side, then up.
    task = placed(SweepAvoiding(), (0, 0.2 - 0.5, 0), [[0, 0.2]], zone=0)
    way = 0.26 + BLOCK_RADIUS + avoiding.CLEARANCE + 0.5 + WELL_IN
    expected = 0.2 * (1 - np.tanh(1)) + 0.8 * (1 - np.tanh(way)) - 6
    assert task.measure().reward == pytest.approx(expected)


def test_intrusion_is_how_far_the_edge_reaches_in():
    bottom, side, radius = 0.2 - 0.12, 0.26, BLOCK_RADIUS
    assert avoiding.intrusion(np.array([0, bottom - radius - 1e-6]), 0) == 0
    assert avoiding.intrusion(np.array([0, bottom - radius + 0.01]), 0) == pytest.approx(0.01)
    assert avoiding.intrusion(np.array([0.1 + side + radius - 0.02, 0.2]), 0.1) == pytest.approx(0.02)
    assert avoiding.intrusion(np.array([0, 0.2]), 0) == pytest.approx(radius + 0.12)
    # At a corner the edge is round: a block whose middle is radius away along the diagonal just touches.
    diagonal = np.array([side, bottom]) + radius * np.array([1, -1]) / np.sqrt(2)
    assert avoiding.intrusion(diagonal, 0) == pytest.approx(0, abs=1e-9)


def test_the_way_around_is_straight_beside_the_zone_and_two_lines_below_it():
    half_x, low = 0.26 + BLOCK_RADIUS + avoiding.CLEARANCE, 0.2 - 0.12 - BLOCK_RADIUS - avoiding.CLEARANCE
    top = GOAL_Y + WELL_IN
    assert avoiding.way_around(np.array([0.5, -0.4]), 0) == pytest.approx(top + 0.4)
    assert avoiding.way_around(np.array([0, 0.5]), 0) == pytest.approx(top - 0.5)
    assert avoiding.way_around(np.array([0.2, 0.8]), 0) == pytest.approx(0)
    expected = np.hypot(half_x, low + 0.4) + top - low
    assert avoiding.way_around(np.array([0, -0.4]), 0) == pytest.approx(expected)
    rng = np.random.default_rng(0)
    for block in rng.uniform(-0.9, 0.9, (200, 2)):
        assert avoiding.way_around(block, 0.1) >= max(top - block[1], 0) - 1e-12


def test_the_forbidden_zone_is_remembered_from_the_first_touch_to_the_end_of_the_episode():
    task = placed(SweepAvoiding(), (0, -0.8, 0), [[0, 0.2 - 0.12 - BLOCK_RADIUS - 0.001]], zone=0)
    assert not task.entered
    task.step(STILL)
    assert not task.entered
    task.put((0, -0.8, 0), np.array([[0, 0.2 - 0.12 - BLOCK_RADIUS + 0.001]]))
    task.step(STILL)
    assert task.entered
    task.put((0, -0.8, 0), np.array([[0, 0.8]]))
    info = task.step(STILL)[-1]
    assert (info["factors"]["distance"], info["success"]) == (0, False)
    task.reset(seed=1)
    assert not task.entered


def test_the_reward_of_grouping_follows_its_formula():
    task = placed(SweepGrouping(), (0, -0.5, 0), [[0, 0], [0.4, 0.3], [-0.5, 0.5]])
    measured, apart = task.measure(), 0.5 - 2 * BLOCK_RADIUS
    assert measured.factors == pytest.approx({"distance": 0.55, "gap": apart, "reach": 0.5, "effort": 0})
    together = 1 - np.tanh(2 * apart)
    expected = 0.1 * (1 - np.tanh(1)) + 0.9 * together * (1 - (0.55 + WELL_IN) / 1.3)
    assert measured.reward == pytest.approx(expected)


@pytest.mark.parametrize(("apart", "alone"), [(grouping.TOGETHER - 0.001, False), (grouping.TOGETHER + 0.001, True)])
def test_a_block_goes_alone_when_it_is_in_the_goal_zone_and_the_other_is_not_by_it(apart, alone):
    across = 2 * BLOCK_RADIUS + apart
    task = placed(SweepGrouping(), (0, -0.8, 0), [[0, GOAL_Y], [across, GOAL_Y], [-0.5, 0]])
    assert task.measure().success is not alone
    assert task.went_alone is alone
    task.put((0, -0.8, 0), np.array([[0, 0.8], [0.2, 0.8], [-0.5, 0]]))
    assert task.step(STILL)[-1]["success"] is not alone


def test_the_pair_may_be_apart_below_the_goal_zone_and_the_orange_block_may_be_anywhere():
    task = placed(SweepGrouping(), (0, -0.8, 0), [[0, 0], [0.6, 0.6], [-0.5, 0.9]])
    assert not task.measure().success
    assert not task.went_alone


@pytest.mark.parametrize(("id", "flag"), [*zip(IDS, ("entered", "went_alone"), strict=True)])
def test_a_state_holds_what_the_episode_remembers(id, flag):
    live, other = make_gym(id), make_gym(id)
    live.reset(seed=0)
    setattr(live.unwrapped, flag, True)
    other.reset(seed=1)
    other.load_state(live.save_state())
    assert getattr(other.unwrapped, flag) is True


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
@pytest.mark.parametrize("id", IDS)
def test_people_like_what_is_worth_more(id, embodiment):
    """The naive way ends in the goal zone and fails; the expert succeeds, with more return from any start."""
    env = make_gym(id, {"embodiment": embodiment})
    for seed in range(4):
        best, info = episode(env, seed, find_expert(env))
        assert info["success"] == 1
        worse, info = episode(env, seed, find_naive(env))
        assert (info["factors"]["distance"], info["success"]) == (0, 0)
        assert best > worse + 1


@pytest.mark.parametrize("id", IDS)
def test_a_shape_that_does_not_exist_is_refused(id):
    with pytest.raises(UserError, match="embodiment=hook: valid are short, medium, long, gripper"):
        make_gym(id, {"embodiment": "hook"})


@pytest.mark.parametrize("id", IDS)
def test_shapes_blocks_and_zones_can_be_told_apart_at_64_pixels(id, gl_backend):
    frames = []
    for embodiment in EMBODIMENTS:
        env = make_gym(id, {"embodiment": embodiment}, render_mode="rgb_array", width=64, height=64)
        env.reset(seed=0)
        frames.append(env.render().astype(int))
    for one in range(len(frames)):
        for two in range(one):
            assert (np.abs(frames[one] - frames[two]).max(-1) > 60).sum() >= 4
    red, green, blue = np.moveaxis(frames[0], -1, 0)
    assert (blue - red > 80).sum() >= 12  # a block
    assert (green - red > 30).sum() > 300  # the goal zone
