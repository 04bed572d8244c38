"""An environment whose pictures say what was observed, and that has no state of a simulator."""

import gymnasium as gym
import numpy as np


class Lamp(gym.Env):
    """How bright it is, is what was observed; nothing else knows its state."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 255, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    broken = False

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.steps = float(self.np_random.integers(20, 60)), 0
        return np.array([self.level], np.float32), {}

    def step(self, action):
        self.level, self.steps = self.level + 10, self.steps + 1
        return np.array([self.level], np.float32), self.level, False, self.steps == 12, {}

    def render(self):
        if self.broken:
            raise ImportError("pygame is not installed")
        return np.full((48, 64, 3), int(self.level), np.uint8)


def register():
    """As env=gym env.id=Lamp-v0; in other processes as env.id=lamp:Lamp-v0, where this folder is on the path."""
    if "Lamp-v0" not in gym.registry:
        gym.register("Lamp-v0", entry_point="lamp:Lamp")


register()
