"""Every YAML in configs/env composes on its own and makes an environment."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pbrl_envs import registry

FOLDER = Path(__file__).parents[2] / "configs" / "env"
GIVEN = {"dmc": {"task": "humanoid-stand"}, "gym": {"id": "pbrl_envs/PointReach-v0"}}


def load(name, **changes):
    return OmegaConf.merge(OmegaConf.load(FOLDER / f"{name}.yaml"), GIVEN.get(name, {}), changes)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "none"))
def test_yaml_makes_the_environment_it_describes(name, request):
    config = load(name)
    if "make" in config.make:  # seen through pictures
        request.getfixturevalue("gl_backend")
    suite = registry.suites()[config.make.get("make", config.make)._target_.split(".")[2]]
    if suite.version is None:
        pytest.skip(f"not installed; get it with: {suite.install}")
    assert isinstance(config.name, str)
    env = instantiate(config.make, render_mode=None, width=64, height=64, max_episode_steps=60)
    env.reset(seed=0)
    ends = [env.step(action)[2] for action in np.full((60, *env.action_space.shape), 0.5, np.float32)]
    assert config.can_terminate or not any(ends)


def test_the_task_given_by_the_user_reaches_the_maker_and_the_run_name():
    config = load("metaworld", task="door-open-v3", goal_observable=False)
    assert (config.name, config.make.task, config.make.goal_observable) == ("door-open-v3", "door-open-v3", False)
    assert load("dmc", task="humanoid-run").make.task == "humanoid-run"
    assert load("fetch", task="FetchPush-v4").make.id == "FetchPush-v4"


@pytest.mark.parametrize(("name", "key"), [("dmc", "task"), ("gym", "id")])
def test_a_missing_task_is_marked_as_missing(name, key):
    config = OmegaConf.load(FOLDER / f"{name}.yaml")
    assert OmegaConf.is_missing(config, key)
