"""One scene for all episodes, where a task draws another at every reset."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from pbrl.checks import whole


class Scene(gym.Wrapper):
    """Starts every episode as `reset(seed=scene)` does, whatever seed is asked for.

    Raises ValueError unless `scene` is a whole number of at least 0.
    """

    def __init__(self, env: gym.Env, scene: int) -> None:
        whole(0, scene=scene)
        super().__init__(env)
        self.scene = scene

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=self.scene, options=options)
