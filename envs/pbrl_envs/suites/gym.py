"""Any Gymnasium environment with vector observations and continuous actions; your own is `id=my_module:MyEnv-v0`."""

from __future__ import annotations

import inspect
import math
import os
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import RepeatAction

import pbrl_envs  # noqa: F401  registers our own tasks
from pbrl.checks import whole
from pbrl.errors import EnvError, UserError, one_line
from pbrl_envs.registry import unknown
from pbrl_envs.scene import Scene
from pbrl_envs.wrap import wrap

FRAME_SIZE = (256, 256)  # height, width where none is given

# Classic control keeps its state in Python; a drawing of the pendulum also shows the last torque.
CLASSIC_CONTROL = {"Pendulum": ("state", "last_u"), "MountainCarContinuous": ("state",)}


def make_gym(
    id: str,
    kwargs: Mapping[str, Any] | None = None,
    *,
    render_mode: str | None = None,
    width: int | None = None,
    height: int | None = None,
    camera: str | int | None = None,
    max_episode_steps: int | None = None,
    scene: int | None = None,
    action_repeat: int = 1,
    factors: Mapping[str, str] | None = None,
) -> gym.Wrapper:
    """Make a registered environment. kwargs: its own; camera: name or number in the model (default: its `track`).

    scene: every episode starts as `reset(seed=scene)` does; None: as the task draws it.
    action_repeat: steps of the task for which an action holds; they count as one, also in max_episode_steps.
    factors: what to add to `info["factors"]`, see `Factors`.
    """
    spec = _find_spec(id)
    options = dict(kwargs or {})
    size = (height or FRAME_SIZE[0], width or FRAME_SIZE[1])
    sizable = render_mode is not None and _accepts(spec, "width")
    if sizable:
        options |= {"height": size[0], "width": size[1]}
        options |= _camera_option(camera)
    if render_mode is not None:
        options["render_mode"] = render_mode
        if not _accepts(spec, "render_mode"):
            raise UserError(f"env.id={id} draws no frames: its constructor takes no render_mode")
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # or pygame says that there is no display
    env = _make(id, **options)
    if sizable and camera is None:
        _follow_robot(env)
    if scene is not None:
        env = Scene(env, scene)
    whole(1, action_repeat=action_repeat)
    if action_repeat > 1:
        env = RepeatAction(env, action_repeat)
        if fps := env.metadata.get("render_fps"):  # pictures are further apart
            env.metadata = {**env.metadata, "render_fps": fps / action_repeat}
    limit = max_episode_steps
    if limit is None and spec.max_episode_steps is not None:
        limit = math.ceil(spec.max_episode_steps / action_repeat)
    attributes = CLASSIC_CONTROL.get(spec.name, ())
    return wrap(env, id, limit=limit, attributes=attributes, frame_size=None if sizable else size, factors=factors)


def tasks() -> list[str]:
    """The registered ids, newest version of each."""
    newest = {spec.name: spec.id for spec in sorted(gym.registry.values(), key=lambda spec: spec.version or 0)}
    return sorted(newest.values())


def _find_spec(id: str) -> Any:
    module, _, name = id.rpartition(":")
    try:
        if module:
            import_module(module)
        return gym.spec(name)
    except ModuleNotFoundError as error:
        raise UserError(f"env.id={id}: cannot import {error.name}; valid: [module:]Name-v0") from error
    except gym.error.Error as error:
        hint = "`pbrl list envs gym` shows all; your own is module:Name-v0"
        raise unknown("env.id", id, gym.registry, hint) from error
    except Exception as error:  # of the user's module
        raise EnvError(f"env.id={id}: importing {module} raised {type(error).__name__}: {one_line(error)}") from error


def _make(id: str, **options: Any) -> gym.Env:
    """The environment without its time limit, which comes around what `wrap` checks."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*initialised with render_mode")  # we see whether it draws
            return gym.make(id, disable_env_checker=True, max_episode_steps=-1, **options)
    except UserError:
        raise
    except gym.error.DependencyNotInstalled as error:
        raise UserError(f"env.id={id} cannot be made: {error}") from error
    except TypeError as error:
        reason = error.__cause__ or error
        raise UserError(f"env.id={id} cannot be made: {reason}; env.make.kwargs go to its constructor") from error
    except Exception as error:
        reason = error.__cause__ or error
        raise EnvError(f"env.id={id} raised {type(reason).__name__} when made: {one_line(reason)}") from reason


def _accepts(spec: Any, option: str) -> bool:
    """Return whether the environment's constructor takes this keyword; those of MuJoCo take the frame size."""
    entry = spec.entry_point
    creator = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    parameters = inspect.signature(creator).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _camera_option(camera: str | int | None) -> dict[str, Any]:
    if camera is None:
        return {}
    return {"camera_id": camera} if isinstance(camera, int) else {"camera_name": camera}


def _follow_robot(env: gym.Env) -> None:
    """Take the model's own camera: Gymnasium's default is a fixed view, which a runner leaves within seconds."""
    import mujoco

    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is not None and renderer.camera_id == -1:
        renderer.camera_id = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
