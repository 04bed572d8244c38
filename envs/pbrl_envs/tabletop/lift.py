"""TabletopLift: grasp a block and lift it."""

from __future__ import annotations

from math import dist
from typing import Any

import numpy as np

from pbrl_envs.mujoco_task import Measured
from pbrl_envs.tabletop.arm import BLOCK_HALF, block_xml
from pbrl_envs.tabletop.task import TabletopTask, closeness, grasp, holds, toward

LIFTED = 0.1  # m
AREA_LOW, AREA_HIGH = (-0.15, -0.22), (0.15, 0.22)  # of the block


class TabletopLift(TabletopTask):
    """Observation: the hand (7), block (position, quaternion, velocity: 10), grip to block (3). Action: 4 numbers.

    Reward per step is 0.3 * (1 - tanh(5 * hand_distance)) + 0.2 * grasped + 0.5 * min(height / LIFTED, 1), in (0, 1].
    Success: the height is at least LIFTED now. Factors: `height` of the block above the table and `hand_distance` from
    the grip to its middle in m; `grasped`, 1 while both fingers touch it; `effort`, the mean squared velocity action.
    Truncated after 100 steps.
    """

    def __init__(self, **rendering: Any) -> None:
        super().__init__("tabletop_lift", block_xml("block", ".86 .22 .20 1"), obs_size=20, gripper=True, **rendering)
        self._block = self.model.geom("block").id
        self._fingers = {self.model.geom(f"{side}_finger").id for side in ("left", "right")}

    def place(self) -> None:
        super().place()
        self.place_block(0, *self.np_random.uniform(AREA_LOW, AREA_HIGH))

    def observe(self) -> np.ndarray:
        return self.observe_with(self.block_state(0), self.block(0) - self.grip)

    def measure(self) -> Measured:
        block = self.block(0).tolist()
        height, hand_distance = max(block[2] - BLOCK_HALF, 0.0), dist(self.grip, block)
        grasped = self._grasped()
        reward = 0.3 * closeness(hand_distance) + 0.2 * grasped + 0.5 * min(height / LIFTED, 1)
        factors = {"height": height, "hand_distance": hand_distance, "grasped": float(grasped), "effort": self.effort}
        return Measured(reward, height >= LIFTED, factors)

    def _grasped(self) -> bool:
        pairs = self.data.contact.geom.tolist()
        touching = {geom for pair in pairs if self._block in pair for geom in pair}
        return touching >= self._fingers

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        """Go over the block, around it, close, and lift."""
        grip, block = obs[:3], obs[7:10]
        if holds(grip, obs[6], block):
            return np.append(toward(grip, np.array([grip[0], grip[1], LIFTED + 0.06])), 1).astype(np.float32)
        return grasp(grip, block).astype(np.float32)
