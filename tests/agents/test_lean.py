"""The lean loop does what SB3's does: with a callback that only listens, SB3's own loop makes the same run."""

import operator

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from pbrl.agents import lean
from pbrl.agents.reward_source import StoredReward
from pbrl.agents.torch_sac import TorchSAC
from pbrl.append_only import AppendOnly


class Listener(BaseCallback):
    def __init__(self, until=None):
        super().__init__()
        self.until, self.steps = until, []

    def _on_step(self):
        self.steps.append(self.num_timesteps)
        return self.until is None or self.num_timesteps < self.until


def everything(agent):
    """What decides the future, flat."""

    def walk(value, path):
        value = vars(value) if isinstance(value, AppendOnly) else value
        if isinstance(value, dict):
            return [pair for k, v in value.items() for pair in walk(v, f"{path}/{k}")]
        if isinstance(value, (list, tuple)):
            return [pair for i, v in enumerate(value) for pair in walk(v, f"{path}/{i}")]
        if isinstance(value, (np.ndarray, torch.Tensor)):
            return [(path, torch.as_tensor(value).clone())]
        return [(path, value)]

    return dict(walk(agent.state_dict(), ""))


def push(obs, actions):
    return actions + 0.1, np.ones((len(obs), 2), np.float32) * obs[:, :1]


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("numbers", [{}, {"algorithm": TorchSAC}, {"buffer_size": 24}, {"behaves": True}])
def test_without_a_callback_the_numbers_are_those_of_sb3s_own_loop(make_sac, reward, n_envs, numbers):
    states, episodes = [], []
    for callback in (None, Listener()):
        own = dict(numbers)
        behaves = own.pop("behaves", False)
        agent = make_sac(ends=True, n_envs=n_envs, callback=callback, **own)
        assert lean.covers(agent.model)
        if behaves:
            agent.set_behaviour(push, 2)
        agent.set_reward(StoredReward(reward))
        episodes.append([episode for n in (25, 20, 15) for episode in agent.learn(n)])
        states.append(everything(agent))
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        same = torch.equal if isinstance(value, torch.Tensor) else operator.eq
        assert same(value, states[1][name]), name
    for one, other in zip(*episodes, strict=True):
        np.testing.assert_array_equal(one.obs, other.obs)
    assert {e.terminated for e in episodes[0]} == {True, False}


def test_a_callback_hears_of_each_step_and_may_end_the_learning(make_sac):
    agent = make_sac(callback=(listener := Listener(until=20)))
    agent.learn(15)
    assert not agent.stopped
    agent.learn(15)
    assert agent.stopped
    assert listener.steps == list(range(1, 21))


def test_ppos_callback_may_end_the_learning(make_ppo):
    agent = make_ppo(callback=(listener := Listener(until=20)))
    agent.learn(64)
    assert agent.stopped
    assert listener.steps == list(range(2, 21, 2))


def test_plain_sb3_keeps_its_own_loop(make_sac):
    assert not lean.covers(make_sac(plain=True).model)


@pytest.mark.parametrize("name", ["collect_rollouts", "_on_step", "_store_transition"])
def test_a_subclass_with_a_loop_of_its_own_keeps_it(make_sac, name):
    def same(self, *args, **kwargs):
        return getattr(super(own, self), name)(*args, **kwargs)

    own = type("Own", (TorchSAC,), {name: same})
    assert not lean.covers(make_sac(algorithm=own).model)
