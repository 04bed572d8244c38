"""PointMaze: paths go round walls, each user's goal has its own reward, and nothing shows which one counts."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pbrl.errors import UserError
from pbrl_envs.experts import find_expert
from pbrl_envs.maze_paths import MazePaths
from pbrl_envs.point_maze import CELL, GOAL_RADIUS, LAYOUTS, POINT_RADIUS, PointMaze, cell_centre
from pbrl_envs.suites.gym import make_gym

ID = "pbrl_envs/PointMaze-v0"
COLOURS = ("red", "blue", "green", "yellow")


def test_it_passes_gymnasiums_own_check(gl_backend):
    check_env(gym.make(ID, render_mode="rgb_array", width=64, height=64, show_goal=True).unwrapped)


def test_an_episode_is_truncated_after_150_steps():
    env = make_gym(ID)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(150)]
    assert ends[-1] == (False, True)
    assert not any(map(any, ends[:-1]))


def test_without_walls_paths_are_nearly_straight_and_never_shorter():
    walls = np.pad(np.zeros((7, 7), bool), 1, constant_values=True)
    ways = MazePaths(walls, CELL, POINT_RADIUS).to(np.zeros((1, 2)))
    for position in np.random.default_rng(0).uniform(-0.7, 0.7, (300, 2)):
        straight = np.hypot(*position)
        assert straight <= ways.distances(position)[0] <= 1.03 * straight + 0.02


def test_a_path_around_a_wall_has_the_length_of_its_corners():
    walls = np.pad(np.zeros((5, 5), bool), 1, constant_values=True)
    walls[1:5, 3] = True  # |x| < 0.5 and y > -1.5: open at the bottom
    (length,) = MazePaths(walls, 1.0, 0.25).to(np.array([[1.5, 1.0]])).distances(np.array([-1.5, 1.0]))
    # From the start along a tangent to the quarter circle about the wall's corner (-0.5, -1.5), around it to its lowest
    # point, and across to the other corner.
    apart = np.hypot(1, 2.5)
    arc = np.arctan2(-1, 0) - np.arctan2(2.5, -1) - np.arccos(0.25 / apart) + 2 * np.pi
    shortest = 2 * (np.sqrt(apart**2 - 0.25**2) + 0.25 * arc) + 1
    assert 0.99 * shortest <= length <= 1.06 * shortest


def test_a_goal_inside_a_wall_is_a_programming_error():
    with pytest.raises(ValueError, match="lie in or too near a wall"):
        MazePaths(np.pad(np.zeros((3, 3), bool), 1, constant_values=True), CELL, POINT_RADIUS).to(np.array([[0.6, 0]]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_factors_are_path_lengths_and_the_reward_follows_the_goal_that_counts(layout):
    tasks = {goal: PointMaze(layout=layout, goal=goal) for goal in COLOURS}
    for seed in range(5):
        measured = {}
        for goal, task in tasks.items():
            task.reset(seed=seed)
            measured[goal] = task.measure()
        factors = measured["red"].factors
        assert all(m.factors == factors for m in measured.values())
        for goal, task in tasks.items():
            distance = factors[f"distance_{goal}"]
            assert distance >= np.hypot(*(task.goals[goal] - task.data.qpos)) - 1e-9
            assert measured[goal].reward == pytest.approx(1 - np.tanh(distance))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_success_is_being_at_the_goal_that_counts(layout):
    task = PointMaze(layout=layout, goal="blue")
    task.reset(seed=0)
    for goal, centre in task.goals.items():
        task.data.qpos[:] = centre
        measured = task.measure()
        assert measured.success == (goal == "blue")
        assert measured.factors[f"distance_{goal}"] == pytest.approx(0, abs=1e-9)
    task.data.qpos[:] = task.goals["blue"] - (GOAL_RADIUS + 0.01, 0)
    assert not task.measure().success


def test_walls_hold():
    task = PointMaze(layout="rooms")
    task.reset(seed=0)
    task.data.qpos[:] = cell_centre(1, 2)
    for _ in range(120):
        obs, *_ = task.step(np.array([1, 1], np.float32))
    np.testing.assert_allclose(obs[:2], cell_centre(1, 3) + (CELL / 2 - POINT_RADIUS), atol=0.015)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_starts_are_in_free_cells_and_differ(layout):
    task = PointMaze(layout=layout)
    starts = np.array([task.reset(seed=seed)[0][:2] for seed in range(50)])
    columns, rows = np.rint(starts[:, 0] / CELL + 4).astype(int), np.rint(4 - starts[:, 1] / CELL).astype(int)
    assert {LAYOUTS[layout][row][column] for row, column in zip(rows, columns, strict=True)} == {"."}
    middles = np.array([cell_centre(*cell) for cell in zip(rows, columns, strict=True)])
    assert np.abs(starts - middles).max() < CELL / 2 - POINT_RADIUS
    assert len(np.unique(starts, axis=0)) == 50


def test_nothing_shows_the_goal_unless_asked_for(gl_backend):
    def look(**kwargs):
        env = make_gym(ID, kwargs, render_mode="rgb_array", width=64, height=64)
        return env.reset(seed=0)[0], env.render()

    red, blue = look(goal="red"), look(goal="blue")
    for one, two in zip(red, blue, strict=True):
        np.testing.assert_array_equal(one, two)
    shown = look(goal="blue", show_goal=True)
    np.testing.assert_allclose(shown[0], [*blue[0], *cell_centre(1, 7)])
    assert (shown[1] != blue[1]).any()


@pytest.mark.parametrize("goal", COLOURS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_expert_arrives(layout, goal):
    env = make_gym(ID, {"layout": layout, "goal": goal})
    expert = find_expert(env)
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        for _ in range(150):
            obs, _, _, _, info = env.step(expert.act(obs))
        assert info["success"] == 1


def test_what_does_not_exist_is_refused():
    with pytest.raises(UserError, match="layout=hall: valid are rooms, fork, loops"):
        make_gym(ID, {"layout": "hall"})
    with pytest.raises(UserError, match="goal=pink: valid are red, blue, green, yellow"):
        make_gym(ID, {"goal": "pink"})


def test_a_forbidden_cell_is_where_nobody_starts_and_a_factor_while_the_point_is_in_it():
    task, plain = PointMaze(forbidden=[[2, 2]]), PointMaze()
    centre = cell_centre(2, 2)
    for seed in range(60):
        task.reset(seed=seed)
        assert np.abs(task.data.qpos - centre).max() > CELL / 2
    for offset, inside in ((0.0, 1.0), (0.12, 1.0), (0.13, 0.0)):
        for env in (task, plain):
            env.reset(seed=0)
            env.data.qpos[:] = centre + np.array([offset, 0])
        measured, usual = task.measure(), plain.measure()
        assert measured.factors.pop("forbidden") == inside
        assert measured == usual  # the reward knows nothing of it
    for wrong in ([[0, 0]], [[1, 1]], [[2]], [[2.5, 2]], 3):
        with pytest.raises(UserError, match="free cells as row and column"):
            PointMaze(forbidden=wrong)
