"""The pushing of the scripted policies: face the block, circle to the side away from its target, then press on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLEARANCE = 0.06  # m between the agent and what it circles
CONE = 0.35  # rad off the line of pushing within which it presses on
UP = np.array([0.0, 1.0])  # towards the goal zone


class Pusher(NamedTuple):
    """The agent as the scripted policies see it."""

    position: np.ndarray  # (2,) m
    yaw: float  # rad; its front is at yaw + pi/2
    turning: float  # rad/s
    two_sided: bool  # whether its back pushes as well as its front


def push(pusher: Pusher, load: np.ndarray, target: np.ndarray, touch: float, half_width: float = 0.0) -> np.ndarray:
    """Action (3,) float32 that brings `load` (2,), the middle of a block or of a pair, towards `target` (2,).

    touch: distance of the agent's middle from the load's while it pushes. half_width: how far from its middle a load
    of several blocks reaches, so that circling keeps clear of it. The agent faces what it circles: its bar is then a
    tangent, and stays clear of the load however long it is.
    """
    to_load, way = load - pusher.position, target - load
    distance = max(float(np.hypot(*to_load)), 1e-9)
    ahead, aim = to_load / distance, way / max(float(np.hypot(*way)), 1e-9)
    off_line = float(np.arctan2(aim[0] * ahead[1] - aim[1] * ahead[0], aim @ ahead))
    if abs(off_line) < CONE:
        aside = to_load - (to_load @ aim) * aim
        return _move(pusher, aim + 6 * aside, facing=aim, careful=distance < touch + 2 * CLEARANCE)
    orbit = touch + half_width + CLEARANCE
    around = np.sign(off_line) * np.array([-ahead[1], ahead[0]])
    inwards = np.clip(6 * (distance - orbit), -1, 1) * ahead
    return _move(pusher, around + inwards, facing=ahead, careful=distance < orbit + 2 * CLEARANCE)


def rest() -> np.ndarray:
    """The action that lets everything come to rest."""
    return np.zeros(3, np.float32)


def _move(pusher: Pusher, velocity: np.ndarray, facing: np.ndarray, careful: bool) -> np.ndarray:
    turn = np.arctan2(facing[1], facing[0]) - np.pi / 2 - pusher.yaw
    period = np.pi if pusher.two_sided else 2 * np.pi
    turn = (turn + period / 2) % period - period / 2
    velocity = velocity / max(1.0, float(np.hypot(*velocity)))
    if careful:
        velocity = velocity * max(0.1, np.cos(turn) ** 3)
    return np.clip([*velocity, 4 * turn - 0.3 * pusher.turning], -1, 1).astype(np.float32)
