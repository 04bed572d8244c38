"""A task whose observations are dictionaries and whose actions are in odd units, and a tiny run in it."""

from contextlib import contextmanager

import gymnasium as gym
import numpy as np
from gymnasium import spaces

import pbrl

NAMED = spaces.Dict(
    z=spaces.Box(-9, 9, (2, 2), np.float32), a=spaces.Box(0, 9, (1,), np.float64), kind=spaces.Discrete(3)
)
ACTIONS = spaces.Box(np.float32([-2, 3]), np.float32([2, 5]))


class Named(gym.Env):
    """Rewards of its own are -1; it writes into the observation that it gave."""

    observation_space, action_space = NAMED, ACTIONS

    def __init__(self):
        self.z = np.zeros((2, 2), np.float32)

    def _obs(self):
        self.z[:] = self.np_random.uniform(-1, 1, (2, 2))
        return {
            "z": self.z,
            "a": np.array([self.np_random.uniform(0, 1)]),
            "kind": np.int64(self.np_random.integers(3)),
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(np.asarray(action, np.float32))
        return self._obs(), -1.0, False, False, {}


@contextmanager
def trained(folder):
    """A tiny PEBBLE in `Named`, which is registered as long."""
    gym.register("NamedUnits-v0", Named, max_episode_steps=20)
    settings = {"hidden": (8, 8), "batch_size": 8, "learning_starts": 20}
    feedback = {"first": 40, "every": 40, "per_session": 4, "segment_length": 6, "budget": 8}
    yield pbrl.train(
        env="gym", env__id="NamedUnits-v0", method="pebble", steps=100, agent=settings, feedback=feedback,
        method__model__hidden=[8], method__fit__max_epochs=2, method__explore=None, teacher=lambda a, b: [1.0] * len(a),
        evaluation__every=None, report=False, verbose=False, run_dir=folder,
    )  # fmt: skip
    del gym.registry["NamedUnits-v0"]


def observations(n):
    env = Named()
    env.reset(seed=0)
    return [{k: np.copy(v) for k, v in env._obs().items()} for _ in range(n)]


def stacked(several):
    return {key: np.stack([one[key] for one in several]) for key in several[0]}
