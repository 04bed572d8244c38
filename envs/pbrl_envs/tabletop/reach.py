"""TabletopReach: bring the hand to a point above the table."""

from __future__ import annotations

from math import dist
from typing import Any

import numpy as np

from pbrl_envs.mujoco_task import Measured
from pbrl_envs.tabletop.arm import floating_goal
from pbrl_envs.tabletop.task import HIGH, LOW, TabletopTask, closeness, toward

GOAL_RADIUS = 0.03


class TabletopReach(TabletopTask):
    """Observation: the hand (7, see TabletopTask), grip to goal (3), goal (3). Action: 3 numbers.

    Reward per step is 1 - tanh(5 * distance), in (0, 1]. Success: within GOAL_RADIUS now. Factors: `distance` to the
    goal in m and `effort`, the mean squared velocity action. Truncated after 100 steps.
    """

    expert_own = tuple(range(10))  # all but the goal; the policy does not read the vector to it

    def __init__(self, **rendering: Any) -> None:
        super().__init__("tabletop_reach", floating_goal(GOAL_RADIUS), obs_size=13, gripper=False, **rendering)

    def place(self) -> None:
        super().place()
        self.data.mocap_pos[0] = self.np_random.uniform(LOW, HIGH)

    def observe(self) -> np.ndarray:
        goal = self.data.mocap_pos[0]
        return self.observe_with(goal - self.grip, goal)

    def measure(self) -> Measured:
        distance = dist(self.grip, self.data.mocap_pos[0].tolist())
        return Measured(closeness(distance), distance <= GOAL_RADIUS, {"distance": distance, "effort": self.effort})

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        """Go straight to the goal."""
        return toward(obs[:3], obs[10:13]).astype(np.float32)
