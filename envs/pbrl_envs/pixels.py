"""Any environment that can be drawn, seen through its pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class PixelObservation(gym.ObservationWrapper):
    """Observations are the frames (size, size, 3) of an environment that was made to draw them so.

    camera: the same environment made with frames of another size, from which `render` takes its pictures; None: those
    that are observed.
    """

    def __init__(self, env: gym.Env, size: int, camera: gym.Env | None = None) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.camera = camera

    def observation(self, observation: Any) -> np.ndarray:
        return np.asarray(self.env.render())

    def render(self) -> Any:
        if self.camera is None:
            return self.env.render()
        return self.camera.get_wrapper_attr("render_state")(self.env.get_wrapper_attr("save_state")())

    def close(self) -> None:
        if self.camera is not None:
            self.camera.close()
        super().close()


def make_pixels(
    make: Callable[..., gym.Env],
    size: int,
    *,
    render_mode: str | None = None,
    width: int | None = None,
    height: int | None = None,
    camera: str | int | None = None,
    **options: Any,
) -> PixelObservation:
    """Observe pixels, `size` a side. render_mode, width, height: for pictures of another size besides."""
    env = make(render_mode="rgb_array", width=size, height=size, camera=camera, **options)
    other = None
    if render_mode is not None and (width, height) not in ((None, None), (size, size)):
        other = make(render_mode=render_mode, width=width, height=height, camera=camera, **options)
    return PixelObservation(env, size, other)
