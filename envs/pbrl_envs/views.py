"""Pictures for people: other cameras of a task, and settings that make drawing without a GPU several times faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from pbrl.errors import UserError

DEFAULT = "default"

# Views that the model has no camera for: how far the default one is turned around what it follows (about the vertical
# axis, then about its own right-hand side), and where a free camera stands; in degrees.
MADE_UP = {"front": ((90.0, 0.0), (180.0, -20.0)), "above": ((0.0, -60.0), (90.0, -70.0))}

_FOLLOWS = (mujoco.mjtCamLight.mjCAMLIGHT_TRACK, mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)
_POSE = ("cam_pos0", "cam_poscom0", "cam_mat0")  # of a camera that follows a body, in the axes of the world
_AIM = ("type", "azimuth", "elevation")  # of the viewer's free camera


class Views:
    """The cameras of one environment: "default", those of its model by name, or made-up ones where it has no other.

    Turns off what takes most of a frame's time without a GPU: antialiasing, reflections and, unless asked for, shadows.
    Only pictures of this very environment change. It must be made with render_mode=rgb_array, and not have drawn yet.
    """

    def __init__(self, env: gym.Env, *, shadows: bool) -> None:
        simulator = env.get_wrapper_attr("simulator")
        self._renderer: Any = getattr(simulator, "mujoco_renderer", None)
        if self._renderer is not None:
            simulator.model.vis.quality.offsamples = 0
        env.reset(seed=0)
        env.render()  # opens the viewer
        self._aims: dict[str, Callable[[], None]] = {DEFAULT: lambda: None}
        if self._renderer is not None:  # else something else than MuJoCo draws
            self._model: mujoco.MjModel = simulator.model
            self._viewer = self._renderer.viewer
            flags = mujoco.mjtRndFlag
            for flag in (flags.mjRND_REFLECTION, *(() if shadows else (flags.mjRND_SHADOW,))):
                self._viewer.scn.flags[flag] = 0
            self._default = int(self._renderer.camera_id)
            self._default_pose = {field: getattr(self._model, field).copy() for field in _POSE}
            self._default_aim = {field: getattr(self._viewer.cam, field) for field in _AIM}
            self._aims = (self._named() or self._made_up()) | self._aims
        self.names = [DEFAULT, *(name for name in self._aims if name != DEFAULT)]

    def choose(self, name: str) -> None:
        """Take all pictures with this camera from now on."""
        if name not in self._aims:
            raise UserError(f"camera={name} does not exist; valid: {', '.join(self.names)}")
        if self._renderer is not None:
            self._renderer.camera_id = self._default
            for field, value in self._default_pose.items():
                getattr(self._model, field)[:] = value
            for field, value in self._default_aim.items():
                setattr(self._viewer.cam, field, value)
        self._aims[name]()

    def _named(self) -> dict[str, Callable[[], None]]:
        cameras = [self._model.camera(i) for i in range(self._model.ncam)]
        others = [camera for camera in cameras if camera.name and not self._looks_like_default(camera)]
        return {camera.name: partial(self._use, camera.id) for camera in others}

    def _made_up(self) -> dict[str, Callable[[], None]]:
        follows = self._default >= 0 and self._model.cam_mode[self._default] in _FOLLOWS
        return {
            name: partial(self._turn, *turn) if follows else partial(self._stand, *stand)
            for name, (turn, stand) in MADE_UP.items()
        }

    def _looks_like_default(self, camera: Any) -> bool:
        """Return whether a camera shows what the default one does: Meta-World has one view under two names."""
        if self._default < 0:
            return False
        default, fields = self._model.camera(self._default), ("bodyid", "mode", "pos", "quat", "fovy")
        return all(np.allclose(getattr(camera, f), getattr(default, f), atol=1e-3) for f in fields)

    def _use(self, camera: int) -> None:
        self._renderer.camera_id = camera

    def _turn(self, about_vertical: float, about_right: float) -> None:
        """Turn the default camera by so many degrees: MuJoCo's free camera follows nothing in a single picture."""
        axes = self._model.cam_mat0[self._default].reshape(3, 3).copy()
        turn = _rotation(np.array([0.0, 0.0, 1.0]), about_vertical) @ _rotation(axes[:, 0], about_right)
        for field in ("cam_pos0", "cam_poscom0"):
            getattr(self._model, field)[self._default] = turn @ getattr(self._model, field)[self._default]
        self._model.cam_mat0[self._default] = (turn @ axes).ravel()

    def _stand(self, azimuth: float, elevation: float) -> None:
        self._renderer.camera_id = -1
        self._viewer.cam.azimuth, self._viewer.cam.elevation = azimuth, elevation


def _rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, np.ascontiguousarray(axis), np.deg2rad(degrees))
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
