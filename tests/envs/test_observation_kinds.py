"""Observations of whole numbers, of any width and in any structure, become float32 vectors; pictures are refused."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from pbrl.data.recorder import EpisodeRecorder
from pbrl.errors import UserError
from pbrl_envs import flat_obs
from pbrl_envs.wrap import wrap

LARGEST = np.finfo(np.float64).max
INT64 = np.iinfo(np.int64)
VECTORS = {  # space, an observation of it, and the vector that it is
    "int8": (spaces.Box(-5, 5, (3,), np.int8), np.array([-5, 0, 4], np.int8), [-5, 0, 4]),
    "int64": (spaces.Box(INT64.min, INT64.max, (2,), np.int64), np.array([-(2**40), 7]), [-(2**40), 7]),
    "uint8": (spaces.Box(0, 255, (4,), np.uint8), np.array([0, 1, 254, 255], np.uint8), [0, 1, 254, 255]),
    "bool": (spaces.Box(0, 1, (3,), bool), np.array([True, False, True]), [1, 0, 1]),
    "float64": (spaces.Box(-LARGEST, LARGEST, (2,), np.float64), np.array([1.5, -2.0]), [1.5, -2]),
    "infinite": (spaces.Box(-np.inf, np.inf, (2,), np.float64), np.array([1.5, -2.0]), [1.5, -2]),
    "bits": (spaces.MultiBinary(4), np.array([1, 0, 0, 1], np.int8), [1, 0, 0, 1]),
    "table of bits": (spaces.MultiBinary([2, 2]), np.array([[1, 0], [0, 1]], np.int8), [1, 0, 0, 1]),
    "choice": (spaces.Discrete(4), 2, [0, 0, 1, 0]),
    "choice from -1 on": (spaces.Discrete(3, start=-1), -1, [1, 0, 0]),
    "choices": (spaces.MultiDiscrete([2, 3]), np.array([1, 0]), [0, 1, 1, 0, 0]),
    "parts": (
        spaces.Dict(
            {
                "b": spaces.Discrete(2),
                "a": spaces.Box(0, 9, (2, 2), np.int32),
                "c": spaces.Tuple([spaces.MultiBinary(1)]),
            }
        ),
        {"b": 1, "a": np.array([[1, 2], [3, 4]], np.int32), "c": (np.array([1], np.int8),)},
        [1, 2, 3, 4, 0, 1, 1],
    ),
}
CAMERA = spaces.Box(0, 255, (480, 640, 3), np.uint8)
REFUSED = {
    "observation['camera'] Box(0, 255, (480, 640, 3), uint8)": spaces.Dict(x=spaces.Box(-1, 1, (2,)), camera=CAMERA),
    "observation['eyes'][1] Box(0, 255, (480, 640, 3), uint8)": spaces.Dict(
        eyes=spaces.Tuple([spaces.Discrete(2), CAMERA])
    ),
    "observation['depth'] Box(0.0, 1.0, (64, 64), float32)": spaces.Dict(depth=spaces.Box(0, 1, (64, 64))),
    "Text(1, 5": spaces.Text(5),
    "observation['path'] Sequence(": spaces.Dict(path=spaces.Sequence(spaces.Box(-1, 1, (2,)))),
    "observations Box(-1.0, 1.0, (3, 3), float32)": spaces.Box(-1, 1, (3, 3)),
    "observations Box(0, 255, (480, 640, 3), uint8)": CAMERA,
}


class Given(gym.Env):
    """Shows one observation."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, space, observation=None):
        self.observation_space, self.observation = space, observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation, {}

    def step(self, action):
        return self.observation, 0.0, False, True, {}


@pytest.mark.parametrize("kind", VECTORS)
def test_numbers_of_every_kind_become_a_vector_without_a_warning(kind):
    space, given, expected = VECTORS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder = EpisodeRecorder(wrap(Given(space, given), "here"))
        first, _ = recorder.reset(seed=0)
        recorder.step(np.zeros(1, np.float32))
    (episode,) = recorder.take_finished()
    assert recorder.observation_space.shape == (len(expected),)
    for obs in (recorder.observation_space, first, episode.obs):
        assert obs.dtype == np.float32
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(episode.obs, [expected, expected])


@pytest.mark.parametrize(
    ("number", "dtype", "rounded"),
    [(2**24 + 1, np.int64, 2**24), (-(2**24) - 1, np.int32, -(2**24)), (2**63 - 1, np.uint64, 2**63)],
)
def test_a_whole_number_that_float32_does_not_know_is_spoken_of_once(number, dtype, rounded, capsys, monkeypatch):
    monkeypatch.setattr(flat_obs, "_noted", set())
    info = np.iinfo(dtype)
    space = spaces.Dict(x=spaces.Box(-1, 1, (2,)), t=spaces.Box(info.min, info.max, (2,), dtype))
    for _ in range(2):  # as of several environments of one run
        env = wrap(Given(space, {"x": np.zeros(2, np.float32), "t": np.array([3, number], dtype)}), "here")
        env.reset(seed=0)
        env.step(np.zeros(1, np.float32))
    err = capsys.readouterr().err
    assert f"env=here has the whole number {number} in an observation, which is {rounded} in float32" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [2**24, 2**24 + 2, -(2**40), 7])
def test_a_whole_number_that_float32_knows_is_none_to_speak_of(number, capsys, monkeypatch):
    monkeypatch.setattr(flat_obs, "_noted", set())
    wrap(Given(spaces.Box(-(2**62), 2**62, (2,), np.int64), np.array([3, number])), "here").reset(seed=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("start", [0, -2, 5])
def test_choices_start_anywhere_in_any_structure(start):
    """The vector is Gymnasium's own, and 1.0 stands at (number - start) of each choice."""
    table = spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.full((2, 2), start))
    deep = spaces.Tuple([table, spaces.Box(-1, 1, (2, 2))])
    space = spaces.Dict({"n": spaces.Discrete(3, start=start), "deep": deep})
    space.seed(0)
    for _ in range(20):
        given = space.sample()
        obs, _ = wrap(Given(space, given), "here").reset(seed=0)
        np.testing.assert_array_equal(obs, spaces.flatten(space, given))
        assert obs[2 + 3 + 4 + 2 + 4 :][given["n"] - start] == 1


@pytest.mark.parametrize("said", REFUSED)
def test_pictures_and_what_is_no_number_are_refused_before_they_take_memory(said, monkeypatch):
    monkeypatch.setattr(spaces, "flatten_space", None)  # would make the vector's limits
    with pytest.raises(UserError) as error:
        wrap(Given(REFUSED[said]), "here")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
