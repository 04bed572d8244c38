"""A task whose rewards are easy to know, and small agents on it."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import SAC

from pbrl.agents.fast_sac import FastSAC
from pbrl.agents.sb3 import PPOAgent, SACAgent
from pbrl.data.recorder import hidden

SAC_NUMBERS = {
    "given": hidden, "steps": 300, "seed": 0, "device": "cpu", "n_envs": 1, "hidden": [16, 16],
    "activation": "relu", "lr": 1e-3, "batch_size": 16, "gamma": 0.9, "tau": 0.01, "ent_coef": "auto_0.1",
    "learning_starts": 10, "gradient_steps": 1, "target_update_interval": 1,
    "precision": None,
}  # fmt: skip
PPO_NUMBERS = {
    "given": hidden, "steps": 300, "seed": 0, "device": "cpu", "n_envs": 2, "n_steps": 16, "hidden": [16],
    "activation": "tanh", "lr": 1e-3, "batch_size": 8, "n_epochs": 2, "gamma": 0.9, "gae_lambda": 0.8,
    "clip_range": 0.4, "anneal_clip": True, "ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5, "use_sde": True,
    "sde_sample_freq": 4, "log_std_init": 0.0, "normalise_obs": True,
}  # fmt: skip


class Drift(gym.Env):
    """Walks by its action; ends by itself where `ends` says so. The environment's reward is 100 at every step."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, ends=False):
        self.ends = ends

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=3).astype(np.float32)
        return self.x, {}

    def step(self, action):
        self.x = self.x + np.float32([*action, 0.1]) + self.np_random.normal(size=3, scale=0.1).astype(np.float32)
        return self.x, 100.0, self.ends and bool(self.x[0] > 2), False, {}


def learned_reward(obs, actions):
    return obs[:, 0] - 2 * actions[:, 1]


@pytest.fixture
def make_sac():
    def make(plain=False, ends=False, limit=7, make_env=None, **numbers):
        make_env = make_env or (lambda: TimeLimit(Drift(ends), limit))
        numbers = {"algorithm": SAC if plain else FastSAC} | SAC_NUMBERS | numbers
        return SACAgent(make_env, **numbers)

    return make


@pytest.fixture
def make_ppo():
    def make(ends=False, limit=7, make_env=None, **numbers):
        return PPOAgent(make_env or (lambda: TimeLimit(Drift(ends), limit)), **PPO_NUMBERS | numbers)

    return make


@pytest.fixture
def reward():
    return learned_reward
