"""SweepAvoiding: bring a block to the goal zone and keep it out of a forbidden zone that lies on the straight way.

After the task Avoiding of RAPL (Tian et al. 2023); sizes, physics and reward are our own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pbrl_envs.mujoco_task import Measured
from pbrl_envs.sweeping.pushing import UP, push, rest
from pbrl_envs.sweeping.world import (
    BLOCK_RADIUS,
    BLUE,
    GOAL_Y,
    TOUCH,
    WELL_IN,
    SweepTask,
    goal_distance,
    rise,
    seen_blocks,
)

ZONE_Y, ZONE_HALF = 0.2, (0.26, 0.12)  # middle and half sizes of the forbidden zone, in m
ZONE_RANGE = 0.2  # its x is uniform in [-0.2, 0.2]
MARGIN = 0.08  # m by which the scripted policy passes wide of it
CLEARANCE = 0.05  # m that the way of the reward keeps from it, or the best policy would graze its corners
INTRUSION_WEIGHT = 6.0  # a crossing, about 4 steps, then costs more than the time of the way around

ZONE = f"""<body name="zone" mocap="true" pos="0 {ZONE_Y} .001">
      <geom class="picture" type="box" size="{ZONE_HALF[0]} {ZONE_HALF[1]} .001" rgba=".93 .36 .33 1"/>
    </body>"""


class SweepAvoiding(SweepTask):
    """One block, below the forbidden zone at the start, and a goal zone behind it.

    Reward per step: 0.2 (1 - tanh(2 reach)) + 0.8 (1 - tanh(way)) - 6 min(intrusion / BLOCK_RADIUS, 1), in (-6, 1];
    `way` is the length of the shortest way of the block well into the goal zone that keeps CLEARANCE from the other.
    Factors, in m: `distance` of the block to the goal zone, `intrusion` by how much its edge reaches into the forbidden
    zone, `reach` from the agent to the block; and `effort`, the mean squared action. Success: the block is in the goal
    zone now and never touched the forbidden zone in this episode. The observation ends with the x of that zone.
    """

    sim_state_attributes = ("entered",)

    def __init__(self, *, embodiment: str = "medium", **rendering: Any) -> None:
        self.entered = False  # whether the block touched the forbidden zone in this episode
        super().__init__(embodiment=embodiment, colours=(BLUE,), zone=ZONE, extra=1, **rendering)

    def place(self) -> None:
        zone = self.np_random.uniform(-ZONE_RANGE, ZONE_RANGE)
        aside = self.np_random.uniform(-0.2, 0.2)
        self.data.mocap_pos[0, 0] = zone
        self.put(self.draw_agent(), np.array([zone + aside, self.np_random.uniform(-0.4, -0.2)]))
        self.entered = False

    def observe(self) -> np.ndarray:
        return np.append(super().observe(), np.float32(self.data.mocap_pos[0, 0]))

    def measure(self) -> Measured:
        blocks, zone = self.block_positions(), float(self.data.mocap_pos[0, 0])
        distance, reach = float(goal_distance(blocks)[0]), self.reach(blocks)
        depth = intrusion(blocks[0], zone)
        self.entered = self.entered or depth > 0
        reward = 0.2 * (1 - np.tanh(2 * reach)) + 0.8 * (1 - np.tanh(way_around(blocks[0], zone)))
        reward -= INTRUSION_WEIGHT * min(depth / BLOCK_RADIUS, 1)
        factors = {"distance": distance, "intrusion": depth, "reach": reach, "effort": self.effort()}
        return Measured(float(reward), distance == 0 and not self.entered, factors)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        block, zone = seen_blocks(obs, 1)[0], float(obs[-1])
        off, corner_y = block[0] - zone, ZONE_Y - _half_y() - MARGIN / 2
        if abs(off) > _half_x() + MARGIN / 3 or block[1] > ZONE_Y + _half_y():
            outside = max(abs(off), _half_x() + MARGIN)
            return self._push_until_in(obs, np.array([zone + np.copysign(outside, off), max(block[1], corner_y) + 0.3]))
        # Go to the near side, but rather away from the agent, or it would change its mind at the zone's middle.
        side = np.copysign(_half_x() + MARGIN, off - 0.5 * (obs[0] - block[0]))
        target = np.array([zone + side, max(block[1], corner_y)])
        return self._push_until_in(obs, target)

    def naive_action(self, obs: np.ndarray) -> np.ndarray:
        return self._push_until_in(obs, seen_blocks(obs, 1)[0] + UP)

    def _push_until_in(self, obs: np.ndarray, target: np.ndarray) -> np.ndarray:
        block = seen_blocks(obs, 1)[0]
        return rest() if block[1] > GOAL_Y + WELL_IN else push(self.pusher(obs), block, target, TOUCH)


def intrusion(block: np.ndarray, zone: float) -> float:
    """Return how far the edge of a block at (2,) reaches into the forbidden zone at x = zone, in m; 0 outside.

    The block's radius less the signed distance of its middle to the zone (negative inside).
    """
    x, y = abs(block[0] - zone) - ZONE_HALF[0], abs(block[1] - ZONE_Y) - ZONE_HALF[1]
    signed = float(np.hypot(max(x, 0), max(y, 0))) + min(max(x, y), 0.0)
    return max(BLOCK_RADIUS - signed, 0.0)


def way_around(block: np.ndarray, zone: float) -> float:
    """Return the shortest way of a block at (2,) to WELL_IN m inside the goal zone around the forbidden one, in m.

    The zone is taken as the rectangle that the block's middle must not enter, and CLEARANCE more below and beside it.
    From inside, out through the nearer side.
    """
    up = float(rise(block[None])[0])
    aside = _half_x() + CLEARANCE - abs(block[0] - zone)
    if aside <= 0 or block[1] >= ZONE_Y + _half_y():
        return up
    corner = ZONE_Y - _half_y() - CLEARANCE
    below = max(corner - block[1], 0.0)
    return float(np.hypot(aside, below) + up - below)


def _half_x() -> float:
    return ZONE_HALF[0] + BLOCK_RADIUS


def _half_y() -> float:
    return ZONE_HALF[1] + BLOCK_RADIUS
