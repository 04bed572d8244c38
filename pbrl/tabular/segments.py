"""Segments of a grid world as starts and moves, and random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.tabular.grid_world import MOVES, GridWorld

TRIES = 1000  # before random draws are given up


@dataclass(frozen=True)
class GridSegments:
    """n segments of L moves; one that comes to a goal or a sheep goes on there, with reward and value 0."""

    starts: np.ndarray  # (n, 2) cells as (row, column)
    moves: np.ndarray  # (n, L, 2) unit moves as (row, column), also [0, 0] after goal or sheep

    def __post_init__(self) -> None:
        for name in ("starts", "moves"):  # lists are as good
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        if self.starts.ndim != 2 or self.starts.shape[1] != 2:
            raise ValueError(f"GridSegments.starts has shape {self.starts.shape}, expected (n, 2)")
        if self.moves.ndim != 3 or self.moves.shape[::2] != self.starts.shape:
            raise ValueError(f"GridSegments.moves has shape {self.moves.shape}, expected ({len(self.starts)}, L, 2)")

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Any) -> GridSegments:
        return GridSegments(self.starts[rows], self.moves[rows])

    @staticmethod
    def of(segments: SegmentsLike) -> GridSegments:
        """Segments as they are, or of a pair of arrays (starts, moves)."""
        return segments if isinstance(segments, GridSegments) else GridSegments(*segments)


SegmentsLike = GridSegments | tuple[np.ndarray, np.ndarray]


def random_segments(
    world: GridWorld, count: int, length: int, rng: np.random.Generator, absorbing: bool = True
) -> GridSegments:
    """Draw `count` segments of `length` random moves, from random cells that are neither houses nor absorbing.

    absorbing=False draws again each segment that has moves left when it comes to a goal or a sheep. Where a table of
    A* is learned from such data, nothing ties its values to the 0 of the absorbing states: a constant remains free, and
    a policy that is optimal for that table taken as a reward may walk in circles (Knox et al., "Learning optimal
    advantage from preferences and mistaking it for reward", 2024).

    UserError: nobody can start, or no segment of this length avoids coming to an end.
    """
    if not len(world.start_states):
        raise UserError(f"board {world.name} has only houses, goals and sheep, expected a cell to start from")
    starts, actions = _draw(world, count, length, rng)
    tries = 0
    while not absorbing and (ended := _ends_early(world, starts, actions)).any():
        tries += 1
        if tries > TRIES:
            raise UserError(f"board {world.name}: hardly any segment of {length} moves does not end early")
        starts[ended], actions[ended] = _draw(world, int(ended.sum()), length, rng)
    return GridSegments(np.stack(np.divmod(starts, world.codes.shape[1]), -1), MOVES[actions])


def random_pairs(
    world: GridWorld, count: int, length: int, rng: np.random.Generator, absorbing: bool = True
) -> tuple[GridSegments, GridSegments]:
    """Draw `count` random segments on the left and on the right, of which no two that are compared are the same.

    Same are segments with one start and the same moves up to an end. See `random_segments`.

    UserError: as there, or the board has only one such segment.
    """
    left, right = (random_segments(world, count, length, rng, absorbing) for _ in range(2))
    for _ in range(TRIES):
        if not (same := _same(world, left, right)).any():
            return left, right
        again = random_segments(world, int(same.sum()), length, rng, absorbing)
        right.starts[same], right.moves[same] = again.starts, again.moves
    raise UserError(f"board {world.name}: hardly any two segments of {length} moves differ, expected pairs to compare")


def _same(world: GridWorld, left: GridSegments, right: GridSegments) -> np.ndarray:
    """Return whether (n,) both sides are one segment, whatever was chosen after its end."""
    states, actions = world.walk(left.starts, left.moves)
    chosen = world.walk(right.starts, right.moves)[1]
    moves = (actions == chosen) | world.absorbing[states[:, :-1]]
    return (left.starts == right.starts).all(-1) & moves.all(-1)


def _draw(world: GridWorld, count: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.choice(world.start_states, count), rng.integers(len(MOVES), size=(count, length))


def _ends_early(world: GridWorld, starts: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Return whether (n,) a move is made from a goal or a sheep."""
    ended, states = np.zeros(len(starts), bool), starts
    for step in range(actions.shape[1]):
        ended |= world.absorbing[states]
        states = world.next_state[states, actions[:, step]]
    return ended
