"""policy.zip in a Python that has Stable-Baselines3 and neither pbrl nor pbrl_envs."""

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium.spaces import Box
from own_tasks import Good, register
from stable_baselines3 import PPO, SAC

from pbrl_envs.suites.gym import make_gym

SITE = Path(stable_baselines3.__file__).parents[1]
TASKS = '''
import gymnasium as gym, numpy as np
from gymnasium.spaces import Box, Dict, Discrete

class Task(gym.Env):
    """Observations and actions in odd units."""
    action_space = Box(np.float32([-2, 3, 0]), np.float32([2, 4, 100]))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}
    def step(self, action):
        assert self.action_space.contains(np.asarray(action, np.float32)), action
        return self.observation_space.sample(), float(action[2]), False, False, {}

class Flat(Task):
    observation_space = Box(-30, 70, (4,), np.float64)

class Named(Task):
    observation_space = Dict(z=Box(-30, 70, (2, 2), np.float32), a=Box(0, 9, (1,), np.float64), kind=Discrete(3))

gym.register("Flat-v0", Flat, max_episode_steps=9)
gym.register("Named-v0", Named, max_episode_steps=9)
'''
ELSEWHERE = f"""
import importlib.util, json, sys
sys.path += [{str(SITE)!r}, "."]
assert not importlib.util.find_spec("pbrl") and not importlib.util.find_spec("pbrl_envs")
import numpy as np, gymnasium as gym, stable_baselines3, tasks
found = {{}}
for name in sys.argv[1:]:
    id, kind = name.split(".")[0], name.split(".")[1]
    model = getattr(stable_baselines3, kind).load(name, device="cpu")
    env = gym.make(id)
    obs, _ = env.reset(seed=3)
    found[name] = model.predict(obs, deterministic=True)[0].tolist()
    model.set_env(env)
    model.learn(40)
    assert type(model).__module__.startswith("stable_baselines3"), type(model)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """The module of the tasks, in a folder where a Python without pbrl finds it too."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tasks.py").write_text(TASKS)
    sys.path.append(str(folder))
    importlib.import_module("tasks")
    yield folder
    sys.path.remove(str(folder))
    del sys.modules["tasks"]
    for id in ("Flat-v0", "Named-v0"):
        del gym.registry[id]


def in_own_units(action, space):
    return (space.low + (space.high - space.low) * (action.astype(float) + 1) / 2).astype(np.float32)


def agents(make_sac, make_ppo, id):
    numbers = {"make_env": lambda: make_gym(f"tasks:{id}"), "given": None}
    yield "SAC.fast", make_sac(**numbers)
    yield "SAC.plain", make_sac(plain=True, n_envs=2, **numbers)
    yield "PPO.norm", make_ppo(**numbers)
    yield "PPO.gauss", make_ppo(use_sde=False, normalise_obs=False, **numbers)


def test_a_policy_acts_and_learns_on_the_task_itself_where_pbrl_is_not_installed(tasks, make_sac, make_ppo):
    expected = {}
    for id in ("Flat-v0", "Named-v0"):
        for name, agent in agents(make_sac, make_ppo, id):
            agent.learn(64)
            agent.save(str(tasks / f"{id}.{name}.zip"))
            obs, _ = make_gym(f"tasks:{id}").reset(seed=3)
            action = agent.act(obs[None], deterministic=True)[0]
            expected[f"{id}.{name}.zip"] = in_own_units(action, gym.make(id).action_space)
    command = [sys.executable, "-S", "-c", ELSEWHERE, *expected]
    result = subprocess.run(command, cwd=tasks, capture_output=True, text=True, timeout=600, env={})
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert len(found) == 8
    for name, action in expected.items():
        np.testing.assert_allclose(found[name], action, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("id", ["Flat-v0", "Named-v0"])
def test_spaces_are_those_of_the_task(tasks, make_sac, make_ppo, id, tmp_path):
    spaces = gym.make(id).observation_space, gym.make(id).action_space
    for name, agent in agents(make_sac, make_ppo, id):
        agent.save(str(tmp_path / "policy.zip"))
        loaded = (SAC if name.startswith("SAC") else PPO).load(tmp_path / "policy.zip", device="cpu")
        assert (loaded.observation_space, loaded.action_space) == spaces


@pytest.mark.parametrize("use_sde", [False, True])
def test_noise_of_ppo_is_in_the_units_of_the_task(tasks, make_ppo, use_sde, tmp_path):
    """Samples have the mean and the spread of those inside pbrl, scaled: half the range of [0, 100] is 50."""
    agent = make_ppo(make_env=lambda: make_gym("tasks:Flat-v0"), use_sde=use_sde, log_std_init=-3.0)
    agent.save(str(tmp_path / "policy.zip"))
    loaded = PPO.load(tmp_path / "policy.zip", device="cpu")
    obs = torch.full((1, 4), 20.0)
    inside, outside = (m.policy.get_distribution(obs).distribution for m in (agent.model, loaded))
    torch.testing.assert_close(outside.stddev[0, 2], inside.stddev[0, 2] * 50, rtol=1e-2, atol=0)
    torch.testing.assert_close(outside.mean[0, 2], inside.mean[0, 2] * 50 + 50)


def test_pbrl_reads_back_the_very_weights_of_its_own_units(tasks, make_sac, make_ppo, tmp_path):
    for _, agent in agents(make_sac, make_ppo, "Flat-v0"):
        agent.learn(32)
        before = {k: v.clone() for k, v in agent.model.policy.state_dict().items()}
        agent.save(str(tmp_path / "policy.zip"))
        for value in agent.model.policy.state_dict().values():
            value.zero_()
        agent.load_policy(str(tmp_path / "policy.zip"))
        assert all(torch.equal(v, before[k]) for k, v in agent.model.policy.state_dict().items())


def test_a_file_of_an_older_pbrl_still_loads(tasks, make_ppo, tmp_path):
    agent = make_ppo(make_env=lambda: make_gym("tasks:Flat-v0"))
    before = agent.act(np.ones((1, 4), np.float32), deterministic=True)
    agent.model.save(str(tmp_path / "old.zip"), exclude=["clip_range"])  # with names of pbrl's classes
    assert "unit_actions.safetensors" not in zipfile.ZipFile(tmp_path / "old.zip").namelist()
    fresh = make_ppo(make_env=lambda: make_gym("tasks:Flat-v0"), seed=9)
    fresh.load_policy(str(tmp_path / "old.zip"))
    np.testing.assert_array_equal(fresh.act(np.ones((1, 4), np.float32), deterministic=True), before)


ODD_BOXES = {
    "signed bytes": Box(-100, 100, (2,), np.int8),
    "bytes": Box(0, 255, (2,), np.uint8),
    "all of int32": Box(-(2**31), 2**31 - 1, (2,), np.int32),
    "half": Box(-60000, 60000, (2,), np.float16),
    "one is fixed": Box(np.float32([-1, 0.1]), np.float32([3, 0.1])),
    "unit, almost": Box(np.float32([-1, -0.999995]), np.float32([0.999995, 1])),
    "wide": Box(-1e15, 9e15, (2,), np.float32),
    "too wide": Box(-1e300, 1e300, (2,), np.float64),
}


def acting_in(box):
    class Task(Good):
        action_space = box

        def act(self, action):
            self.got = action

    return register(Task)


@pytest.mark.parametrize("kind", ["sac", "ppo"])
@pytest.mark.parametrize("name", ODD_BOXES)
def test_plain_sb3_acts_in_any_box_as_pbrl_does_and_learns_there(name, kind, make_sac, make_ppo, tmp_path):
    box, id = ODD_BOXES[name], acting_in(ODD_BOXES[name])
    agent = {"sac": make_sac, "ppo": make_ppo}[kind](make_env=lambda: make_gym(id))
    agent.learn(40)
    agent.save(str(tmp_path / "policy.zip"))
    model = (SAC if kind == "sac" else PPO).load(tmp_path / "policy.zip", device="cpu")
    inside, obs = make_gym(id), np.float32([0.3, 5])
    inside.reset(seed=0)
    inside.step(unit := agent.act(obs[None], deterministic=True)[0])
    given = model.predict(obs, deterministic=True)[0].astype(np.float64)
    if name == "too wide":
        np.testing.assert_allclose(given, unit, rtol=1e-4)  # in [-1, 1], as the page about environments says
        return
    given = np.rint(given) if box.dtype.kind != "f" else given
    assert box.contains(given.astype(box.dtype))
    step = 1 if box.dtype.kind != "f" else float(np.spacing(box.high).max())
    np.testing.assert_allclose(given, inside.unwrapped.got.astype(np.float64), rtol=1e-4, atol=step)
    env = gym.make(id)
    if box.dtype not in (np.float32, np.float64):  # as the page about environments says
        env = gym.wrappers.TransformAction(env, lambda a: np.rint(a).astype(box.dtype), model.action_space)
    model.set_env(env)
    model.learn(60)
    if kind == "sac":
        assert model.replay_buffer.actions[:60].std() > 0.1  # in [-1, 1], and not all zeros
    else:
        assert model.rollout_buffer.actions.dtype.kind == "f"
    assert all(torch.isfinite(v).all() for v in model.policy.state_dict().values())


def test_a_component_that_cannot_move_stays_where_it_is(make_ppo, tmp_path):
    def make_env():
        env = make_gym("Pendulum-v1")
        env.set_wrapper_attr("task_spaces", (env.observation_space, gym.spaces.Box(3, 3, (1,))))
        return env

    agent = make_ppo(make_env=make_env)
    agent.save(str(tmp_path / "policy.zip"))
    loaded = PPO.load(tmp_path / "policy.zip", device="cpu")
    assert loaded.predict(np.ones(3, np.float32))[0] == 3
    assert all(torch.isfinite(v).all() for v in loaded.policy.state_dict().values())
