"""TabletopPush: push a puck to a goal with closed fingers."""

from __future__ import annotations

from math import dist, hypot
from typing import Any

import numpy as np

from pbrl_envs.mujoco_task import Measured
from pbrl_envs.tabletop.arm import FINGERS, flat_goal
from pbrl_envs.tabletop.task import TabletopTask, closeness, over

GOAL_RADIUS = 0.05
PUCK_RADIUS, PUCK_HALF = 0.035, 0.02
AREA_LOW, AREA_HIGH = (-0.12, -0.18), (0.12, 0.18)  # of puck and goal; the hand fits behind the puck on all sides
SPACING = 0.12  # from puck to goal, at least
BEHIND = PUCK_RADIUS + 0.035  # from the puck's middle to where the scripted hand comes down
PUSH_Z = 0.03

PUCK = f"""
    <body name="puck" childclass="block">
      <freejoint/>
      <geom name="puck" type="cylinder" size="{PUCK_RADIUS} {PUCK_HALF}" rgba=".86 .22 .20 1"
        friction=".5 .01 .0001" priority="1"/>
    </body>"""


class TabletopPush(TabletopTask):
    """Observation: the hand (7), puck (position, velocity: 6), grip to puck (3), puck to goal (2), goal (2).
    Action: 3 numbers.

    Reward per step is 0.25 * (1 - tanh(5 * hand_distance)) + 0.75 * (1 - tanh(5 * distance)), in (0, 1]. Success: the
    puck's middle is within GOAL_RADIUS of the goal now. Factors: `distance` of the puck to the goal and `hand_distance`
    from the grip to the puck's middle in m; `effort`, the mean squared velocity action. Truncated after 150 steps.
    """

    expert_own = tuple(range(18))  # all but the goal; the policy does not read the vector to it

    def __init__(self, **rendering: Any) -> None:
        super().__init__("tabletop_push", flat_goal(GOAL_RADIUS) + PUCK, obs_size=20, gripper=False, **rendering)

    @property
    def puck(self) -> np.ndarray:
        """Return the position (3,) of the puck's middle."""
        return self.data.qpos[FINGERS.stop : FINGERS.stop + 3]

    def place(self) -> None:
        super().place()
        while True:
            puck, goal = self.np_random.uniform(AREA_LOW, AREA_HIGH, (2, 2)).tolist()
            if dist(puck, goal) >= SPACING:
                break
        self.puck[:] = *puck, PUCK_HALF
        self.data.mocap_pos[0, :2] = goal

    def observe(self) -> np.ndarray:
        goal, velocity = self.data.mocap_pos[0, :2], self.data.qvel[FINGERS.stop : FINGERS.stop + 3]
        return self.observe_with(self.puck, velocity, self.puck - self.grip, goal - self.puck[:2], goal)

    def measure(self) -> Measured:
        distance = dist(self.puck[:2].tolist(), self.data.mocap_pos[0, :2].tolist())
        hand_distance = dist(self.grip, self.puck.tolist())
        reward = 0.25 * closeness(hand_distance) + 0.75 * closeness(distance)
        factors = {"distance": distance, "hand_distance": hand_distance, "effort": self.effort}
        return Measured(reward, distance <= GOAL_RADIUS, factors)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        """Go down behind the puck, then after it, steering back onto the line from goal to puck."""
        grip, puck, goal = obs[:3], obs[7:10], obs[18:20]
        left = goal - puck[:2]
        distance = hypot(*left)
        if distance < 0.01:
            return np.zeros(3, np.float32)
        ahead = left / distance
        behind = np.array([*(puck[:2] - BEHIND * ahead), PUSH_Z])
        offset = grip[:2] - puck[:2]
        along, aside = offset @ ahead, offset - (offset @ ahead) * ahead
        if grip[2] > PUCK_HALF * 2 or along > -PUCK_RADIUS or hypot(*aside) > 0.02:
            return over(grip, behind, height=0.1, tolerance=0.01).astype(np.float32)
        speed = np.clip(6 * distance, 0.1, 0.5)
        return np.array([*np.clip(speed * ahead - 30 * aside, -1, 1), 0], np.float32)
