"""TabletopGroup: bring two blocks together at a goal."""

from __future__ import annotations

from math import atan2, cos, dist, hypot, sin
from typing import Any

import mujoco
import numpy as np

from pbrl_envs.mujoco_task import Measured
from pbrl_envs.tabletop.arm import BASE_X, BLOCK_HALF, block_xml, flat_goal
from pbrl_envs.tabletop.task import TabletopTask, carry, closeness, grasp, holds, toward

GOAL_RADIUS = 0.05
TOGETHER = 0.015  # m between the blocks
AREA_LOW, AREA_HIGH = (-0.15, -0.22), (0.15, 0.22)  # of blocks and goal
SPACING = 0.13  # between any two of them, so that the hand fits around a block
PLACED = 0.012  # m from its slot; of the scripted policy


class TabletopGroup(TabletopTask):
    """Observation: the hand (7), red and blue block (10 each), grip to either (6), goal (x, y). Action: 4 numbers.

    With `gap`, the space between the blocks, and `distance` of the middle between them to the goal, the reward per step
    is 0.2 * (1 - tanh(5 * hand_distance)) + 0.4 * (1 - tanh(5 * gap)) + 0.4 * (1 - tanh(5 * distance)), in (0, 1].
    Success: gap at most TOGETHER and distance at most GOAL_RADIUS now. Factors: those three in m (`hand_distance` is to
    the block that is farther from the goal) and `effort`, the mean squared velocity action. Truncated after 150 steps.
    """

    expert_own = tuple(range(33))  # all but the goal

    def __init__(self, **rendering: Any) -> None:
        blocks = block_xml("red", ".86 .22 .20 1") + block_xml("blue", ".18 .40 .85 1")
        super().__init__("tabletop_group", flat_goal(GOAL_RADIUS) + blocks, obs_size=35, gripper=True, **rendering)
        self._blocks = tuple(self.model.geom(name).id for name in ("red", "blue"))

    def place(self) -> None:
        super().place()
        while True:
            red, blue, goal = self.np_random.uniform(AREA_LOW, AREA_HIGH, (3, 2)).tolist()
            if min(dist(red, blue), dist(red, goal), dist(blue, goal)) >= SPACING:
                break
        self.place_block(0, *red)
        self.place_block(1, *blue)
        self.data.mocap_pos[0, :2] = goal

    def observe(self) -> np.ndarray:
        to_blocks = (self.block(number) - self.grip for number in range(2))
        return self.observe_with(self.block_state(0), self.block_state(1), *to_blocks, self.data.mocap_pos[0, :2])

    def measure(self) -> Measured:
        goal = self.data.mocap_pos[0, :2]
        middle = (self.block(0) + self.block(1))[:2] / 2
        gap, distance = self._gap(), hypot(*(middle - goal).tolist())
        farther = max((self.block(number).tolist() for number in range(2)), key=lambda block: dist(block[:2], goal))
        hand_distance = dist(self.grip, farther)
        reward = 0.2 * closeness(hand_distance) + 0.4 * closeness(gap) + 0.4 * closeness(distance)
        factors = {"gap": gap, "distance": distance, "hand_distance": hand_distance, "effort": self.effort}
        return Measured(reward, gap <= TOGETHER and distance <= GOAL_RADIUS, factors)

    def _gap(self) -> float:
        mujoco.mj_kinematics(self.model, self.data)  # mj_step leaves the geoms one physics step behind
        return max(mujoco.mj_geomDistance(self.model, self.data, *self._blocks, 1.0, None), 0.0)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        """Bring the red block to the far half of the goal, then the blue one before it, as seen from the arm's base."""
        grip, opening, red, blue, goal = obs[:3], obs[6], obs[7:10], obs[17:20], obs[33:35]
        angle = atan2(goal[1], goal[0] - BASE_X)
        outwards = np.array([cos(angle), sin(angle)]) * (BLOCK_HALF + 0.001)
        for block, slot in ((red, goal + outwards), (blue, red[:2] - 2 * outwards)):
            placed = hypot(*(block[:2] - slot)) <= PLACED and block[2] <= BLOCK_HALF + 0.004
            if placed and dist(grip, block) < 0.03 and opening < 0.09:
                return np.append(toward(grip, block), -1).astype(np.float32)  # let go before leaving
            if not placed:
                target = np.append(slot, BLOCK_HALF)
                held = holds(grip, opening, block)
                return (carry(block, target) if held else grasp(grip, block)).astype(np.float32)
        return np.append(toward(grip, np.array([grip[0], grip[1], 0.2])), -1).astype(np.float32)
