"""The tabletop arm: kinematics, what each task measures, and scripted policies that solve it."""

from importlib import import_module
from math import tanh

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import pbrl_envs  # noqa: F401
from pbrl_envs.experts import find_expert, time_limit
from pbrl_envs.measure_own import steps_per_second, tabletop_table
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.tabletop import TASKS
from pbrl_envs.tabletop.arm import BASE_X, SHOULDER_Z, Pose, grip_pose, grip_velocity, joint_angles
from pbrl_envs.tabletop.task import HIGH, LOW, closeness

STAY = {True: np.array([0, 0, 0, -1], np.float32), False: np.zeros(3, np.float32)}  # open, where there are fingers

all_tasks = pytest.mark.parametrize("name", TASKS)


def made(name):
    """The bare task after a reset."""
    task = getattr(import_module(f"pbrl_envs.tabletop.{name.lower()}"), f"Tabletop{name}")()
    task.reset(seed=0)
    return task


def stay(task, steps=1):
    """The info and reward after these steps without moving."""
    for _ in range(steps):
        _, reward, _, _, info = task.step(STAY[task.gripper])
    return reward, info


def run(env, seed, act):
    """Every observation, reward and info of an episode."""
    obs, _ = env.reset(seed=seed)
    rows, done = [], False
    while not done:
        obs, reward, terminated, truncated, info = env.step(act(obs))
        rows.append((obs, reward, info))
        assert not terminated
        done = truncated
    return rows


@all_tasks
def test_gymnasiums_own_check_passes(name, gl_backend):
    check_env(gym.make(f"pbrl_envs/Tabletop{name}-v0", render_mode="rgb_array", width=64, height=64).unwrapped)


@all_tasks
def test_the_scripted_policy_ends_in_success_within_the_horizon_and_chance_does_not(name):
    env = make_gym(f"pbrl_envs/Tabletop{name}-v0")
    expert, rng = find_expert(env), np.random.default_rng(0)
    episodes = [run(env, seed, expert.act) for seed in range(10)]
    assert {len(rows) for rows in episodes} == {TASKS[name]} == {time_limit(env)}
    assert np.mean([rows[-1][2]["success"] for rows in episodes]) >= 0.9
    chance = [run(env, seed, lambda _: env.action_space.low * rng.uniform(-1, 1)) for seed in range(3)]
    assert not any(rows[-1][2]["success"] for rows in chance)
    total = [np.mean([sum(row[1] for row in rows) for rows in both]) for both in (chance, episodes)]
    assert total[0] < 0.6 * total[1]


@all_tasks
def test_rewards_and_factors_stay_in_their_ranges_and_keep_their_names(name):
    env = make_gym(f"pbrl_envs/Tabletop{name}-v0")
    names = list(env.reset(seed=1)[1]["factors"])
    rng = np.random.default_rng(1)
    for _, reward, info in run(env, 1, lambda _: rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)):
        assert -0.5 < reward <= 1
        assert list(info["factors"]) == names
        assert all(isinstance(value, float) and 0 <= value < 2 for value in info["factors"].values())


@all_tasks
def test_without_an_action_everything_stays_where_it_is(name):
    task = made(name)
    start = task.data.qpos.copy()
    stay(task, 25)
    np.testing.assert_allclose(task.data.qpos, start, atol=2e-3)  # blocks settle into the soft table


def test_forward_kinematics_undo_the_inverse_and_agree_with_the_model():
    rng, task = np.random.default_rng(0), made("Reach")
    for position in rng.uniform(LOW, HIGH, (50, 3)):
        angles = joint_angles(Pose(*position))
        np.testing.assert_allclose(grip_pose(list(angles)), position, atol=1e-12)
        assert sum(angles[1:]) == pytest.approx(0)  # the hand points down
    for angles, rates in rng.uniform(-1, 1, (50, 2, 4)):
        task.data.qpos[:4], task.data.qvel[:4] = angles, rates
        mujoco.mj_forward(task.model, task.data)
        np.testing.assert_allclose(grip_pose(list(angles)), task.data.site("grip").xpos, atol=1e-12)
        jacobian = np.zeros((3, task.model.nv))
        mujoco.mj_jacSite(task.model, task.data, jacobian, None, task.model.site("grip").id)
        np.testing.assert_allclose(grip_velocity(list(angles), list(rates)), jacobian[:, :4] @ rates, atol=1e-12)


def test_a_point_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"1\.000 m from shoulder to wrist"):
        joint_angles(Pose(BASE_X + 1, 0, SHOULDER_Z - 0.14))


@pytest.mark.parametrize("axis", range(3))
def test_an_action_of_one_moves_the_hand_half_a_metre_a_second_along_its_axis(axis):
    task = made("Reach")
    task.place_hand(np.array([-0.1, -0.1, 0.05]))
    start = np.array(task.grip)
    for _ in range(8):  # 0.16 m
        obs, *_ = task.step(np.eye(3, dtype=np.float32)[axis])
    assert obs[3 + axis] == pytest.approx(0.5, abs=0.05)
    for _ in range(8):
        obs, *_ = task.step(np.zeros(3, np.float32))
    np.testing.assert_allclose(obs[:3] - start, 0.16 * np.eye(3)[axis], atol=2e-3)
    np.testing.assert_allclose(obs[3:6], 0, atol=5e-3)


def test_the_hand_stops_at_the_border_of_its_space():
    task = made("Reach")
    for _ in range(80):
        obs, *_ = task.step(np.array([1, -1, -1], np.float32))
    np.testing.assert_allclose(obs[:3], [HIGH[0], LOW[1], LOW[2]], atol=3e-3)


def test_reach_is_rewarded_by_its_formula():
    task = made("Reach")
    task.data.mocap_pos[0] = task.grip
    reward, info = stay(task)
    assert reward == pytest.approx(1, abs=1e-3)
    assert info["success"]
    assert info["factors"] == pytest.approx({"distance": 0, "effort": 0}, abs=1e-3)
    task.data.mocap_pos[0] += (0.03, 0.04, 0.12)
    reward, info = stay(task)
    assert reward == pytest.approx(1 - tanh(5 * 0.13), abs=1e-3)
    assert info["factors"]["distance"] == pytest.approx(0.13, abs=1e-3)
    assert not info["success"]


def test_effort_is_the_mean_squared_velocity_action_within_its_bounds():
    reach, lift = made("Reach"), made("Lift")
    assert reach.step(np.array([1, -0.5, 0], np.float32))[4]["factors"]["effort"] == pytest.approx(1.25 / 3)
    assert lift.step(np.array([5, 0, 0, 1], np.float32))[4]["factors"]["effort"] == pytest.approx(1 / 3)
    assert reach.reset(seed=1)[1]["factors"]["effort"] == 0


def test_a_puck_at_the_goal_is_success_wherever_the_hand_is():
    task = made("Push")
    task.place_hand(np.array([0.1, 0.2, 0.22]))
    task.puck[:2] = task.data.mocap_pos[0, :2] = (-0.1, -0.1)
    reward, info = stay(task)
    distance = np.hypot(0.2, np.hypot(0.3, 0.2))
    assert info["success"]
    assert info["factors"] == pytest.approx({"distance": 0, "hand_distance": distance, "effort": 0}, abs=2e-3)
    assert reward == pytest.approx(0.75 + 0.25 * (1 - tanh(5 * distance)), abs=3e-3)
    task.data.mocap_pos[0, 0] += 0.06
    assert not stay(task)[1]["success"]


def test_a_puck_that_is_pushed_moves_ahead_of_the_fingers():
    task = made("Push")
    task.place_hand(np.array([-0.1, 0, 0.03]))
    task.puck[:2] = 0, 0
    for _ in range(15):  # at 0.25 m/s, until x = 0.05
        task.step(np.array([0.5, 0, 0], np.float32))
    stay(task, 10)
    assert task.puck[0] == pytest.approx(0.05 + 0.014 + 0.035, abs=0.015)  # half a finger, radius of the puck
    assert task.puck[1] == pytest.approx(0, abs=0.01)


def test_a_grasped_block_follows_the_hand_and_an_opened_hand_drops_it():
    task = made("Lift")
    task.place_block(0, 0.0, 0.1)
    task.place_hand(np.array([0.0, 0.1, 0.03]))
    assert stay(task, 2)[1]["factors"]["grasped"] == 0  # open fingers are beside it
    for _ in range(5):
        task.step(np.array([0, 0, 0, 1], np.float32))
    for _ in range(10):  # up by 0.16 m and aside by 0.16 m
        _, _, _, _, info = task.step(np.array([0, -0.8, 0.8, 1], np.float32))
    assert info["factors"]["grasped"] == 1
    assert info["success"]
    assert info["factors"]["height"] == pytest.approx(task.grip.z - 0.03, abs=0.01)
    np.testing.assert_allclose(task.block(0), task.grip, atol=0.015)
    _, info = stay(task, 25)
    assert info["factors"]["grasped"] == info["factors"]["height"] == 0
    assert not info["success"]


def test_lifting_is_rewarded_by_its_formula():
    task = made("Lift")
    task.place_block(0, 0.1, 0.1)
    task.place_hand(np.array([0.1, 0.1, 0.13]))
    assert stay(task)[0] == pytest.approx(0.3 * closeness(0.1), abs=2e-3)
    task.data.qpos[8] = 0.03 + 0.3  # in the air, the hand below it
    task.data.qvel[:] = 0
    reward, info = stay(task)
    assert reward == pytest.approx(0.3 * closeness(0.2) + 0.5, abs=0.01)
    assert info["success"]


def test_the_gap_is_between_the_sides_of_the_blocks():
    task = made("Group")
    task.place_hand(np.array([-0.1, 0.2, 0.2]))
    task.data.mocap_pos[0, :2] = (0.1, 0.05)
    for number, x in enumerate((0.0, 0.1)):
        task.place_block(number, x, 0.0)  # on the axis through the base, so not turned
    reward, info = stay(task)
    middle = np.hypot(0.05, 0.05)
    hand = np.linalg.norm(np.array([-0.1, 0.2, 0.2]) - (0.0, 0.0, 0.03))  # to the block at x = 0, farther from the goal
    expected = {"gap": 0.04, "distance": middle, "hand_distance": hand, "effort": 0}
    assert info["factors"] == pytest.approx(expected, abs=3e-3)
    total = 0.2 * closeness(hand) + 0.4 * closeness(0.04) + 0.4 * closeness(middle)
    assert reward == pytest.approx(total, abs=0.01)
    assert not info["success"]
    task.place_block(1, 0.065, 0.0)
    task.data.mocap_pos[0, :2] = (0.03, 0.03)
    _, info = stay(task)
    assert info["factors"]["gap"] == pytest.approx(0.005, abs=2e-3)
    assert info["success"]


def test_touched_turns_on_when_a_post_is_hit_and_stays():
    task = made("Clutter")
    task.posts[:] = [(0, 0), (0.15, 0), (-0.15, 0), (0.15, -0.1)]
    task.data.mocap_pos[1:, :2] = task.posts
    task.data.mocap_pos[0] = (0, -0.2, 0.05)
    task.place_hand(np.array([0, 0.2, 0.05]))
    contacts, flags, moved = [], [], []
    for _ in range(22):  # 0.44 m through the first post
        _, _, _, _, info = task.step(np.array([0, -1, 0], np.float32))
        contacts.append(task.data.ncon > 0)
        flags.append(info["factors"]["touched"])
        moved.append(info["factors"]["moved"])
    first = contacts.index(True)
    assert flags == [0.0] * first + [1.0] * (len(flags) - first)
    assert set(moved[:first]) == {0.0}
    assert info["factors"]["distance"] < 0.03
    assert not info["success"]
    np.testing.assert_array_equal(task.posts[1:], task.data.mocap_pos[2:, :2])


def test_moved_posts_cost_by_the_formula_and_the_goal_counts_only_without():
    task = made("Clutter")
    task.data.mocap_pos[0] = task.grip
    reward, info = stay(task)
    assert reward == pytest.approx(1, abs=1e-3)
    assert info["success"]
    task.posts[0] += (0.03, 0.04)
    task.posts[1] += (0.0, -0.02)
    reward, info = stay(task)
    assert info["factors"]["moved"] == pytest.approx(0.07)
    assert reward == pytest.approx(1 - 0.5 * tanh(0.7), abs=1e-3)
    assert not info["success"]


def test_the_straight_way_through_the_posts_mostly_touches():
    env = make_gym("pbrl_envs/TabletopClutter-v0")
    ends = [run(env, seed, lambda obs: np.clip(20 * obs[7:10], -1, 1))[-1][2] for seed in range(10)]
    assert all(info["factors"]["distance"] < 0.03 for info in ends)
    assert np.mean([info["factors"]["touched"] for info in ends]) >= 0.4


@all_tasks
def test_an_episode_goes_on_exactly_from_a_saved_state_in_the_middle_of_a_grasp_or_push(name):
    env, other = (make_gym(f"pbrl_envs/Tabletop{name}-v0") for _ in "12")
    expert = find_expert(env)
    obs, _ = env.reset(seed=4)
    for _ in range(35):
        obs, *_ = env.step(expert.act(obs))
    other.reset(seed=5)
    other.load_state(env.save_state())
    for _ in range(60):
        action = expert.act(obs)
        (obs, reward, *_, info), again = env.step(action), other.step(action)
        np.testing.assert_array_equal(again[0], obs)
        assert again[1] == reward
        assert again[-1] == info


def test_the_table_of_policies_has_a_row_for_each_task():
    rows = [row.strip("| ").split(" | ") for row in tabletop_table(starts=1)][2:]
    assert [row[0] for row in rows] == list(TASKS)
    assert all(float(row[-1].split(", ")[1]) == 1 for row in rows)


@pytest.mark.parametrize("name", ["Push", "Group", "Clutter"])
def test_things_start_apart(name):
    task = made(name)
    for seed in range(40):
        task.reset(seed=seed)
        if name == "Clutter":
            places, least = task.posts, 0.075
        elif name == "Push":
            places, least = np.array([task.puck[:2], task.data.mocap_pos[0, :2]]), 0.12
        else:
            places, least = np.array([task.block(0)[:2], task.block(1)[:2], task.data.mocap_pos[0, :2]]), 0.13
        apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
        assert apart[~np.eye(len(places), dtype=bool)].min() >= least


@pytest.mark.parametrize("name", ["Reach", "Push", "Group", "Clutter"])
def test_experts_pursue_the_goal_of_another_episode(name):
    env = make_gym(f"pbrl_envs/Tabletop{name}-v0")
    expert = find_expert(env)
    here, there = (env.reset(seed=seed)[0].copy() for seed in (0, 1))
    goal = len(here) - len(expert.own)
    mixed = expert.elsewhere(here, there)
    np.testing.assert_array_equal(mixed[-goal:], there[-goal:])
    np.testing.assert_array_equal(mixed[:-goal], here[:-goal])
    env.reset(seed=0)
    task = env.unwrapped
    task.data.mocap_pos[0, :goal] = there[-goal:]
    moved = task.observe()  # the same robot if its own goal were there
    np.testing.assert_array_equal(expert.act(mixed), expert.act(moved))


@pytest.mark.parametrize("camera", ["top", "front"])
@pytest.mark.parametrize(
    ("name", "body"), [("Push", "puck"), ("Lift", "block"), ("Group", "blue"), ("Clutter", "post2")]
)
def test_what_the_hand_should_move_can_be_seen(name, body, camera, gl_backend):
    options = {"render_mode": "rgb_array", "width": 64, "height": 64, "camera": camera}
    env = make_gym(f"pbrl_envs/Tabletop{name}-v0", **options)
    env.reset(seed=0)
    task = env.unwrapped
    before = env.render().astype(int)
    address = task.model.jnt_qposadr[task.model.body(body).jntadr[0]]
    task.data.qpos[address] += 0.06
    assert (np.abs(env.render() - before).max(-1) > 30).sum() >= 8  # pixels
    env.close()


@all_tasks
def test_it_is_quick(name):
    assert steps_per_second(make_gym(f"pbrl_envs/Tabletop{name}-v0"), 500) > 500  # 10 000 and more on an idle core
