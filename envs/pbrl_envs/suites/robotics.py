"""Gymnasium-Robotics: the Fetch tasks, and the other MuJoCo tasks with continuous actions of that package."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium as gym
import numpy as np

from pbrl.errors import UserError
from pbrl_envs.registry import require, unknown
from pbrl_envs.wrap import wrap

MODEL_FIELDS = ("body_pos", "body_quat", "site_pos")  # Adroit and mazes place objects there; Fetch draws its goal there


def make_robotics(
    id: str,
    *,
    render_mode: str | None = None,
    width: int | None = None,
    height: int | None = None,
    camera: str | int | None = None,
    max_episode_steps: int | None = None,
    factors: Mapping[str, str] | None = None,
) -> gym.Wrapper:
    """Make a task of the suite. camera: name or number in the MuJoCo model (default: the suite's own view).

    factors: what to add to `info["factors"]`, see `Factors`.
    """
    require("robotics", id)
    known = tasks()
    if id not in known:
        raise unknown("env.task", id, known, "`pbrl list envs robotics` shows all")
    size = {"width": width or 256, "height": height or 256} if render_mode else {}
    env = gym.make(id, render_mode=render_mode, max_episode_steps=max_episode_steps, disable_env_checker=True, **size)
    if render_mode and camera is not None:
        _aim(env, camera)
    attributes = ("goal",) if isinstance(getattr(env.unwrapped, "goal", None), np.ndarray) else ()
    fields = () if id.startswith("Fetch") else MODEL_FIELDS
    return wrap(env, id, model_fields=fields, attributes=attributes, factors=factors)


def tasks() -> list[str]:
    """The current MuJoCo ids; versions that need the old mujoco-py are left out."""
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    entries = {spec.id: str(spec.entry_point) for spec in gym.registry.values()}
    old = ("MujocoPy", "gymnasium_robotics.envs.mujoco.")
    ours = (id for id, entry in entries.items() if entry.startswith("gymnasium_robotics"))
    return sorted(id for id in ours if not any(part in entries[id] for part in old))


def _aim(env: gym.Env, camera: str | int) -> None:
    import mujoco

    renderer = env.get_wrapper_attr("mujoco_renderer")
    named = isinstance(camera, str)
    number = int(mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, camera) if named else camera)
    if not 0 <= number < renderer.model.ncam:
        names = ", ".join(renderer.model.camera(i).name for i in range(renderer.model.ncam))
        raise UserError(f"camera={camera} does not exist; valid: {names}")
    renderer.camera_id = number
