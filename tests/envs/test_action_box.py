"""Either both ends of a task's box are reached and nothing leaves it, or one line refuses it."""

import gymnasium as gym
import numpy as np
import pytest
from own_tasks import Good, register

from pbrl.errors import UserError
from pbrl_envs.action_box import ActionBox
from pbrl_envs.suites.gym import make_gym

Box = gym.spaces.Box
BOXES = {
    "unit": Box(-1, 1, (2,), np.float32),
    "unit float64": Box(-1, 1, (2,), np.float64),
    "all but unit": Box(np.float32([-1, -0.999995]), np.float32([0.999995, 1])),
    "torque": Box(-2, 2, (2,), np.float32),
    "uneven": Box(np.float32([0.1, -3]), np.float32([0.7, 1e-3])),
    "uneven float64": Box(np.array([0.1, 1e16]), np.array([0.7, 1e16 + 2]), dtype=np.float64),
    "half": Box(-0.3, 0.4, (2,), np.float16),
    "all of float32": Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (2,), np.float32),
    "all of float64": Box(-1.7e308, 1.7e308, (2,), np.float64),
    "whole numbers": Box(0, 10, (2,), np.int64),
    "bytes": Box(0, 255, (2,), np.uint8),
    "signed bytes": Box(-128, 127, (2,), np.int8),
    "all of int32": Box(-(2**31), 2**31 - 1, (2,), np.int32),
    "two": Box(0, 1, (2,), np.int8),
    "bools": Box(0, 1, (2,), bool),
    "one is fixed": Box(np.float32([-1, 0.5]), np.float32([1, 0.5])),
    "one whole number is fixed": Box(np.array([0, 3]), np.array([5, 3]), dtype=np.int32),
    "all are fixed": Box(0.1, 0.1, (2,), np.float64),
}


def act(box, value):
    return ActionBox(box, "env=it")(np.full(2, value, np.float32))


@pytest.mark.parametrize("name", BOXES)
def test_the_ends_are_met_and_nothing_leaves_the_box(name):
    box = BOXES[name]
    np.testing.assert_array_equal(act(box, -1), box.low)
    np.testing.assert_array_equal(act(box, 1), box.high)
    for value in (*np.linspace(-1, 1, 41), np.nextafter(np.float32(1), np.float32(0)), -7, 7):
        given = act(box, value)
        assert given.dtype == box.dtype
        assert box.contains(given)


@pytest.mark.parametrize("name", BOXES)
def test_actions_of_the_task_come_back(name):
    box, ours = BOXES[name], ActionBox(BOXES[name], "env=it")
    given = ours(np.float32([-0.4, 0.9]))
    unit = ours.unit(given)
    assert (np.abs(unit) <= 1).all()
    np.testing.assert_array_equal(ours(unit) if box.dtype.kind != "f" else given, given)
    np.testing.assert_allclose(ours(unit).astype(np.float64), given.astype(np.float64), rtol=1e-3)


def test_whole_numbers_are_the_nearest():
    given = [int(act(BOXES["whole numbers"], a)[0]) for a in (-1, -0.91, -0.89, 0, 0.25, 0.89, 1)]
    assert given == [0, 0, 1, 5, 6, 9, 10]


def test_scaling_is_exact_where_the_box_lies_around_zero():
    actions = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    ours = ActionBox(Box(-0.4, 0.4, (2,), np.float32), "env=it")
    np.testing.assert_array_equal([ours(a) for a in actions], actions * np.float32(0.4))


def test_a_fixed_component_knows_no_other_value():
    unit = ActionBox(BOXES["one is fixed"], "env=it").unit(np.array([[0.0, 0.5], [0.0, 0.7]]))
    np.testing.assert_array_equal(unit, [[0, 0], [0, np.inf]])


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        (Box(-1, 1, (0,), np.float32), "at least one number to act with"),
        (Box(-1, np.inf, (2,), np.float32), "a bounded Box of one dimension"),
        (Box(-np.inf, 1, (2,), np.float64), "a bounded Box of one dimension"),
        (Box(-1, 1, (2, 3), np.float32), "a bounded Box of one dimension"),
        (Box(-1, 1, (), np.float32), "a bounded Box of one dimension"),
        (Box(-(2**60), 2**60, (2,), np.int64), r"whole numbers within 2\^53"),
        (gym.spaces.Discrete(4), "a bounded Box of one dimension"),
        (gym.spaces.MultiDiscrete([3, 3]), "a bounded Box of one dimension"),
        (gym.spaces.Dict(a=Box(-1, 1)), "a bounded Box of one dimension"),
        (None, "a bounded Box of one dimension"),
    ],
    ids=str,
)
def test_other_spaces_are_refused_in_one_line(space, problem):
    class Task(Good):
        action_space = space

    with pytest.raises(UserError, match=f"has actions .*; pbrl needs {problem}") as caught:
        make_gym(register(Task))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_task_gets_what_its_box_says():
    class Task(Good):
        action_space = BOXES["bytes"]

        def act(self, action):
            self.got = action

    env = make_gym(register(Task))
    env.reset(seed=0)
    env.step(np.float32([-1, 1]))
    assert env.unwrapped.got.tolist() == [0, 255]
    assert env.unwrapped.got.dtype == np.uint8
