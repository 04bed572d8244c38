"""Small tasks as users write them, each with one fault or habit."""

import gymnasium as gym
import numpy as np

LENGTH = 20


class Good(gym.Env):
    """Two numbers, the second of which is the step; the task itself ends its episodes."""

    observation_space = gym.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.uniform(0, 1)), 0
        return self.see(), {}

    def step(self, action):
        self.t += 1
        self.act(action)
        return self.see(), -abs(self.x), False, self.t == LENGTH, {}

    def act(self, action):
        self.x = float(np.clip(self.x + 0.1 * action[0], -5, 5))

    def see(self):
        return np.array([self.x, self.t], np.float32)


class Buffered(Good):
    """Returns the same array at every step, and all instances share it."""

    buffer = np.zeros(2, np.float32)

    def see(self):
        self.buffer[:] = self.x, self.t
        return self.buffer


class View(Good):
    """Returns a view into its state, which nobody else may write to."""

    def see(self):
        self.state = getattr(self, "state", np.zeros((3, 2)))
        self.state[1] = self.x, self.t
        view = self.state[1]
        view.flags.writeable = False
        return view


class Parts(Good):
    """A dictionary of buffers."""

    observation_space = gym.spaces.Dict({"x": gym.spaces.Box(-9, 9, (1,)), "t": gym.spaces.Box(-9, 99, (1,))})

    def see(self):
        self.parts = getattr(self, "parts", {"x": np.zeros(1, np.float32), "t": np.zeros(1, np.float32)})
        self.parts["x"][0], self.parts["t"][0] = self.x, self.t
        return self.parts


class ScalesInPlace(Good):
    def act(self, action):
        action *= 0.1
        super().act(action)


def changed(**parts):
    """A task whose step gives other values: obs, reward, terminated, truncated or info."""

    class Changed(Good):
        def step(self, action):
            values = dict(zip(("obs", "reward", "terminated", "truncated", "info"), super().step(action), strict=True))
            return tuple((values | parts).values())

    return Changed


def seeing(value, space=None):
    """A task that always observes this."""

    class Seeing(Good):
        observation_space = space or Good.observation_space

        def see(self):
            return value

    return Seeing


def register(task, steps=None):
    """An id for make_gym; steps: a time limit of the registration."""
    id = f"{task.__name__}{len(gym.registry)}-v0"
    gym.register(id, task, max_episode_steps=steps)
    return id
