"""One environment of each kind, made on demand."""

from collections.abc import Callable
from functools import partial

import gymnasium as gym
import pytest

from pbrl_envs import registry
from pbrl_envs.suites.dmc import make_dmc
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.suites.metaworld import make_metaworld
from pbrl_envs.suites.robotics import make_robotics

SAMPLES = {
    "HalfCheetah-v5": ("gym", make_gym),
    "Hopper-v5": ("gym", make_gym),
    "Pendulum-v1": ("gym", make_gym),
    "pbrl_envs/PointReach-v0": ("gym", make_gym),
    "pbrl_envs/PointMaze-v0": ("gym", make_gym),
    "pbrl_envs/SweepAvoiding-v0": ("gym", make_gym),
    "pbrl_envs/SweepGrouping-v0": ("gym", make_gym),
    **{f"pbrl_envs/Tabletop{task}-v0": ("gym", make_gym) for task in ("Reach", "Push", "Lift", "Group", "Clutter")},
    "walker-walk": ("dmc", make_dmc),
    "finger-turn_easy": ("dmc", make_dmc),
    "drawer-open-v3": ("metaworld", partial(make_metaworld, goal_observable=True)),
    "push-v3": ("metaworld", partial(make_metaworld, goal_observable=False)),
    "FetchReach-v4": ("robotics", make_robotics),
    "FetchPush-v4": ("robotics", make_robotics),
}


def need(suite: str) -> None:
    found = registry.suites()[suite]
    if found.version is None:
        pytest.skip(f"{suite} is not installed; get it with: {found.install}")


@pytest.fixture(params=SAMPLES)
def make(request: pytest.FixtureRequest) -> Callable[..., gym.Env]:
    """`make(**options)` for each sample environment in turn."""
    suite, maker = SAMPLES[request.param]
    need(suite)
    return partial(maker, request.param)


@pytest.fixture(params=[name for name in SAMPLES if name != "Pendulum-v1"])
def make_drawn(request: pytest.FixtureRequest, gl_backend: str) -> Callable[..., gym.Env]:
    """The same for those that MuJoCo draws, with small frames."""
    suite, maker = SAMPLES[request.param]
    need(suite)
    return partial(maker, request.param, render_mode="rgb_array", width=64, height=48)


@pytest.fixture
def dmc() -> None:
    need("dmc")


@pytest.fixture
def metaworld() -> None:
    need("metaworld")


@pytest.fixture
def robotics() -> None:
    need("robotics")
