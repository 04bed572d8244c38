"""Meta-World v3: 50 manipulation tasks of a Sawyer arm, 500 steps, a new object and goal position at every reset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from pbrl_envs.registry import require, unknown
from pbrl_envs.wrap import wrap

MODEL_FIELDS = ("body_pos", "site_pos")  # where tasks place their objects and goals
ATTRIBUTES = ("_target_pos", "_prev_obs", "obj_init_pos", "init_tcp")  # goal, older half of the observation, start
TASK_ATTRIBUTES = {  # what else the reward remembers from the start of the episode
    "bin-picking-v3": ("_target_to_obj_init",),
    "dial-turn-v3": ("dial_push_position",),
    "handle-press-v3": ("_handle_init_pos",),
    "handle-press-side-v3": ("_handle_init_pos",),
    "lever-pull-v3": ("_lever_pos_init",),
    "stick-pull-v3": ("stick_init_pos",),
    "stick-push-v3": ("stick_init_pos",),
    "window-close-v3": ("window_handle_pos_init",),
    "window-open-v3": ("window_handle_pos_init",),
}


def make_metaworld(
    task: str,
    goal_observable: bool,
    *,
    render_mode: str | None = None,
    width: int | None = None,
    height: int | None = None,
    camera: str | int | None = None,
    max_episode_steps: int | None = None,
    factors: Mapping[str, str] | None = None,
) -> gym.Wrapper:
    """Make a task. goal_observable=False sets the goal in the observation to 0; camera: name or number in the model.

    factors: what to add to `info["factors"]`, see `Factors`.
    """
    require("metaworld", task)
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    if task not in ALL_V3_ENVIRONMENTS:
        raise unknown("env.task", task, tasks(), "`pbrl list envs metaworld` shows all 50")
    view = {"camera_id": camera} if isinstance(camera, int) else {"camera_name": camera or "corner2"}
    make: Any = ALL_V3_ENVIRONMENTS[task]
    env = make(render_mode=render_mode, width=width or 256, height=height or 256, **view)
    env.max_path_length = max_episode_steps or env.max_path_length
    _show_goal(env, goal_observable)
    _correct_cameras(env.model)
    attributes = ATTRIBUTES + TASK_ATTRIBUTES.get(task, ())
    return wrap(SeededReset(env), task, model_fields=MODEL_FIELDS, attributes=attributes, factors=factors)


def tasks() -> list[str]:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    return sorted(ALL_V3_ENVIRONMENTS)


class SeededReset(gym.Wrapper):
    """Draws object and goal positions at every reset, from the seed of the last `reset(seed=...)`.

    Meta-World itself ignores the seed of `reset` and keeps one configuration until `set_task`.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        env._set_task_called = True
        env._freeze_rand_vec = False
        env.seeded_rand_vec = True
        self._model_as_built = {field: getattr(env.model, field).copy() for field in MODEL_FIELDS}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        env: Any = self.env
        if seed is not None:
            env.seed(seed)
        for field, value in self._model_as_built.items():  # else the arm starts among the last episode's objects
            getattr(env.model, field)[:] = value
        return env.reset()


def _show_goal(env: Any, visible: bool) -> None:
    env._partially_observable = not visible
    env.__dict__.pop("sawyer_observation_space", None)  # a cached property, computed with the goal hidden
    env.observation_space = env.sawyer_observation_space


def _correct_cameras(model: mujoco.MjModel) -> None:
    """Turn the corner cameras, which stand on their heads, and bring the default one closer."""
    half_turn = np.array([0.0, 0.0, 0.0, 1.0])
    for name in ("corner", "corner2", "corner3", "corner4"):
        upright = np.empty(4)
        mujoco.mju_mulQuat(upright, model.camera(name).quat, half_turn)
        model.camera(name).quat = upright
    model.camera("corner2").pos = [0.75, 0.075, 0.7]  # as is usual in published Meta-World videos
