"""Shortest paths of a disc through a maze of square cells, computed once on a fine grid."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

PER_CELL = 10  # grid points a cell: paths are then at most 3 % longer than the shortest, and 6 % around corners

# The steps to neighbours, one of each pair of opposites, and the points that must be free besides the ends.
_STEPS = {
    (0, 1): (), (1, 0): (),
    (1, 1): ((0, 1), (1, 0)), (1, -1): ((0, -1), (1, 0)),
    (1, 2): ((0, 1), (1, 1)), (1, -2): ((0, -1), (1, -1)), (2, 1): ((1, 0), (1, 1)), (2, -1): ((1, 0), (1, -1)),
}  # fmt: skip


class Ways(NamedTuple):
    """All shortest paths to each of some goals."""

    paths: MazePaths
    lengths: np.ndarray  # (G, P) m from each grid point; inside a wall, from the nearest free one and the way there
    following: np.ndarray  # (G, P) grid point after this one on the path; negative at its end

    def distances(self, position: np.ndarray) -> np.ndarray:
        """Return the lengths (G,) in m of the shortest paths from (2,); never less than the straight lines."""
        corners, apart = self.paths.around(position)
        lengths: np.ndarray = (self.lengths[:, corners] + apart).min(1)
        return lengths

    def ahead(self, position: np.ndarray, goal: int, length: float) -> np.ndarray:
        """The point (2,) that lies `length` m further on the path from (2,) to this goal, or the end of the path."""
        corners, apart = self.paths.around(position)
        lengths, following = self.lengths[goal], self.following[goal]
        point = self.paths.nearest[corners[np.argmin(lengths[corners] + apart)]]
        end = lengths[point] - length
        while lengths[point] > end and following[point] >= 0:
            point = following[point]
        return self.paths.points[point]


class MazePaths:
    """The places where the middle of a disc may be, and how far it is from there to anywhere.

    Args:
        walls: (R, C) bool, row 0 at the top; the middle of the maze is at 0.
        cell: side of a cell in m.
        radius: of the disc in m.
    """

    def __init__(self, walls: np.ndarray, cell: float, radius: float) -> None:
        self.step = cell / PER_CELL
        self.shape = walls.shape[0] * PER_CELL + 1, walls.shape[1] * PER_CELL + 1
        self.corners = np.array([0, 1, self.shape[1], self.shape[1] + 1])
        columns, rows = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[0]))
        middle = (np.array(self.shape[::-1]) - 1) / 2
        self.points = self.step * np.stack([columns - middle[0], middle[1] - rows], -1).reshape(-1, 2)
        self.free = _clearance(walls, cell, self.points) >= radius - 1e-9
        free = self.free.reshape(self.shape)
        self.nearest = _nearest_free(free)
        self.graph = self._connect(free)

    def to(self, goals: np.ndarray) -> Ways:
        """Find the ways to the grid points nearest to `goals` (G, 2); ValueError unless all of these are free."""
        ends = [int(np.argmin(np.hypot(*(self.points - goal).T))) for goal in goals]
        if not self.free[ends].all():
            raise ValueError(f"of the goals {np.asarray(goals).tolist()} some lie in or too near a wall")
        lengths, before = csgraph.dijkstra(self.graph, directed=False, indices=ends, return_predecessors=True)
        gap = np.hypot(*(self.points - self.points[self.nearest]).T)
        return Ways(self, lengths[:, self.nearest] + gap, before)

    def around(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The four grid points (4,) around a position (2,), and how far it is from each, in m."""
        x, y = position.tolist()
        width, height = self.shape[1] - 1, self.shape[0] - 1
        column = min(max(math.floor(x / self.step + width / 2), 0), width - 1)
        row = min(max(math.floor(height / 2 - y / self.step), 0), height - 1)
        corners = self.corners + (row * (width + 1) + column)
        return corners, np.hypot(*(self.points[corners] - position).T)

    def _connect(self, free: np.ndarray) -> sparse.csr_matrix:
        starts, ends, lengths = [], [], []
        rows, columns = np.nonzero(free)
        padded = np.pad(free, 2)
        for step, between in _STEPS.items():
            clear = np.ones(len(rows), bool)
            for down, right in (step, *between):
                clear &= padded[rows + 2 + down, columns + 2 + right]
            start = rows[clear] * self.shape[1] + columns[clear]
            starts.append(start)
            ends.append(start + step[0] * self.shape[1] + step[1])
            lengths.append(np.full(len(start), self.step * np.hypot(*step)))
        edges = np.concatenate(starts), np.concatenate(ends)
        count = free.size
        return sparse.csr_matrix((np.concatenate(lengths), edges), shape=(count, count))


def _clearance(walls: np.ndarray, cell: float, points: np.ndarray) -> np.ndarray:
    """Return the distance (P,) in m from each point (P, 2) to the nearest wall."""
    rows, columns = np.nonzero(walls)
    middles = cell * np.stack([columns - (walls.shape[1] - 1) / 2, (walls.shape[0] - 1) / 2 - rows], -1)
    beyond = np.maximum(np.abs(points[:, None] - middles) - cell / 2, 0)  # (P, W, 2)
    return np.hypot(beyond[..., 0], beyond[..., 1]).min(1)


def _nearest_free(free: np.ndarray) -> np.ndarray:
    """Return the index (P,) of the free point nearest to each, itself where it is free."""
    rows, columns = ndimage.distance_transform_edt(~free, return_distances=False, return_indices=True)
    return (rows * free.shape[1] + columns).ravel()
