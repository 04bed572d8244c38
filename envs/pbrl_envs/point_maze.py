"""PointMaze: a point mass in a maze whose coloured cells are goals; which one counts is not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pbrl.errors import UserError, choices
from pbrl_envs.maze_paths import MazePaths
from pbrl_envs.mujoco_task import Measured, MujocoTask

FRAME_SKIP = 2  # physics steps of 0.02 s per action
CELL = 0.25  # m
POINT_RADIUS = 0.06
GOAL_RADIUS = 0.1
JITTER = 0.06  # m around the middle of a free cell where an episode may start; clear of the walls
LOOKAHEAD = 0.12  # m along the path at which the expert aims

# '#' wall, '.' free, a capital letter the goal of that name. All are 9 x 9 cells, the outer ones walls.
LAYOUTS = {
    "rooms": (
        "#########",
        "#R..#..B#",
        "#...#...#",
        "#.......#",
        "##.###.##",
        "#...#...#",
        "#.......#",
        "#G..#..Y#",
        "#########",
    ),
    "fork": (
        "#########",
        "#R.###.B#",
        "##..#..##",
        "###...###",
        "####.####",
        "###...###",
        "##..#..##",
        "#G.###.Y#",
        "#########",
    ),
    "loops": (
        "#########",
        "#R.....B#",
        "#.##.##.#",
        "#.#...#.#",
        "#...#...#",
        "#.#...#.#",
        "#.##.##.#",
        "#G.....Y#",
        "#########",
    ),
}
GOALS = {"R": "red", "B": "blue", "G": "green", "Y": "yellow"}
COLOURS = {"red": ".86 .3 .26 1", "blue": ".25 .45 .9 1", "green": ".3 .72 .38 1", "yellow": ".96 .8 .2 1"}


class PointMaze(MujocoTask):
    """Observation: position and velocity (2 numbers each). Action: force along x and y, in [-1, 1].

    Reward per step is 1 - tanh(length in m of the shortest path to the goal), in (0, 1]; `info["success"]` says whether
    that path is at most GOAL_RADIUS now. The factors are `distance_red`, `distance_blue`, ... in m along the shortest
    path to each goal, whichever one counts, and `effort`, the mean squared action; where cells are forbidden, also
    `forbidden`, 1 while the point's middle is in one of them. The reward says nothing of that.

    Args:
        layout: a name in LAYOUTS.
        goal: red, blue, green or yellow; different users want different ones.
        show_goal: whether a white ring marks it in pictures and the observation ends with its x and y. Else nothing
            that can be seen says which goal it is.
        forbidden: free cells as (row, column), from 0 at the upper left; no episode starts in one.
        rendering: see MujocoTask.
    """

    def __init__(
        self,
        *,
        layout: str = "rooms",
        goal: str = "red",
        show_goal: bool = False,
        forbidden: Sequence[Sequence[int]] = (),
        **rendering: Any,
    ) -> None:
        if layout not in LAYOUTS:
            raise UserError(f"layout={layout}: {choices(layout, LAYOUTS)}")
        self.grid = LAYOUTS[layout]
        self.goals = {GOALS[kind]: cell_centre(row, column) for row, column, kind in _cells(self.grid) if kind in GOALS}
        if goal not in self.goals:
            raise UserError(f"goal={goal}: {choices(goal, self.goals)}")
        self.goal, self.show_goal = goal, show_goal
        self.forbidden = _forbidden(self.grid, forbidden)
        free = [(row, column) for row, column, kind in _cells(self.grid) if kind == "."]
        self.starts = np.array([cell_centre(*cell) for cell in free if cell not in self.forbidden])
        walls = np.array([[kind == "#" for kind in row] for row in self.grid])
        self.ways = MazePaths(walls, CELL, POINT_RADIUS).to(np.array(list(self.goals.values())))
        self.wanted = list(self.goals).index(goal)
        super().__init__(
            _world(self.grid, self.goals, goal if show_goal else None, self.forbidden),
            6 if show_goal else 4,
            2,
            FRAME_SKIP,
            **rendering,
        )

    def place(self) -> None:
        start = self.starts[self.np_random.integers(len(self.starts))]
        self.data.qpos[:] = start + self.np_random.uniform(-JITTER, JITTER, 2)

    def observe(self) -> np.ndarray:
        goal = self.goals[self.goal] if self.show_goal else ()
        return np.concatenate([self.data.qpos, self.data.qvel, goal], dtype=np.float32)

    def measure(self) -> Measured:
        distances = self.ways.distances(self.data.qpos).tolist()
        factors = {f"distance_{name}": distance for name, distance in zip(self.goals, distances, strict=True)}
        distance = distances[self.wanted]
        factors["effort"] = float(np.square(np.clip(self.data.ctrl, -1, 1)).mean())
        if self.forbidden:
            factors["forbidden"] = float(cell_of(self.data.qpos) in self.forbidden)
        return Measured(1 - float(np.tanh(distance)), distance <= GOAL_RADIUS, factors)

    def expert_action(self, obs: np.ndarray) -> np.ndarray:
        """Aim a little ahead on the shortest path to this task's goal, by a PD controller: (O,) -> (2,) float32."""
        position, velocity = obs[:2].astype(float), obs[2:4]
        ahead = self.ways.ahead(position, self.wanted, LOOKAHEAD)
        return np.clip(10 * (ahead - position) - velocity, -1, 1).astype(np.float32)


def cell_centre(row: int, column: int) -> np.ndarray:
    """Return the middle (2,) of a cell in m; row 0 is at the top of the picture, and the maze's middle is at 0."""
    return CELL * np.array([column - 4, 4 - row], float)


def cell_of(position: np.ndarray) -> tuple[int, int]:
    """Row and column of the cell in which a position (2,) in m is."""
    x, y = np.rint(position / CELL).astype(int).tolist()
    return 4 - y, x + 4


def _forbidden(grid: tuple[str, ...], cells: Sequence[Sequence[int]]) -> frozenset[tuple[int, int]]:
    free = {(row, column) for row, column, kind in _cells(grid) if kind == "."}
    try:
        found = frozenset((row, column) for row, column in cells)
    except (TypeError, ValueError):
        found = frozenset({(-1, -1)})
    if not found <= free or (found and found == free):
        valid = "as [[2,2],[2,3]], free cells as row and column from 0 at the upper left, but not all of them"
        raise UserError(f"forbidden={cells}: valid is a list {valid}")
    return found


def _cells(grid: tuple[str, ...]) -> list[tuple[int, int, str]]:
    return [(row, column, kind) for row, line in enumerate(grid) for column, kind in enumerate(line)]


def _world(
    grid: tuple[str, ...], goals: dict[str, np.ndarray], shown: str | None, forbidden: frozenset[tuple[int, int]]
) -> str:
    tiles = "".join(
        f'<geom class="picture" type="box" pos="{x} {y} .0005" size=".125 .125 .0005" rgba=".15 .15 .18 1"/>'
        for x, y in (cell_centre(*cell) for cell in sorted(forbidden))
    )
    tiles += "".join(
        f'<geom class="picture" type="box" pos="{x} {y} .001" size=".11 .11 .001" rgba="{COLOURS[name]}"/>'
        for name, (x, y) in goals.items()
    )
    if shown is not None:
        x, y = goals[shown]
        tiles += f'<geom class="picture" type="cylinder" pos="{x} {y} .003" size=".09 .001" rgba="1 1 1 1"/>'
        tiles += f'<geom class="picture" type="cylinder" pos="{x} {y} .005" size=".06 .001" rgba="{COLOURS[shown]}"/>'
    return f"""
<mujoco model="point_maze">
  <option timestep="0.02" gravity="0 0 0"/>
  <visual>
    <headlight ambient=".5 .5 .5" diffuse=".5 .5 .5" specular="0 0 0"/>
    <map znear=".05"/>
    <quality shadowsize="0" offsamples="4"/>
  </visual>
  <default>
    <geom condim="1"/>
    <joint type="slide" damping="1"/>
    <motor gear="1.2" ctrlrange="-1 1" ctrllimited="true"/>
    <default class="picture"><geom contype="0" conaffinity="0"/></default>
    <default class="wall"><geom type="box" rgba=".35 .38 .43 1"/></default>
  </default>
  <worldbody>
    <camera name="top" pos="0 0 2.75" fovy="45"/>
    <geom class="picture" type="plane" size="1.1 1.1 .1" rgba=".88 .89 .91 1"/>
    {tiles}
    {"".join(_walls(grid))}
    <body name="point" pos="0 0 .06">
      <joint name="x" axis="1 0 0"/>
      <joint name="y" axis="0 1 0"/>
      <geom type="sphere" size="{POINT_RADIUS}" mass=".3" rgba=".45 .16 .55 1"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="x"/>
    <motor joint="y"/>
  </actuator>
</mujoco>
"""


def _walls(grid: tuple[str, ...]) -> list[str]:
    """Make one box for each run of walls in a row: fewer contacts to look for than with one per cell."""
    boxes = []
    for row, line in enumerate(grid):
        runs = np.flatnonzero(np.diff([0, *(kind == "#" for kind in line), 0])).reshape(-1, 2)
        for first, end in runs:
            x, y = (cell_centre(row, int(first)) + cell_centre(row, int(end) - 1)) / 2
            size = f"{CELL * (end - first) / 2} {CELL / 2}"
            boxes.append(f'<geom class="wall" pos="{x} {y} .06" size="{size} .06"/>')
    return boxes
