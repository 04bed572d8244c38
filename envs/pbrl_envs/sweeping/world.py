"""The base of the sweeping tasks: the walled plane, the agent in one of four shapes, round blocks, the goal zone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pbrl.errors import UserError, choices
from pbrl_envs.mujoco_task import MujocoTask
from pbrl_envs.sweeping.pushing import Pusher

FRAME_SKIP = 12  # physics steps of 0.01 s per action; with a third of it SAC on the true reward hardly learns
BLOCK_RADIUS = 0.085
HALF_THICKNESS = 0.035  # of the agent's bars
TOUCH = BLOCK_RADIUS + HALF_THICKNESS  # from the middle of a bar to that of a block that lies against it
GOAL_Y = 0.7  # the goal zone is the strip above; the walls are at +-1
WELL_IN = 0.1  # m beyond its edge up to which rewards rise: a block that may stop on the edge often stops before it
AGENT_SIZE = 7  # numbers of the observation about the agent
BLOCK_SIZE = 6  # and about each block


class Bar(NamedTuple):
    """A box of the agent's body: its middle and half sizes in m, in the body's axes; the front is +y."""

    x: float
    y: float
    half_x: float
    half_y: float


EMBODIMENTS: dict[str, tuple[Bar, ...]] = {
    "short": (Bar(0, 0, 0.15, HALF_THICKNESS),),
    "medium": (Bar(0, 0, 0.225, HALF_THICKNESS),),
    "long": (Bar(0, 0, 0.325, HALF_THICKNESS),),
    "gripper": (
        Bar(0, 0, 0.25, HALF_THICKNESS),
        Bar(-0.22, 0.105, 0.03, 0.07),
        Bar(0.22, 0.105, 0.03, 0.07),
    ),
}

BLUE, ORANGE, GREEN = ".16 .38 .86 1", ".95 .68 .12 1", ".5 .8 .5 1"


class SweepTask(MujocoTask):
    """Observation: the agent's x, y, cos and sin of its yaw, velocity, turning rate; then of each block its position,
    velocity and position relative to the agent. Action in [-1, 1]^3: force along the world's x and y (top speed 1 m/s)
    and torque (top turning rate 4 rad/s).

    All embodiments see and do the same numbers, so that data and policies carry over from one to another.

    Args:
        embodiment: shape of the agent: a bar that is short (0.3 m), medium (0.45 m) or long (0.65 m), or a gripper,
            which is a bar of 0.5 m with a prong at each end.
        colours: rgba of each block.
        zone: XML of a forbidden zone, if the task has one.
        extra: numbers that the task adds to the observation.
        rendering: see MujocoTask.
    """

    expert_own = tuple(range(AGENT_SIZE))

    def __init__(
        self, *, embodiment: str, colours: Sequence[str], zone: str = "", extra: int = 0, **rendering: Any
    ) -> None:
        if embodiment not in EMBODIMENTS:
            raise UserError(f"embodiment={embodiment}: {choices(embodiment, EMBODIMENTS)}")
        self.embodiment, self.blocks = embodiment, len(colours)
        obs_size = AGENT_SIZE + BLOCK_SIZE * self.blocks + extra
        super().__init__(_world(EMBODIMENTS[embodiment], colours, zone), obs_size, 3, FRAME_SKIP, **rendering)

    def put(self, agent: Sequence[float], blocks: np.ndarray) -> None:
        """Place the agent at x, y, yaw (m, m, rad) and the blocks at (n, 2), all at rest."""
        self.data.qpos[:] = np.concatenate([agent, np.ravel(blocks)])
        self.data.qvel[:] = 0

    def block_positions(self) -> np.ndarray:
        """Return the positions (n, 2) of the blocks in m."""
        return self.data.qpos[3:].reshape(self.blocks, 2)

    def observe(self) -> np.ndarray:
        x, y, yaw = self.data.qpos[:3]
        positions = self.block_positions()
        blocks = np.hstack([positions, self.data.qvel[3:].reshape(-1, 2), positions - (x, y)])
        return np.concatenate([(x, y, np.cos(yaw), np.sin(yaw)), self.data.qvel[:3], blocks.ravel()], dtype=np.float32)

    def effort(self) -> float:
        """Mean squared action, as the motors take it."""
        return float(np.square(np.clip(self.data.ctrl, -1, 1)).mean())

    def reach(self, counted: np.ndarray) -> float:
        """Distance in m from the agent's middle to the nearest of these blocks (n, 2)."""
        return float(np.hypot(*(counted - self.data.qpos[:2]).T).min())

    def draw_agent(self) -> tuple[float, float, float]:
        """Draw where the agent starts: x, y, yaw (m, m, rad), near the lower wall."""
        low, high = (-0.5, -0.78, -0.5), (0.5, -0.68, 0.5)
        x, y, yaw = self.np_random.uniform(low, high)
        return float(x), float(y), float(yaw)

    def pusher(self, obs: np.ndarray) -> Pusher:
        """The agent of an observation, for the scripted policies."""
        yaw = float(np.arctan2(obs[3], obs[2]))
        return Pusher(obs[:2].astype(float), yaw, float(obs[6]), two_sided=self.embodiment != "gripper")

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        """Act in the way that people prefer, without memory: (O,) -> (3,) float32."""
        raise NotImplementedError

    def naive_action(self, obs: np.ndarray) -> np.ndarray:
        """Act in the plain way, which ends in the goal zone as well, without memory: (O,) -> (3,) float32."""
        raise NotImplementedError


def seen_blocks(obs: np.ndarray, blocks: int) -> np.ndarray:
    """Return the positions (n, 2) of the blocks in an observation."""
    return obs[AGENT_SIZE : AGENT_SIZE + BLOCK_SIZE * blocks].reshape(blocks, BLOCK_SIZE)[:, :2].astype(float)


def goal_distance(blocks: np.ndarray) -> np.ndarray:
    """Return by how many m (n,) blocks (n, 2) are short of the goal zone; 0 inside."""
    return np.maximum(GOAL_Y - blocks[:, 1], 0)


def rise(blocks: np.ndarray) -> np.ndarray:
    """Return how many m blocks (n, 2) are short of being well in the goal zone (n,)."""
    return np.maximum(GOAL_Y + WELL_IN - blocks[:, 1], 0)


def _world(bars: tuple[Bar, ...], colours: Sequence[str], zone: str) -> str:
    agent = "".join(
        f'<geom type="box" pos="{b.x} {b.y} 0" size="{b.half_x} {b.half_y} .03" mass="{0.3 / len(bars)}" '
        'rgba=".45 .16 .55 1"/>'
        for b in bars
    )
    return f"""
<mujoco model="sweeping">
  <option timestep="0.01" gravity="0 0 0"/>
  <visual>
    <headlight ambient=".5 .5 .5" diffuse=".5 .5 .5" specular="0 0 0"/>
    <map znear=".05"/>
    <quality shadowsize="0" offsamples="4"/>
  </visual>
  <default>
    <geom friction=".5"/>
    <motor ctrlrange="-1 1" ctrllimited="true"/>
    <default class="picture"><geom contype="0" conaffinity="0"/></default>
    <default class="wall"><geom type="plane" size="1 1 .1" group="3" condim="1" priority="1"/></default>
    <default class="kerb"><geom type="box" contype="0" conaffinity="0" rgba=".35 .38 .43 1"/></default>
    <default class="agent"><joint type="slide" damping="2"/></default>
    <default class="block"><joint type="slide" damping=".5"/></default>
  </default>
  <worldbody>
    <camera name="top" pos="0 0 2.75" fovy="45"/>
    <geom class="picture" type="plane" size="1.1 1.1 .1" rgba=".88 .89 .91 1"/>
    <geom class="picture" type="box" pos="0 {(1 + GOAL_Y) / 2} .001" size="1 {(1 - GOAL_Y) / 2} .001" rgba="{GREEN}"/>
    {zone}
    <geom class="wall" pos="1 0 0" zaxis="-1 0 0"/>
    <geom class="wall" pos="-1 0 0" zaxis="1 0 0"/>
    <geom class="wall" pos="0 1 0" zaxis="0 -1 0"/>
    <geom class="wall" pos="0 -1 0" zaxis="0 1 0"/>
    <geom class="kerb" pos="0 1.04 .03" size="1.08 .04 .03"/>
    <geom class="kerb" pos="0 -1.04 .03" size="1.08 .04 .03"/>
    <geom class="kerb" pos="1.04 0 .03" size=".04 1.08 .03"/>
    <geom class="kerb" pos="-1.04 0 .03" size=".04 1.08 .03"/>
    <body name="agent" pos="0 0 .06" childclass="agent">
      <joint name="x" axis="1 0 0"/>
      <joint name="y" axis="0 1 0"/>
      <joint name="yaw" type="hinge" axis="0 0 1" damping=".1" armature=".01"/>
      {agent}
    </body>
    {"".join(_block(number, colour) for number, colour in enumerate(colours))}
  </worldbody>
  <actuator>
    <motor joint="x" gear="2"/>
    <motor joint="y" gear="2"/>
    <motor joint="yaw" gear=".4"/>
  </actuator>
</mujoco>
"""


def _block(number: int, colour: str) -> str:
    """A disc to look at; what collides is a ball, whose contacts are the quickest. It slides and never turns."""
    return f"""
    <body name="block{number}" pos="0 0 .06" childclass="block">
      <joint name="block{number}_x" axis="1 0 0"/>
      <joint name="block{number}_y" axis="0 1 0"/>
      <geom type="sphere" size="{BLOCK_RADIUS}" mass=".1" group="3"/>
      <geom class="picture" type="cylinder" size="{BLOCK_RADIUS} .025" rgba="{colour}" mass="0"/>
    </body>"""
