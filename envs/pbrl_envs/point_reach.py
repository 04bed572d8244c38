"""PointReach: a point mass on a plane that must reach a goal. The quickest task with pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from pbrl_envs.mujoco_task import Measured, MujocoTask

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


class PointReach(MujocoTask):
    """Observation: position, velocity, goal (2 numbers each). Action: force along x and y, in [-1, 1].

    Reward per step is 1 - tanh(2 * distance to the goal), in (0, 1]. `info["success"]` says whether the point is within
    GOAL_RADIUS now; the factors are `distance` to the goal in m and `effort`, the mean squared action. Nothing ends the
    episode early; Gymnasium's registration truncates it after 100 steps.
    """

    expert_own = (0, 1, 2, 3)  # position and velocity, see experts.py

    def __init__(self, **rendering: Any) -> None:
        super().__init__(XML, obs_size=6, action_size=2, frame_skip=FRAME_SKIP, **rendering)

    def place(self) -> None:
        self.data.qpos[:] = self.np_random.uniform(-START_RANGE, START_RANGE, 2)
        self.data.mocap_pos[0, :2] = self.np_random.uniform(-START_RANGE, START_RANGE, 2)

    def observe(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel, self.data.mocap_pos[0, :2]], dtype=np.float32)

    def measure(self) -> Measured:
        x, y = self.data.mocap_pos[0, :2] - self.data.qpos
        distance, effort = float(np.hypot(x, y)), float(np.square(self.data.ctrl).mean())
        factors = {"distance": distance, "effort": effort}
        return Measured(1 - float(np.tanh(2 * distance)), distance <= GOAL_RADIUS, factors)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        return scripted_policy(obs)


def scripted_policy(obs: np.ndarray, skill: float = 1.0, rng: np.random.Generator | None = None) -> np.ndarray:
    """Act as a PD controller, or at random with probability 1 - skill; returns (2,) float32.

    obs: (6,). skill 1 reaches the goal nearly always, skill 0 is the random policy.
    """
    if skill < 1:
        rng = rng or np.random.default_rng()
        if rng.random() >= skill:
            return rng.uniform(-1, 1, 2).astype(np.float32)
    position, velocity, goal = obs[:2], obs[2:4], obs[4:6]
    return np.clip(4 * (goal - position) - velocity, -1, 1).astype(np.float32)
