"""The base of the tabletop tasks: the action, where the hand starts, closeness, and steps of scripted policies."""

from __future__ import annotations

from math import atan2, cos, hypot, sin, tanh
from typing import Any

import numpy as np

from pbrl_envs.mujoco_task import MujocoTask
from pbrl_envs.tabletop.arm import (
    BASE_X,
    BLOCK_HALF,
    FINGER_RANGE,
    FINGERS,
    JOINTS,
    Pose,
    grip_pose,
    grip_velocity,
    joint_angles,
    world_xml,
)

TIMESTEP = 0.008  # s
FRAME_SKIP = 5  # physics steps per action: 25 actions a second
SECONDS = TIMESTEP * FRAME_SKIP  # of an action
STEP = 0.5 * SECONDS  # m that an action of 1 moves the hand: 0.5 m/s
LEASH = 0.04  # m along each axis that the target may be ahead of the hand, so that a blocked hand soon turns back
LOW, HIGH = (-0.2, -0.26, 0.03), (0.2, 0.26, 0.25)  # of the target; 0.03 is the middle of a block
TRAVEL_Z = 0.13  # where the hand passes over blocks, with room for one that it carries
GAIN = 20.0  # of scripted policies, per m: full speed until 5 cm before the target


class TabletopTask(MujocoTask):
    """Action: velocity of the grip along x, y and z (1 is 0.5 m/s), then with a gripper how far it closes.

    The fingers' action is a position: -1 is open (0.1 m), 1 closed with at most 5 N. Tasks without it keep them closed.
    The joints are position servos, whose targets MuJoCo moves evenly from one action to the next and keeps as
    activations; the arm's weight is compensated. The observation starts with the hand: position and velocity of the
    grip and how far the fingers are open, in m and m/s (7 numbers).

    Args:
        name: of the model.
        bodies: XML of what is on the table.
        obs_size: O, with those 7.
        gripper: whether the action has a fourth number for the fingers.
        rendering: as of MujocoTask; cameras are `top` (default) and `front`.
    """

    def __init__(self, name: str, bodies: str, obs_size: int, gripper: bool, **rendering: Any) -> None:
        super().__init__(
            world_xml(name, TIMESTEP, gripper, bodies),
            obs_size=obs_size,
            action_size=4 if gripper else 3,
            frame_skip=FRAME_SKIP,
            **rendering,
        )
        self.gripper = gripper
        self.effort = 0.0  # of the last step: mean square of the three velocities, in [0, 1]

    @property
    def grip(self) -> Pose:
        return grip_pose(self.data.qpos[JOINTS].tolist())

    def place(self) -> None:
        """Put the hand anywhere in the upper half of its space; with a gripper it is open."""
        low, high = np.array(LOW), np.array(HIGH)
        low[2] = 0.12
        self.place_hand(self.np_random.uniform(low, high))

    def place_hand(self, position: np.ndarray) -> None:
        """Put the grip at a position (3,), at rest."""
        self.effort = 0.0
        angles = joint_angles(Pose(*position.tolist()))
        fingers = FINGER_RANGE if self.gripper else 0.0
        self.data.qpos[JOINTS] = self.data.act[JOINTS] = angles
        self.data.ctrl[JOINTS] = 0
        self.data.qpos[FINGERS] = self.data.ctrl[FINGERS] = fingers

    def act(self, action: np.ndarray) -> None:
        values = np.clip(action, -1, 1).tolist()
        self.effort = sum(value * value for value in values[:3]) / 3
        angles = self.data.act[JOINTS].tolist()
        target = []
        for here, was, value, low, high in zip(self.grip, grip_pose(angles), values, LOW, HIGH, strict=False):
            ahead = min(max(was + STEP * value, here - LEASH), here + LEASH)
            target.append(min(max(ahead, low), high))
        turned = zip(joint_angles(Pose(*target)), angles, strict=True)
        self.data.ctrl[JOINTS] = [(new - old) / SECONDS for new, old in turned]
        if self.gripper:
            self.data.ctrl[FINGERS] = FINGER_RANGE * (1 - values[3]) / 2

    def place_block(self, number: int, x: float, y: float) -> None:
        """Place a block on the table, one side facing the arm's base, so that fingers find two parallel sides."""
        half_turn = atan2(y, x - BASE_X) / 2
        start = FINGERS.stop + 7 * number
        self.data.qpos[start : start + 7] = x, y, BLOCK_HALF, cos(half_turn), 0, 0, sin(half_turn)

    def block(self, number: int) -> np.ndarray:
        """Return the position (3,) of a block's middle."""
        start = FINGERS.stop + 7 * number
        return self.data.qpos[start : start + 3]

    def block_state(self, number: int) -> np.ndarray:
        """Return position, quaternion and velocity in m/s of a block (10,)."""
        start, rates = FINGERS.stop + 7 * number, FINGERS.stop + 6 * number
        return np.concatenate([self.data.qpos[start : start + 7], self.data.qvel[rates : rates + 3]])

    def observe_with(self, *others: np.ndarray) -> np.ndarray:
        """Return the observation (O,): grip position and velocity, opening in m, then the others."""
        angles, rates = self.data.qpos[JOINTS].tolist(), self.data.qvel[JOINTS].tolist()
        opening = float(self.data.qpos[FINGERS].sum())
        hand = (*grip_pose(angles), *grip_velocity(angles, rates), opening)
        return np.concatenate([hand, *others], dtype=np.float32)


def closeness(distance: float) -> float:
    """1 - tanh(5 * distance), in (0, 1]: 1 at zero, a half at 11 cm, 0.07 at 40 cm."""
    return 1 - tanh(5 * distance)


def toward(grip: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the velocity action (3,) that takes the grip (3,) to the target (3,)."""
    return np.clip(GAIN * (target - grip), -1, 1)


def over(grip: np.ndarray, target: np.ndarray, height: float, tolerance: float) -> np.ndarray:
    """Return a velocity action (3,): up to `height`, across, and down once at most `tolerance` off to the side (m)."""
    if hypot(*(target - grip)[:2]) <= tolerance:
        return toward(grip, target)
    waypoint = np.array([*target[:2], max(height, target[2])])
    if grip[2] < waypoint[2] - 0.02:
        waypoint[:2] = grip[:2]
    return toward(grip, waypoint)


def grasp(grip: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return the action (4,) that goes over the block (3,) with open fingers, down around it, and closes."""
    aside, above = hypot(*(block - grip)[:2]), abs(block[2] - grip[2])
    if aside < 0.02 and above < 0.015:
        return np.append(toward(grip, block), 1)
    return np.append(over(grip, block, height=TRAVEL_Z, tolerance=0.015), -1)


def holds(grip: np.ndarray, opening: float, block: np.ndarray) -> bool:
    """Return whether closed fingers are around the block (3,)."""
    return bool(0.035 < opening < 0.065 and np.linalg.norm(block - grip) < 0.045)  # a jerk squeezes it for a moment


def carry(block: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the action (4,) that takes the held block (3,) to the target (3,), above others but at the end."""
    low = block[2] < BLOCK_HALF + 0.02
    return np.append(over(block, target, height=TRAVEL_Z - 0.02, tolerance=0.03 if low else 0.012), 1)
