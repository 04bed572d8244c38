"""PointReach: a point mass on a plane that must reach a goal. The quickest task with pictures."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces

FRAME_SKIP = 2  # physics steps of 0.02 s per action
GOAL_RADIUS = 0.1
START_RANGE = 0.9  # start and goal are uniform in [-0.9, 0.9]^2, inside the walls at +-1

XML = f"""
<mujoco model="point_reach">
  <option timestep="0.02" gravity="0 0 0">
    <flag contact="disable"/>
  </option>
  <visual>
    <headlight ambient=".5 .5 .5" diffuse=".5 .5 .5" specular="0 0 0"/>
    <map znear=".05"/>
    <quality shadowsize="0" offsamples="4"/>
  </visual>
  <asset>
    <texture name="grid" type="2d" builtin="checker" rgb1=".86 .88 .91" rgb2=".78 .81 .85" width="64" height="64"/>
    <material name="grid" texture="grid" texrepeat="5 5" texuniform="false"/>
  </asset>
  <default>
    <joint type="slide" limited="true" range="-1 1" damping="1"/>
    <motor gear="1.2" ctrlrange="-1 1" ctrllimited="true"/>
  </default>
  <worldbody>
    <camera name="top" pos="0 -.55 3" euler="10.4 0 0" fovy="45"/>
    <geom name="floor" type="plane" size="1.1 1.1 .1" material="grid"/>
    <geom type="box" pos="0 1.12 .03" size="1.14 .03 .03" rgba=".35 .38 .43 1"/>
    <geom type="box" pos="0 -1.12 .03" size="1.14 .03 .03" rgba=".35 .38 .43 1"/>
    <geom type="box" pos="1.12 0 .03" size=".03 1.14 .03" rgba=".35 .38 .43 1"/>
    <geom type="box" pos="-1.12 0 .03" size=".03 1.14 .03" rgba=".35 .38 .43 1"/>
    <body name="goal" mocap="true">
      <geom type="cylinder" size="{GOAL_RADIUS} .004" rgba=".15 .65 .3 1"/>
    </body>
    <body name="point" pos="0 0 .06">
      <joint name="x" axis="1 0 0"/>
      <joint name="y" axis="0 1 0"/>
      <geom type="sphere" size=".06" mass=".3" rgba=".85 .3 .2 1"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="x"/>
    <motor joint="y"/>
  </actuator>
</mujoco>
"""


class PointReach(gym.Env):
    """Observation: position, velocity, goal (2 numbers each). Action: force along x and y, in [-1, 1].

    Reward per step is 1 - tanh(2 * distance to the goal), in (0, 1]. `info["success"]` says whether the point is within
    GOAL_RADIUS now. Nothing ends the episode early; Gymnasium's registration truncates it after 100 steps.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012  Gymnasium's own convention
    expert_own = (0, 1, 2, 3)  # position and velocity, see experts.py

    def __init__(self, render_mode: str | None = None, width: int = 256, height: int = 256) -> None:
        self.model = mujoco.MjModel.from_xml_string(XML)
        self.model.vis.global_.offwidth, self.model.vis.global_.offheight = width, height
        self.data = mujoco.MjData(self.model)
        self.observation_space = spaces.Box(-np.inf, np.inf, (6,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.render_mode = render_mode
        self.mujoco_renderer: Any = _renderer(self.model, self.data, width, height) if render_mode else None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.np_random.uniform(-START_RANGE, START_RANGE, 2)
        self.data.mocap_pos[0, :2] = self.np_random.uniform(-START_RANGE, START_RANGE, 2)
        mujoco.mj_forward(self.model, self.data)
        return self._obs(), self._info(self._distance())

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.data.ctrl[:] = action  # MuJoCo clips it to the motors' range
        mujoco.mj_step(self.model, self.data, FRAME_SKIP)
        distance = self._distance()
        return self._obs(), 1 - float(np.tanh(2 * distance)), False, False, self._info(distance)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        return scripted_policy(obs)

    def render(self) -> Any:
        return self.mujoco_renderer.render(self.render_mode) if self.render_mode else None

    def close(self) -> None:
        if self.mujoco_renderer is not None:
            self.mujoco_renderer.close()

    def _obs(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel, self.data.mocap_pos[0, :2]], dtype=np.float32)

    def _distance(self) -> float:
        x, y = self.data.mocap_pos[0, :2] - self.data.qpos
        return float(np.hypot(x, y))

    def _info(self, distance: float) -> dict[str, Any]:
        return {"success": distance <= GOAL_RADIUS, "distance": distance}


def scripted_policy(obs: np.ndarray, skill: float = 1.0, rng: np.random.Generator | None = None) -> np.ndarray:
    """A PD controller whose action is replaced by a random one with probability 1 - skill.

    obs: (6,). skill 1 reaches the goal nearly always, skill 0 is the random policy.
    """
    if skill < 1:
        rng = rng or np.random.default_rng()
        if rng.random() >= skill:
            return rng.uniform(-1, 1, 2).astype(np.float32)
    position, velocity, goal = obs[:2], obs[2:4], obs[4:6]
    return np.clip(4 * (goal - position) - velocity, -1, 1).astype(np.float32)


def _renderer(model: mujoco.MjModel, data: mujoco.MjData, width: int, height: int) -> Any:
    from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

    return MujocoRenderer(model, data, width=width, height=height, camera_name="top")
