"""SweepGrouping: bring two matching blocks together, then both at once to the goal zone.

After the task Grouping of RAPL (Tian et al. 2023); sizes, physics and reward are our own.
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
    ORANGE,
    TOUCH,
    WELL_IN,
    SweepTask,
    goal_distance,
    rise,
    seen_blocks,
)

APART = 0.3  # m between the middles of the pair along x, at least, at the start
TOGETHER = 0.15  # m between the edges of the pair up to which it counts as together
JOINED = 0.04  # and up to which the scripted policy leaves it as it is
FAR = 1.3  # m short of being well in the goal zone at which there is no progress
PAIR_AREA = (-0.3, -0.1), (0.3, 0.1)  # corners of where the pair starts
OTHER_AREA = (-0.6, 0.35), (0.6, 0.5)  # and the orange block, between the pair and the goal


class SweepGrouping(SweepTask):
    """A pair of blue blocks, apart at the start, and an orange one that does not count.

    Reward per step: 0.1 near + 0.9 together * progress, in (0, 1], with near = 1 - tanh(2 reach), together =
    1 - tanh(2 gap) and progress = 1 - rise / FAR; `rise` is how far the pair is on average from WELL_IN m inside the
    goal zone. Factors, in m: `distance` to the goal zone, mean of the pair, `gap` between the edges of the pair,
    `reach` from the agent to the nearer one of it; and `effort`, the mean squared action. Success: both are in the goal
    zone now, and neither was ever in it with a gap above TOGETHER.
    """

    sim_state_attributes = ("went_alone",)

    def __init__(self, *, embodiment: str = "medium", **rendering: Any) -> None:
        self.went_alone = False  # whether a block of the pair was in the goal zone without the other
        super().__init__(embodiment=embodiment, colours=(BLUE, BLUE, ORANGE), **rendering)

    def place(self) -> None:
        pair = self.np_random.uniform(*PAIR_AREA, (2, 2))
        while abs(pair[0, 0] - pair[1, 0]) < APART:
            pair = self.np_random.uniform(*PAIR_AREA, (2, 2))
        self.put(self.draw_agent(), np.vstack([pair, self.np_random.uniform(*OTHER_AREA)]))
        self.went_alone = False

    def measure(self) -> Measured:
        pair = self.block_positions()[:2]
        short_of, apart = goal_distance(pair), gap(pair)
        self.went_alone = self.went_alone or bool(short_of.min() == 0 and apart > TOGETHER)
        distance, reach = float(short_of.mean()), self.reach(pair)
        near, together = 1 - np.tanh(2 * reach), 1 - np.tanh(2 * apart)
        progress = max(1 - float(rise(pair).mean()) / FAR, 0)
        reward = 0.1 * near + 0.9 * together * progress
        factors = {"distance": distance, "gap": apart, "reach": reach, "effort": self.effort()}
        return Measured(float(reward), distance == 0 and not self.went_alone, factors)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        one, two, other = seen_blocks(obs, 3)
        if min(one[1], two[1]) > GOAL_Y + WELL_IN:
            return rest()
        pusher, pair = self.pusher(obs), np.stack([one, two])
        if gap(pair) <= JOINED:
            middle = pair.mean(0)
            return push(pusher, middle, middle + UP, TOUCH, half_width=BLOCK_RADIUS)
        if abs(one[0] - other[0]) > abs(two[0] - other[0]):  # the pair meets where the orange block is not in its way
            one, two = two, one
        side = np.copysign(1, one[0] - two[0])
        return push(pusher, one, two + side * np.array([2 * BLOCK_RADIUS, 0]), TOUCH)

    def naive_action(self, obs: np.ndarray) -> np.ndarray:
        pusher, pair = self.pusher(obs), seen_blocks(obs, 2)
        left = pair[pair[:, 1] < GOAL_Y + WELL_IN]
        if not len(left):
            return rest()
        nearest = left[np.argmin(np.hypot(*(left - pusher.position).T))]
        return push(pusher, nearest, nearest + UP, TOUCH)


def gap(pair: np.ndarray) -> float:
    """Distance in m between the edges of two blocks (2, 2)."""
    return max(float(np.hypot(*(pair[0] - pair[1]))) - 2 * BLOCK_RADIUS, 0.0)
