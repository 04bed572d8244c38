"""The arm and its table: MuJoCo model and closed-form kinematics.

Four joints (turn of the base, shoulder, elbow, wrist) and two fingers. The upper arm and the forearm move in one
vertical plane, which the base turns, and the wrist keeps the hand pointing down; so the inverse kinematics are those of
a triangle and need neither a Jacobian nor iterations. The fingers open across that plane.

The world's origin is the middle of the table top, x points away from the arm's base, z up. Lengths in m, angles in rad.
"""

from __future__ import annotations

from math import acos, atan2, cos, hypot, sin
from typing import NamedTuple

BASE_X = -0.5  # of the turning axis
SHOULDER_Z = 0.28
UPPER_ARM, FOREARM = 0.42, 0.40
HAND = 0.14  # from the wrist down to the grip, the point between the fingertips
FINGER_RANGE = 0.05  # of each finger, so that the hand opens to 0.1
BLOCK_HALF = 0.03  # half the side of a block
JOINTS, FINGERS = slice(0, 4), slice(4, 6)  # in qpos, qvel and ctrl; what a task adds follows after them

# Contacts: the hand (1) touches what lies on the table, and nothing else; the table (2) carries blocks.
HAND_CONTACT = 'contype="1" conaffinity="0"'
BLOCK_CONTACT = 'contype="2" conaffinity="3"'
POST_CONTACT = 'contype="4" conaffinity="5"'  # posts slide on rails, so that the table need not carry them
COUPLING = '<joint joint1="left_finger" joint2="right_finger"/>'
NO_CONTACT = 'contype="0" conaffinity="0"'


class Pose(NamedTuple):
    """The pose of the grip in the world."""

    x: float
    y: float
    z: float


def grip_pose(angles: list[float]) -> Pose:
    """Return the pose of the grip by forward kinematics. angles: (4,) of the joints."""
    turn, shoulder, elbow, wrist = angles
    forearm, tilt = shoulder + elbow, shoulder + elbow + wrist
    reach = UPPER_ARM * cos(shoulder) + FOREARM * cos(forearm) + HAND * sin(tilt)
    height = SHOULDER_Z + UPPER_ARM * sin(shoulder) + FOREARM * sin(forearm) - HAND * cos(tilt)
    return Pose(BASE_X + reach * cos(turn), reach * sin(turn), height)


def grip_velocity(angles: list[float], rates: list[float]) -> Pose:
    """Return the derivative of `grip_pose` in m/s. angles, rates: (4,) of the joints."""
    turn, shoulder, elbow, wrist = angles
    forearm, tilt = shoulder + elbow, shoulder + elbow + wrist
    forearm_rate = rates[1] + rates[2]
    tilt_rate = forearm_rate + rates[3]
    reach = UPPER_ARM * cos(shoulder) + FOREARM * cos(forearm) + HAND * sin(tilt)
    outwards = HAND * cos(tilt) * tilt_rate
    outwards -= UPPER_ARM * sin(shoulder) * rates[1] + FOREARM * sin(forearm) * forearm_rate
    upwards = HAND * sin(tilt) * tilt_rate
    upwards += UPPER_ARM * cos(shoulder) * rates[1] + FOREARM * cos(forearm) * forearm_rate
    sideways = reach * rates[0]
    return Pose(outwards * cos(turn) - sideways * sin(turn), outwards * sin(turn) + sideways * cos(turn), upwards)


def joint_angles(pose: Pose) -> tuple[float, float, float, float]:
    """Solve the inverse kinematics with the elbow up and the hand pointing down.

    Raises ValueError where the arm does not reach.
    """
    reach, height = hypot(pose.x - BASE_X, pose.y), pose.z + HAND - SHOULDER_Z
    far = hypot(reach, height)
    if not abs(UPPER_ARM - FOREARM) < far < UPPER_ARM + FOREARM:
        raise ValueError(f"the grip cannot be at {tuple(pose)}: {far:.3f} m from shoulder to wrist")
    elbow = -acos((far**2 - UPPER_ARM**2 - FOREARM**2) / (2 * UPPER_ARM * FOREARM))
    shoulder = atan2(height, reach) + acos((UPPER_ARM**2 + far**2 - FOREARM**2) / (2 * UPPER_ARM * far))
    return atan2(pose.y, pose.x - BASE_X), shoulder, elbow, -shoulder - elbow


def block_xml(name: str, colour: str) -> str:
    """XML of a loose cube. colour: as MuJoCo's rgba."""
    return f"""
    <body name="{name}" childclass="block">
      <freejoint/>
      <geom name="{name}" size="{BLOCK_HALF} {BLOCK_HALF} {BLOCK_HALF}" rgba="{colour}"/>
    </body>"""


def floating_goal(radius: float) -> str:
    """XML of a goal above the table: a mocap sphere on a rod that shows where it is.

    The rod is long enough for any height; what is below the table top is hidden.
    """
    return f"""
    <body name="goal" mocap="true">
      <geom type="sphere" size="{radius}" material="goal" {NO_CONTACT}/>
      <geom type="capsule" fromto="0 0 0 0 0 -.26" size=".004" material="goal" {NO_CONTACT}/>
    </body>"""


def flat_goal(radius: float) -> str:
    """XML of a goal on the table: a mocap disc."""
    return f"""
    <body name="goal" mocap="true">
      <geom type="cylinder" size="{radius} .001" pos="0 0 .001" material="goal" {NO_CONTACT}/>
    </body>"""


def world_xml(name: str, timestep: float, gripper: bool, bodies: str) -> str:
    """The model: table, arm, cameras `top` and `front`, and the task's own bodies.

    Where the fingers move (`gripper`) they are coupled; each on its own would give way with the block between them.
    Long because it is one document; cut up, it could not be read as XML.
    """
    return f"""
<mujoco model="{name}">
  <option timestep="{timestep}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <headlight ambient=".40 .40 .40" diffuse=".30 .30 .30" specular="0 0 0"/>
    <map znear=".05"/>
    <quality shadowsize="512" offsamples="4" numslices="16" numstacks="8" numquads="1"/>
    <rgba haze=".80 .84 .89 1"/>
  </visual>
  <asset>
    <texture name="sky" type="skybox" builtin="flat" rgb1=".80 .84 .89" rgb2=".80 .84 .89" width="16" height="96"/>
    <texture name="table" type="2d" builtin="checker" rgb1=".86 .85 .81" rgb2=".80 .79 .75" width="64" height="64"/>
    <material name="table" texture="table" texrepeat="4 4" texuniform="false"/>
    <material name="link" rgba=".95 .62 .20 1"/>
    <material name="dark" rgba=".24 .27 .32 1"/>
    <material name="clear_link" rgba=".95 .62 .20 .6"/>
    <material name="clear" rgba=".24 .27 .32 .6"/>
    <material name="goal" rgba=".15 .68 .32 1"/>
  </asset>
  <default>
    <default class="arm">
      <joint damping="1" armature=".02" axis="0 -1 0"/>
      <geom {NO_CONTACT} density="400" material="link"/>
    </default>
    <default class="hand">
      <joint type="slide" limited="true" range="0 {FINGER_RANGE}" damping="2" armature=".05"/>
      <geom type="box" {HAND_CONTACT} density="400" material="dark" friction="1.5 .02 .0001" condim="4"/>
    </default>
    <default class="block">
      <geom type="box" {BLOCK_CONTACT} mass=".08" friction=".7 .01 .0001" condim="4"/>
    </default>
  </default>
  <worldbody>
    <light pos=".3 -.5 1.6" dir="-.15 .3 -1" directional="true" diffuse=".35 .35 .35" specular="0 0 0"/>
    <camera name="top" pos=".52 0 .82" xyaxes="0 1 0 -.79 0 .61" fovy="46"/>
    <camera name="front" pos=".92 0 .42" xyaxes="0 1 0 -.25 0 .97" fovy="42"/>
    <geom name="table" type="plane" pos="-.16 0 0" size=".44 .40 .1" material="table" contype="2" conaffinity="0"/>
    <geom type="box" pos="-.16 0 -.022" size=".46 .42 .02" rgba=".47 .36 .27 1" {NO_CONTACT}/>
    <body name="base" pos="{BASE_X} 0 0" childclass="arm" gravcomp="1">
      <geom type="cylinder" size=".075 .06" pos="0 0 .06" material="dark"/>
      <body name="turret" gravcomp="1">
        <joint name="turn" axis="0 0 1"/>
        <geom type="cylinder" size=".06 .09" pos="0 0 .19"/>
        <body name="upper_arm" pos="0 0 {SHOULDER_Z}" gravcomp="1">
          <joint name="shoulder"/>
          <geom type="cylinder" fromto="0 -.06 0 0 .06 0" size=".05" material="dark"/>
          <geom type="capsule" fromto="0 0 0 {UPPER_ARM} 0 0" size=".034"/>
          <body name="forearm" pos="{UPPER_ARM} 0 0" gravcomp="1">
            <joint name="elbow"/>
            <geom type="cylinder" fromto="0 -.05 0 0 .05 0" size=".04" material="dark"/>
            <geom type="capsule" fromto="0 0 0 {FOREARM} 0 0" size=".022" material="clear_link"/>
            <body name="hand" pos="{FOREARM} 0 0" gravcomp="1">
              <joint name="wrist"/>
              <geom type="cylinder" fromto="0 -.03 0 0 .03 0" size=".026" material="clear"/>
              <geom type="cylinder" fromto="0 0 0 0 0 -.06" size=".015" material="clear_link"/>
              <geom name="palm" class="hand" size=".014 .062 .01" pos="0 0 -.07" material="clear"/>
              <site name="grip" pos="0 0 -{HAND}" rgba="0 0 0 0"/>
              <body name="left_finger" pos="0 .007 -.1175" gravcomp="1" childclass="hand">
                <joint name="left_finger" axis="0 1 0"/>
                <geom name="left_finger" size=".014 .007 .0375"/>
              </body>
              <body name="right_finger" pos="0 -.007 -.1175" gravcomp="1" childclass="hand">
                <joint name="right_finger" axis="0 -1 0"/>
                <geom name="right_finger" size=".014 .007 .0375"/>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
    {bodies}
  </worldbody>
  <equality>{COUPLING if gripper else ""}</equality>
  <actuator>
    <intvelocity joint="turn" kp="1500" dampratio="1" actrange="-3.2 3.2"/>
    <intvelocity joint="shoulder" kp="1500" dampratio="1" actrange="-3.2 3.2"/>
    <intvelocity joint="elbow" kp="800" dampratio="1" actrange="-3.2 3.2"/>
    <intvelocity joint="wrist" kp="150" dampratio="1" actrange="-3.2 3.2"/>
    <position joint="left_finger" kp="300" dampratio="1" forcerange="-5 5"/>
    <position joint="right_finger" kp="300" dampratio="1" forcerange="-5 5"/>
  </actuator>
</mujoco>
"""
