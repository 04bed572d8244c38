"""What a task of the user gives is checked and copied, whatever it does with its arrays."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from own_tasks import LENGTH, Buffered, Good, Parts, ScalesInPlace, View, changed, register, seeing

from pbrl.errors import EnvError, UserError
from pbrl_envs import door
from pbrl_envs.suites.gym import make_gym

Box = gym.spaces.Box
ACTION = np.full(1, 0.5, np.float32)


def play(env, steps=2):
    env.reset(seed=0)
    for _ in range(steps):
        env.step(ACTION)


def make(task, steps=None, **options):
    return make_gym(register(task, steps), **options)


class OldReset(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class OldStep(Good):
    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or truncated, info


class NoSeed(Good):
    def reset(self):
        return super().reset()


class NoOptions(Good):
    def reset(self, seed=None):
        return super().reset(seed=seed)


class UnseededWrapper(gym.Wrapper):
    def __init__(self, **options):
        super().__init__(Good(**options))

    def reset(self):
        return self.env.reset()


class ListInfo(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], []


class FactorLost(Good):
    def step(self, action):
        *values, _ = super().step(action)
        return *values, {"factors": {"a": 1.0, "b": 2.0} if self.t == 1 else {"a": 1.0}}


FAULTS = {
    "list": (seeing([0.0, 0.0]), r"an observation of type list at a reset; expected a NumPy array of shape \(2,\)"),
    "column": (seeing(np.zeros((2, 1))), r"an observation of shape \(2, 1\) at a reset; expected \(2,\)"),
    "long": (seeing(np.zeros(3)), r"an observation of shape \(3,\) at a reset; expected \(2,\)"),
    "none": (seeing(None), "an observation of type NoneType"),
    "words": (seeing(np.array(["a", "b"])), "an observation of type <U1 at a reset; expected numbers"),
    "objects": (seeing(np.array([0.0, None])), "an observation of type object"),
    "complex": (seeing(np.zeros(2, complex)), "an observation of type complex128"),
    "nan": (seeing(np.array([0, np.nan])), "an observation that is not finite: entry 1 is nan, at a reset"),
    "old reset": (OldReset, r"gave a ndarray from reset\(\) at a reset; expected two values"),
    "old step": (OldStep, r"gave 4 values from step\(\) at step 1 of an episode; expected five values"),
    "no seed": (NoSeed, r"reset\(\) of NoSeed takes no seed; expected reset\(self, \*, seed=None, options=None\)"),
    "no options": (NoOptions, r"reset\(\) of NoOptions takes no options"),
    "unseeded wrapper": (UnseededWrapper, r"reset\(\) of UnseededWrapper takes no seed"),
    "reset info": (ListInfo, "info of type list at a reset; expected a dictionary"),
    "no info": (changed(info=None), "info of type NoneType at step 1 of an episode; expected a dictionary"),
    "no reward": (changed(reward=None), "reward None at step 1 of an episode; expected a finite number"),
    "reward array": (changed(reward=np.array([0.5])), r"reward array\(\[0.5\]\) at step 1"),
    "reward word": (changed(reward="0.5"), "reward '0.5' at step 1"),
    "reward nan": (changed(reward=np.nan), "reward nan at step 1 of an episode; expected a finite number"),
    "reward inf": (changed(reward=-np.inf), "reward -inf at step 1"),
    "reward beyond float32": (changed(reward=1e39), r"reward 1e\+39 at step 1"),
    "terminated": (changed(terminated=None), "terminated None at step 1"),
    "truncated": (changed(truncated={}), r"truncated \{\} at step 1"),
    "half truncated": (changed(truncated=0.5), "truncated 0.5 at step 1 of an episode; expected True or False"),
    "no success": (changed(info={"success": None}), r"info\['success'\] None at step 1"),
    "success array": (changed(info={"is_success": np.array([True])}), r"info\['is_success'\] array\(\[ True\]\)"),
    "success nan": (changed(info={"success": np.nan}), r"info\['success'\] nan at step 1"),
    "success percent": (changed(info={"success": 70}), r"info\['success'\] 70 at step 1 of an .* from 0 to 1"),
    "factor nan": (changed(info={"factors": {"gap": np.inf}}), "factor gap inf at step 1 of an episode"),
    "factor word": (changed(info={"factors": {"gap": "far"}}), "factor gap 'far' at step 1"),
    "factors list": (changed(info={"factors": [1.0]}), r"info\['factors'\] of type list"),
    "factor lost": (FactorLost, r"info\['factors'\] of \['a'\] at step 2 .* \['a', 'b'\] as at the first step"),
    "a part is missing": (seeing({"x": np.zeros(1)}, Parts.observation_space), r"with \['x'\] at a reset; expected"),
    "a part is nan": (
        seeing({"x": np.zeros(1), "t": np.full(1, np.nan)}, Parts.observation_space),
        r"an observation\['t'\] that is not finite: entry 0 is nan",
    ),
    "a choice": (seeing({"n": 3}, gym.spaces.Dict(n=gym.spaces.Discrete(3))), r"\['n'\] 3 at a reset; expected one of"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_training_cannot_use_is_refused_in_one_line_that_says_what_and_when(fault):
    task, expected = FAULTS[fault]
    with pytest.raises(EnvError, match=expected) as caught:
        play(make(task))
    assert str(caught.value).startswith("env=")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [0, True, np.float32(0.5), np.int64(1), np.array(0.5), np.bool_(True)],
    ids=["int", "bool", "float32", "int64", "array of no dimension", "numpy bool"],
)
def test_a_number_may_have_any_type_of_number(value):
    env = make(changed(reward=value, truncated=np.bool_(False), terminated=0, info={"is_success": value}))
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(ACTION)
    assert (reward, terminated, truncated) == (float(value), False, False)
    assert type(reward) is float
    assert info["success"] == float(value)


@pytest.mark.parametrize("task", [Good, Buffered, View, Parts])
def test_observations_stay_what_they_were(task):
    env = make(task)
    seen = [env.reset(seed=3)[0], *(env.step(ACTION)[0] for _ in range(LENGTH)), env.reset()[0]]
    column = 0 if task is Parts else 1  # the keys of a dictionary are sorted
    assert [obs[column] for obs in seen] == [*range(LENGTH + 1), 0]
    assert len({obs.tobytes() for obs in seen}) == len(seen)
    assert all(obs.flags.writeable and obs.dtype == np.float32 for obs in seen)


def test_whoever_reads_an_observation_cannot_change_the_task():
    env = make(Buffered)
    obs, _ = env.reset(seed=0)
    obs[:] = 7
    assert env.unwrapped.buffer[1] == 0


@pytest.mark.parametrize("space", [Box(-1, 1, (1,), np.float32), Box(-2, 2, (1,), np.float64)])
def test_a_task_may_write_into_its_action(space):
    class Task(ScalesInPlace):
        action_space = space

    env, action = make(Task), ACTION.copy()
    env.reset(seed=0)
    for _ in range(3):
        env.step(action)
    np.testing.assert_array_equal(action, ACTION)


@pytest.mark.parametrize(("action", "expected"), [(np.full(1, np.nan), "not finite at step 1"), (np.zeros(2), "shape")])
def test_the_environment_is_not_blamed_for_what_it_was_given(action, expected):
    env = make(Good)
    env.reset(seed=0)
    with pytest.raises(UserError, match=f"was given an action .*{expected}") as caught:
        env.step(action)
    assert not isinstance(caught.value, EnvError)


def test_info_of_a_task_is_not_written_to_and_does_not_change_later():
    given = {"is_success": 1, "factors": {"a": 1}}
    env = make(changed(info=given))
    env.reset(seed=0)
    info = env.step(ACTION)[-1]
    given["factors"]["a"] = 5
    assert info["factors"] == {"a": 1.0}
    assert given == {"is_success": 1, "factors": {"a": 5}}


def test_factors_keep_their_order_whatever_order_a_step_has():
    class Turning(Good):
        def step(self, action):
            *values, _ = super().step(action)
            names = "ab" if self.t % 2 else "ba"
            return *values, {"factors": {name: float(ord(name)) for name in names}}

    env = make(Turning)
    env.reset(seed=0)
    assert [tuple(env.step(ACTION)[-1]["factors"].items()) for _ in range(3)] == 3 * [(("a", 97.0), ("b", 98.0))]


@pytest.mark.parametrize("value", [np.array([200, 3], np.uint8), np.array([1, 0], bool), np.array([2**20, -1])])
def test_observations_of_other_numbers_become_float32(value):
    env = make(seeing(value, Box(-np.inf, np.inf, (2,), np.float64)))
    obs, _ = env.reset(seed=0)
    assert obs.dtype == np.float32
    np.testing.assert_array_equal(obs, value)


def test_an_exception_of_the_task_says_where_and_is_the_cause():
    class Breaks(Good):
        def act(self, action):
            if self.t == 3:
                raise ConnectionError("motor 3 does not answer\nat all")

    env = make(Breaks)
    with pytest.raises(EnvError, match=r"raised ConnectionError at step 3 of an episode: motor 3 does not \w+$") as e:
        play(env, 5)
    assert isinstance(e.value.__cause__, ConnectionError)


def test_a_task_that_leaves_python_does_not_end_a_run_as_if_it_had_finished():
    class Leaves(Good):
        def act(self, action):
            raise SystemExit(0)

    with pytest.raises(EnvError, match="raised SystemExit at step 1"):
        play(make(Leaves))


def test_numbers_near_and_beyond_the_end_of_float32_give_no_warnings():
    code = """
import numpy as np
from gymnasium.spaces import Box
from pbrl_envs.flat_obs import FlatObs
flat = FlatObs(Box(-np.inf, np.inf, (2,), np.float64), "here")
print(flat(np.array([3e38, -3e38]), None))
try:
    flat(np.array([0, 1e39]), lambda what, expected: ValueError(what))
except ValueError as error:
    print(error)
"""
    python = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    kept, refused = subprocess.run(python, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert kept == "[ 3.e+38 -3.e+38]"
    assert "entry 1 is 1e+39" in refused


def test_a_state_that_cannot_be_stored_names_what_it_lacks():
    class Misspelt(Good):
        sim_state_attributes = ("gaol",)

    class Growing(Good):
        sim_state_attributes = ("seen",)
        seen = ()

        def act(self, action):
            self.seen += (self.t,)

    env = make(Misspelt)
    env.reset(seed=0)
    with pytest.raises(EnvError, match="sim_state_attributes names gaol, of which no numbers can be had"):
        env.get_wrapper_attr("save_state")()
    env = make(Growing)
    play(env)
    env.get_wrapper_attr("save_state")()
    env.step(ACTION)
    with pytest.raises(EnvError, match="its state has 3 numbers now, and had 2 before"):
        env.get_wrapper_attr("save_state")()


def test_an_exception_of_the_constructor_or_the_module_is_told_as_well(tmp_path, monkeypatch):
    class Unplugged(Good):
        def __init__(self):
            raise OSError("no such port")

    with pytest.raises(EnvError, match="raised OSError when made: no such port") as caught:
        make(Unplugged)
    assert isinstance(caught.value.__cause__, OSError)
    (tmp_path / "torn_task.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvError, match="importing torn_task raised RuntimeError: no licence"):
        make_gym("torn_task:Task-v0")


def test_a_task_that_cannot_be_closed_loses_nothing(capsys):
    class Stuck(Good):
        def close(self):
            raise RuntimeError("gripper is holding something")

    make(Stuck).close()
    err = capsys.readouterr().err
    assert "raised RuntimeError when it was closed: gripper is holding something" in err
    assert err.count("\n") == 1


class Endless(Good):
    def step(self, action):
        return (*super().step(action)[:3], False, {})


def steps_until_the_end(env):
    env.reset(seed=0)
    for number in range(1, 200):
        if env.step(ACTION)[3]:
            return number
    return None


def test_an_episode_without_end_is_spoken_of_and_then_refused(monkeypatch, capsys):
    monkeypatch.setattr(door, "NOTED", 10)
    monkeypatch.setattr(door, "LONGEST_EPISODE", 30)
    with pytest.raises(EnvError, match=r"not ended after 30 steps; give the environment .*env\.max_episode_steps"):
        steps_until_the_end(make(Endless))
    err = capsys.readouterr().err
    assert "states no time limit, and an episode has not ended after 10 steps; after 30 the command stops" in err
    assert err.count("\n") == 1


def test_a_stated_limit_may_be_any_and_a_task_may_end_by_itself(monkeypatch, capsys):
    monkeypatch.setattr(door, "NOTED", 21)
    monkeypatch.setattr(door, "LONGEST_EPISODE", 30)
    assert steps_until_the_end(make(Good)) == LENGTH
    assert steps_until_the_end(make(Endless, max_episode_steps=50)) == 50
    assert steps_until_the_end(make(Endless, steps=60)) == 60
    assert steps_until_the_end(make(Endless, steps=60, max_episode_steps=5)) == 5
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_limit_is_a_number_of_steps(steps):
    with pytest.raises(UserError, match=f"max_episode_steps={steps}: expected a whole number of at least 1"):
        make(Good, max_episode_steps=steps)


def test_who_cannot_draw_says_so_only_when_asked():
    class Plain(Good):
        def __init__(self, render_mode=None):
            self.render_mode = render_mode

    class Forgets(Good):
        def __init__(self, render_mode=None):
            pass

    make(Good).reset(seed=0)
    with pytest.raises(UserError, match="draws no frames: its constructor takes no render_mode"):
        make(Good, render_mode="rgb_array")
    for task in (Plain, Forgets):
        env = make(task, render_mode="rgb_array")
        env.reset(seed=0)
        with pytest.raises(UserError, match="draws no frames with render_mode=rgb_array"):
            env.render()


def test_an_exception_while_drawing_is_told(tmp_path):
    class Torn(Good):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def __init__(self, render_mode=None):
            self.render_mode = render_mode

        def render(self):
            raise ZeroDivisionError("no window")

    env = make(Torn, render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(EnvError, match="raised ZeroDivisionError when it was drawn: no window"):
        env.render()
