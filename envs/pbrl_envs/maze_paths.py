"""Shortest paths of a disc through a maze of square cells, computed once on a fine grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

PER_CELL = 10  # grid points a cell: paths are then at most 3 % longer than the shortest, and 6 % around corners

# Steps to neighbours, one of each pair of opposites, and the points that must be free besides the ends.
_STEPS = {
    (0, 1): (), (1, 0): (),
    (1, 1): ((0, 1), (1, 0)), (1, -1): ((0, -1), (1, 0)),
    (1, 2): ((0, 1), (1, 1)), (1, -2): ((0, -1), (1, -1)), (2, 1): ((1, 0), (1, 1)), (2, -1): ((1, 0), (1, -1)),
}  # fmt: skip


class Way(NamedTuple):
    """All shortest paths to one point."""

    paths: MazePaths
    lengths: np.ndarray  # (P,) m from each grid point; inside a wall, from the nearest free one and the way there
    following: np.ndarray  # (P,) grid point after this one on the path

    def distance(self, position: np.ndarray) -> float:
        """Length in m of the shortest path from (2,); never less than the straight line."""
        corners, apart = self.paths.around(position)
        return float((self.lengths[corners] + apart).min())

    def ahead(self, position: np.ndarray, length: float) -> np.ndarray:
        """The point (2,) that lies `length` m further on the path from (2,), or the end of the path."""
        corners, apart = self.paths.around(position)
        point = self.paths.nearest[corners[np.argmin(self.lengths[corners] + apart)]]
        end = max(self.lengths[point] - length, 0.0)
        while self.lengths[point] > end and self.following[point] >= 0:
            point = self.following[point]
        return self.paths.points[point]


class MazePaths:
    """Where the middle of a disc may be, and how far it is from there to anywhere.

    Args:
        walls: (R, C) bool, row 0 at the top; the middle of the maze is at 0.
        cell: side of a cell in m.
        radius: of the disc in m.
    """

    def __init__(self, walls: np.ndarray, cell: float, radius: float) -> None:
        self.step = cell / PER_CELL
        self.shape = walls.shape[0] * PER_CELL + 1, walls.shape[1] * PER_CELL + 1
        self.size = np.array(self.shape[::-1]) - 1
        columns, rows = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[0]))
        self.points = np.stack([columns - self.size[0] / 2, self.size[1] / 2 - rows], -1).reshape(-1, 2) * self.step
        self.free = _clearance(walls, cell, self.points) >= radius - 1e-9
        free = self.free.reshape(self.shape)
        self.nearest = _nearest_free(free)
        self.graph = self._connect(free)

    def to(self, goal: np.ndarray) -> Way:
        """The ways to the grid point nearest to `goal` (2,), which must be free."""
        end = int(np.argmin(np.hypot(*(self.points - goal).T)))
        if not self.free[end]:
            raise ValueError(f"goal {goal} lies in a wall or within the disc's radius of one")
        lengths, before = csgraph.dijkstra(self.graph, directed=False, indices=end, return_predecessors=True)
        gap = np.hypot(*(self.points - self.points[self.nearest]).T)
        return Way(self, lengths[self.nearest] + gap, before)

    def around(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The four grid points (4,) around a position (2,), and how far it is from each, in m."""
        column, row = (int(n) for n in np.clip(self._place(position), 0, self.size - 1))
        corners = row * self.shape[1] + column + np.array([0, 1, self.shape[1], self.shape[1] + 1])
        return corners, np.hypot(*(self.points[corners] - position).T)

    def _place(self, position: np.ndarray) -> np.ndarray:
        x, y = position / self.step
        return np.floor([x + self.size[0] / 2, self.size[1] / 2 - y])

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
    """(P,) m from each point (P, 2) to the nearest wall."""
    rows, columns = np.nonzero(walls)
    middles = cell * np.stack([columns - (walls.shape[1] - 1) / 2, (walls.shape[0] - 1) / 2 - rows], -1)
    beyond = np.maximum(np.abs(points[:, None] - middles) - cell / 2, 0)  # (P, W, 2)
    return np.hypot(beyond[..., 0], beyond[..., 1]).min(1)


def _nearest_free(free: np.ndarray) -> np.ndarray:
    """(P,) index of the free point nearest to each, itself where it is free."""
    rows, columns = ndimage.distance_transform_edt(~free, return_distances=False, return_indices=True)
    return (rows * free.shape[1] + columns).ravel()
