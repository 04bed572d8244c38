"""DeepMind Control Suite: `task=walker-walk` is domain walker, task walk. 1000 steps, action repeat 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces

from pbrl_envs.registry import require, unknown
from pbrl_envs.wrap import wrap

CAMERAS = {"quadruped": ("x", 75)}  # name, field of view in degrees; its first camera is too far away to judge a gait

# The fields of its model that a domain changes from episode to episode, besides the state that MuJoCo knows.
RANDOMISED: dict[str, tuple[str, ...]] = {
    "reacher": ("geom_pos",),
    "finger": ("site_pos", "site_size", "site_rgba", "dof_damping"),
    "fish": ("geom_pos", "geom_rgba"),
    "swimmer": ("geom_pos", "light_pos"),
    "manipulator": ("body_pos", "body_quat"),
    "stacker": ("body_pos",),
    "point_mass": ("wrap_prm",),
}


def make_dmc(
    task: str,
    *,
    render_mode: str | None = None,
    width: int | None = None,
    height: int | None = None,
    camera: str | int | None = None,
    max_episode_steps: int | None = None,
    factors: Mapping[str, str] | None = None,
) -> gym.Wrapper:
    """Make a task of the suite. camera: name or number in the MuJoCo model (default: the first, mostly on the robot).

    factors: what to add to `info["factors"]`, see `Factors`.
    """
    require("dmc", task)
    domain = task.rpartition("-")[0]
    view, degrees = CAMERAS.get(domain, (0, None)) if camera is None else (camera, None)
    env = DmcEnv(task, max_episode_steps or 1000, render_mode, width or 256, height or 256, view)
    if degrees is not None:
        env.model.camera(view).fovy = degrees
    # The terrain of quadruped-escape is 40 000 numbers, new in every episode: too much to keep with every step.
    return wrap(
        env, task, model_fields=None if task == "quadruped-escape" else RANDOMISED.get(domain, ()), factors=factors
    )


def tasks() -> list[str]:
    return [f"{domain}-{task}" for domain, task in _suite().ALL_TASKS]


class DmcEnv(gym.Env):
    """One task as a Gymnasium environment; observations are concatenated in the order of their sorted names."""

    def __init__(
        self, task: str, horizon: int, render_mode: str | None, width: int, height: int, camera: str | int
    ) -> None:
        domain, _, name = task.rpartition("-")
        suite = _suite()
        if (domain, name) not in suite.ALL_TASKS:
            raise unknown("env.task", task, tasks(), "it is domain-task of dm_control; `pbrl list envs dmc` shows all")
        # `random` also shapes the model in the lqr domain: fixed here, so that all instances have the same one.
        self._env = suite.load(domain, name, task_kwargs={"random": 0})
        self._env._step_limit = self._max_episode_steps = horizon
        self._env.physics._make_rendering_contexts = lambda: None  # quadruped-escape would open OpenGL at every reset
        self.model: mujoco.MjModel = self._env.physics.model.ptr
        self.data: mujoco.MjData = self._env.physics.data.ptr
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / self._env.control_timestep())}
        self.render_mode = render_mode
        self.mujoco_renderer = _renderer(self.model, self.data, width, height, camera) if render_mode else None

        actions = self._env.action_spec()
        low, high = (np.broadcast_to(bound, actions.shape) for bound in (actions.minimum, actions.maximum))
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32))
        size = sum(int(np.prod(spec.shape)) for spec in self._env.observation_spec().values())
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._env.task._random = np.random.RandomState(seed)
        return _flat(self._env.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        step = self._env.step(action)
        terminated = step.last() and step.discount == 0  # at the step limit the discount stays 1
        return _flat(step.observation), float(step.reward), terminated, step.last() and not terminated, {}

    def render(self) -> Any:
        return self.mujoco_renderer.render(self.render_mode) if self.mujoco_renderer else None

    def close(self) -> None:
        if self.mujoco_renderer is not None:
            self.mujoco_renderer.close()
        self._env.close()


def _flat(observation: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(observation[name]) for name in sorted(observation)], dtype=np.float32)


def _suite() -> Any:
    """Import dm_control with its own renderer switched off: it opens OpenGL on import, and fails where there is none.

    We draw with Gymnasium's renderer, as for every other suite.
    """
    vars(np).setdefault("in1d", np.isin)  # NumPy 2.4 removed it; dm_control 1.0.28 calls it in the quadruped domain
    if "dm_control.suite" not in sys.modules:
        backend = os.environ.get("MUJOCO_GL")
        os.environ["MUJOCO_GL"] = "disabled"
        try:
            import dm_control.suite  # noqa: F401
        finally:
            del os.environ["MUJOCO_GL"]
            if backend is not None:
                os.environ["MUJOCO_GL"] = backend
    return sys.modules["dm_control.suite"]


def _renderer(model: mujoco.MjModel, data: mujoco.MjData, width: int, height: int, camera: str | int) -> Any:
    from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    view: dict[str, Any] = {"camera_name": camera} if isinstance(camera, str) else {"camera_id": camera}
    return MujocoRenderer(model, data, width=width, height=height, **view)
