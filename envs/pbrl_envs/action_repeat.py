"""Each action for several steps, as one step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from pbrl.checks import whole


class ActionRepeat(gym.Wrapper):
    """Takes each action `times` times and returns the sum of their rewards, and what the last one gave otherwise.

    An episode that ends in between ends there. Raises ValueError unless `times` is a whole number of at least 1.
    """

    def __init__(self, env: gym.Env, times: int) -> None:
        whole(1, action_repeat=times)
        super().__init__(env)
        self.times = times
        if env.metadata.get("render_fps"):
            self.metadata = {**env.metadata, "render_fps": env.metadata["render_fps"] / times}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total = 0.0
        for _ in range(self.times):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info
