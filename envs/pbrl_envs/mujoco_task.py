"""The base of our own MuJoCo tasks: a model from XML, one physics loop, named factors and pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces


class Measured(NamedTuple):
    """The outcome of a step, as a task measures it."""

    reward: float
    success: bool
    factors: dict[str, float]  # what the task cares about, one by one, each in its own unit


class MujocoTask(gym.Env):
    """A task whose world is one MuJoCo model; a subclass places, acts, observes and measures.

    Nothing ends an episode early; Gymnasium's registration cuts it off. `info` has `success` and `factors` at every
    reset and step.

    Args:
        xml: of the model, with a camera `top`.
        obs_size, action_size: O and A; actions are in [-1, 1].
        frame_skip: physics steps per action.
        render_mode, width, height, camera_id, camera_name: as in Gymnasium's MuJoCo environments.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012  Gymnasium's own convention

    def __init__(
        self,
        xml: str,
        obs_size: int,
        action_size: int,
        frame_skip: int,
        render_mode: str | None = None,
        width: int = 256,
        height: int = 256,
        camera_id: int | None = None,
        camera_name: str | None = None,
    ) -> None:
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.model.vis.global_.offwidth, self.model.vis.global_.offheight = width, height
        self.data = mujoco.MjData(self.model)
        self.frame_skip = frame_skip
        self.observation_space = spaces.Box(-np.inf, np.inf, (obs_size,), np.float32)
        self.action_space = spaces.Box(-1, 1, (action_size,), np.float32)
        self.render_mode = render_mode
        if camera_id is None and camera_name is None:
            camera_name = "top"
        self.mujoco_renderer: Any = None  # drawing opens OpenGL, and training does without
        if render_mode is not None:
            self.mujoco_renderer = _renderer(self.model, self.data, width, height, camera_id, camera_name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.place()
        mujoco.mj_forward(self.model, self.data)
        return self.observe(), _info(self.measure())

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.act(action)
        mujoco.mj_step(self.model, self.data, self.frame_skip)
        measured = self.measure()
        return self.observe(), measured.reward, False, False, _info(measured)

    def place(self) -> None:
        """Put everything where an episode starts, drawn from `self.np_random`."""
        raise NotImplementedError

    def act(self, action: np.ndarray) -> None:
        """Set the motors, which MuJoCo keeps within their range."""
        self.data.ctrl[:] = action

    def observe(self) -> np.ndarray:
        """Return the observation (O,) float32."""
        raise NotImplementedError

    def measure(self) -> Measured:
        raise NotImplementedError

    def render(self) -> Any:
        return self.mujoco_renderer.render(self.render_mode) if self.mujoco_renderer else None

    def close(self) -> None:
        if self.mujoco_renderer is not None:
            self.mujoco_renderer.close()


def _info(measured: Measured) -> dict[str, Any]:
    return {"success": measured.success, "factors": measured.factors}


def _renderer(
    model: mujoco.MjModel, data: mujoco.MjData, width: int, height: int, camera_id: int | None, camera_name: str | None
) -> Any:
    from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

    return MujocoRenderer(model, data, width=width, height=height, camera_id=camera_id, camera_name=camera_name)
