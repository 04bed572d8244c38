"""TabletopClutter: bring the hand to a point on the other side of four posts without touching them."""

from __future__ import annotations

from math import dist, hypot, tanh
from typing import Any

import numpy as np

from pbrl_envs.mujoco_task import Measured
from pbrl_envs.tabletop.arm import FINGERS, NO_CONTACT, POST_CONTACT, floating_goal
from pbrl_envs.tabletop.task import HIGH, LOW, TabletopTask, closeness, over

GOAL_RADIUS = 0.03
POSTS = 4
POST_RADIUS, POST_HEIGHT = 0.022, 0.12
POST_SPACING = 0.075  # from axis to axis, at least; 3 such discs leave room for a fourth post in the area below
AREA = (0.4, 0.2)  # of the posts, along x and y; 0.1 m away from start and goal, so that the hand fits beside them
SIDE_Y, LOW_Z, HIGH_Z = (0.2, 0.26), 0.04, 0.08  # start and goal: |y|, and heights that are lower than the posts
TOUCHED = 1e-3  # m; nothing but a touch moves a post
CLEAR_Z = 0.17  # where the fingertips pass over the posts


def post_xml(number: int) -> str:
    """A post on two rails with friction of oil, and the mark on the table where it stood."""
    ends = f"0 0 {POST_RADIUS} 0 0 {POST_HEIGHT - POST_RADIUS}"
    return f"""
    <body name="post{number}">
      <joint name="post{number}_x" type="slide" axis="1 0 0" damping="2"/>
      <joint name="post{number}_y" type="slide" axis="0 1 0" damping="2"/>
      <geom name="post{number}" type="capsule" fromto="{ends}" size="{POST_RADIUS}" mass=".1" rgba=".55 .30 .72 1"
        {POST_CONTACT}/>
    </body>
    <body name="mark{number}" mocap="true">
      <geom type="cylinder" size="{POST_RADIUS + 0.008} .001" pos="0 0 .001" rgba=".35 .20 .45 1" {NO_CONTACT}/>
    </body>"""


class TabletopClutter(TabletopTask):
    """Observation: the hand (7), grip to goal (3), posts (x, y each: 8), `moved` (1), goal (3). Action: 3 numbers.

    Start and goal are low, on either side of the posts. The way over them is free, the straight one seldom.

    Reward per step is 1 - tanh(5 * distance) - 0.5 * tanh(10 * moved), in (-0.5, 1]. Success: within GOAL_RADIUS of the
    goal now, and every post on its mark. Factors: `distance` to the goal in m; `touched`, 1 while a post is more than
    1 mm from its mark; `moved`, the sum of the posts' distances from their marks in m; `effort`, the mean squared
    velocity action. Truncated after 100 steps.
    """

    expert_own = tuple(range(19))  # all but the goal

    def __init__(self, **rendering: Any) -> None:
        bodies = floating_goal(GOAL_RADIUS) + "".join(post_xml(number) for number in range(POSTS))
        super().__init__("tabletop_clutter", bodies, obs_size=22, gripper=False, **rendering)

    @property
    def posts(self) -> np.ndarray:
        """Return the positions (4, 2) of the posts in m."""
        return self.data.qpos[FINGERS.stop :].reshape(POSTS, 2)

    def place(self) -> None:
        side = self.np_random.choice([-1, 1])
        start, goal = self._beside(side), self._beside(-side)
        self.place_hand(start)
        self.data.mocap_pos[0] = goal
        for number in range(POSTS):
            self.posts[number] = self._free_place(self.posts[:number])
        self.data.mocap_pos[1:, :2] = self.posts

    def _beside(self, side: int) -> np.ndarray:
        x, y, z = self.np_random.uniform((LOW[0], SIDE_Y[0], LOW_Z), (HIGH[0], SIDE_Y[1], HIGH_Z))
        return np.array([x, side * y, z])

    def _free_place(self, others: np.ndarray) -> np.ndarray:
        while True:
            place = self.np_random.uniform(-0.5, 0.5, 2) * AREA
            if all(hypot(*(place - other)) >= POST_SPACING for other in others):
                return place

    def _displacements(self) -> list[float]:
        return [hypot(*offset) for offset in (self.posts - self.data.mocap_pos[1:, :2]).tolist()]

    def observe(self) -> np.ndarray:
        goal = self.data.mocap_pos[0]
        moved = np.array([sum(self._displacements())])
        return self.observe_with(goal - self.grip, self.posts.ravel(), moved, goal)

    def measure(self) -> Measured:
        distance = dist(self.grip, self.data.mocap_pos[0].tolist())
        displacements = self._displacements()
        moved, touched = sum(displacements), max(displacements) > TOUCHED
        factors = {"distance": distance, "touched": float(touched), "moved": moved, "effort": self.effort}
        reward = closeness(distance) - 0.5 * tanh(10 * moved)
        return Measured(reward, distance <= GOAL_RADIUS and not touched, factors)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        """Carry the hand over the posts to the goal."""
        return over(obs[:3], obs[19:22], height=CLEAR_Z, tolerance=0.02).astype(np.float32)
