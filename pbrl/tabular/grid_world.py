"""Grid worlds with the rules of the delivery domain (Knox et al., "Models of human preference for learning reward
functions", 2024), and exact statistics of segments in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.tabular.planning import action_values, best_sums

MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])  # (row, column): up, down, left, right
FEATURES = ("road", "goal", "sheep", "coin", "road block", "brick")
DELIVERY_WEIGHTS = (-1.0, 50.0, -50.0, 1.0, -1.0, -2.0)  # of FEATURES; the first is the price of gas
BRICK = 6  # added to the code of a cell that is paved with brick


class Cell(IntEnum):
    """The things that stand on road; the same plus BRICK on brick."""

    ROAD = 0
    GOAL = 1
    HOUSE = 2
    SHEEP = 3
    COIN = 4
    ROAD_BLOCK = 5


@dataclass(frozen=True, eq=False)
class GridWorld:
    """H x W cells, one state each (row by row, S = H W), A = 4 moves (MOVES), F features with the true weights.

    A house cannot be entered. Goal and sheep are absorbing: the segment goes on there, with features and value 0.
    """

    name: str
    codes: np.ndarray  # (H, W) codes of cells
    next_state: np.ndarray  # (S, A) the state a move leads to
    features: np.ndarray  # (S, A, F) what a move collects
    weights: np.ndarray  # (F,) the true reward of each feature
    reward_choices: tuple[float, ...]  # what the reward vectors of a policy library are drawn from
    libraries: dict[Any, Any] = field(default_factory=dict, repr=False)  # kept here so that many fits share one

    @cached_property
    def reward(self) -> np.ndarray:
        """The true reward (S, A)."""
        return self.features @ self.weights

    @cached_property
    def start_states(self) -> np.ndarray:
        """States that are neither houses nor absorbing, in rising order."""
        return np.flatnonzero((self.codes.ravel() % BRICK != Cell.HOUSE) & ~self.absorbing)

    @cached_property
    def absorbing(self) -> np.ndarray:
        """The states (S,) bool that are goal or sheep, where a segment has ended and no move matters."""
        return np.isin(self.codes.ravel() % BRICK, (Cell.GOAL, Cell.SHEEP))

    @cached_property
    def v_star(self) -> np.ndarray:
        """The optimal value (S,) without discount; -inf where one can only pay for ever, 0 in houses."""
        return best_sums(self.next_state, self.reward)

    @cached_property
    def q_star(self) -> np.ndarray:
        """The optimal value (S, A) after each move, without discount."""
        return action_values(self.next_state, self.reward, self.v_star, gamma=1.0)

    def cell(self, state: int) -> tuple[int, int]:
        """Return the (row, column) of a state."""
        row, column = divmod(int(state), self.codes.shape[1])
        return row, column

    def walk(self, starts: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States (n, L+1) and indices of MOVES (n, L), of starts (n, 2) as (row, column) and unit moves (n, L, 2).

        [0, 0] is a move after goal or sheep too, with which segments of people are padded; its index is 0.

        ValueError: wrong shapes, a start outside the board or in a house, a move that is not of length 1, [0, 0]
        before the end.
        """
        starts, moves = _whole_pairs(starts, "starts", 2), _whole_pairs(moves, "moves", 3)
        if len(starts) != len(moves):
            raise ValueError(f"starts has {len(starts)} rows and moves {len(moves)}, expected the same")
        self._check_starts(starts)
        same = (moves[..., None, :] == MOVES).all(-1)  # (n, L, A)
        actions = same.argmax(-1)
        states = np.empty((len(starts), actions.shape[1] + 1), np.int64)
        states[:, 0] = starts[:, 0] * self.codes.shape[1] + starts[:, 1]
        for step in range(actions.shape[1]):
            states[:, step + 1] = self.next_state[states[:, step], actions[:, step]]
        padding = (moves == 0).all(-1) & self.absorbing[states[:, :-1]]
        if (wrong := ~same.any(-1) & ~padding).any():
            segment, step = (int(i) for i in np.argwhere(wrong)[0])
            said, valid = moves[segment, step].tolist(), ", ".join(str(m) for m in MOVES.tolist())
            after = "after goal or sheep also [0, 0]"
            raise ValueError(f"moves[{segment}, {step}] is {said}, expected one of {valid}; {after}")
        return states, actions

    def segment_statistics(self, starts: np.ndarray, moves: np.ndarray) -> dict[str, np.ndarray]:
        """Exact statistics of segments, without discount; starts (n, 2) cells and moves (n, L, 2), each result (n,).

        partial_return   sum of the rewards
        v_start, v_end   V* of the first and of the last cell
        regret           partial_return + v_end - v_start: deterministic regret, negated so that 0 is best
        general_regret   sum of A* = Q* - V*: the same in a world without chance, as this one is

        ValueError: as in `walk`. UserError: a segment visits a cell from which the board lets nobody come to an end.
        """
        states, actions = self.walk(starts, moves)
        if (lost := np.isneginf(self.v_star[states])).any():
            raise UserError(
                f"board {self.name}: from cell {list(self.cell(states[lost][0]))} no goal or sheep can be reached, so "
                "that V* is not bounded without discount; valid are boards where every cell has a way out"
            )
        before = states[:, :-1]
        partial_return = self.reward[before, actions].sum(-1)
        v_start, v_end = self.v_star[states[:, 0]], self.v_star[states[:, -1]]
        return {
            "partial_return": partial_return,
            "v_start": v_start,
            "v_end": v_end,
            "regret": partial_return + v_end - v_start,
            "general_regret": (self.q_star[before, actions] - self.v_star[before]).sum(-1),
        }

    def with_weight_per_move(self) -> GridWorld:
        """The same world with one feature per state and move, as for learning a table of A* instead of a reward.

        After goal or sheep every move collects the mean of the four, since there they are all the same.
        """
        features = np.eye(self.reward.size).reshape(*self.reward.shape, -1)
        features[self.absorbing] = features[self.absorbing].mean(1, keepdims=True)
        return replace(self, features=features, weights=self.reward.ravel(), libraries={})

    def _check_starts(self, starts: np.ndarray) -> None:
        height, width = self.codes.shape
        outside = (starts < 0).any(-1) | (starts[:, 0] >= height) | (starts[:, 1] >= width)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            said = starts[row].tolist()
            raise ValueError(f"starts[{row}] is {said}, expected a row below {height} and a column below {width}")
        blocked = self.codes[starts[:, 0], starts[:, 1]] % BRICK == Cell.HOUSE
        if blocked.any():
            row = int(np.flatnonzero(blocked)[0])
            raise ValueError(f"starts[{row}] is {starts[row].tolist()}, a house, expected a cell that can be entered")


def delivery_world(
    codes: np.ndarray,
    weights: np.ndarray | tuple[float, ...] = DELIVERY_WEIGHTS,
    name: str = "board",
    reward_choices: tuple[float, ...] = DELIVERY_WEIGHTS,
) -> GridWorld:
    """A world under the delivery rules: codes (H, W) of cells, weights (6,) of FEATURES.

    Entering a cell collects its features: coin and road block with those of its pavement, goal and sheep alone. A move
    into the edge or a house stays where it is and pays only for the pavement there. Coins never run out.
    """
    codes = np.asarray(codes)
    height, width = codes.shape
    kind, brick = codes.ravel() % BRICK, codes.ravel() >= BRICK
    entered = np.zeros((codes.size, len(FEATURES)))  # (S, F) what entering each cell collects
    pavement = np.zeros_like(entered)
    pavement[np.arange(codes.size), np.where(brick, FEATURES.index("brick"), FEATURES.index("road"))] = 1
    absorbing = (kind == Cell.GOAL) | (kind == Cell.SHEEP)
    entered[~absorbing] = pavement[~absorbing]
    for cell, feature in ((Cell.GOAL, 1), (Cell.SHEEP, 2), (Cell.COIN, 3), (Cell.ROAD_BLOCK, 4)):
        entered[kind == cell, feature] = 1

    here = np.stack(np.divmod(np.arange(codes.size), width), -1)  # (S, 2)
    there = here[:, None] + MOVES  # (S, A, 2)
    inside = ((there >= 0) & (there < (height, width))).all(-1)
    target = np.where(inside, there[..., 0] * width + there[..., 1], 0)
    stuck = absorbing | (kind == Cell.HOUSE)  # nobody is ever in a house: its moves only have to be harmless
    enters = inside & (kind[target] != Cell.HOUSE) & ~stuck[:, None]
    features = np.where(enters[..., None], entered[target], pavement[:, None])
    features[stuck] = 0
    next_state = np.where(enters, target, np.arange(codes.size)[:, None])
    return GridWorld(name, codes, next_state, features, np.asarray(weights, float), tuple(reward_choices))


def _whole_pairs(values: np.ndarray, name: str, dims: int) -> np.ndarray:
    """Return `values` as integers (..., 2) of `dims` dimensions; ValueError where they are none."""
    array = np.asarray(values)
    shape = {2: "(n, 2)", 3: "(n, L, 2)"}[dims]
    if array.ndim != dims or array.shape[-1] != 2:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if array.dtype.kind not in "iuf" or not (np.isfinite(array) & (array == np.round(array))).all():
        raise ValueError(f"{name} has values that are not whole numbers, expected cells and moves as (row, column)")
    return array.astype(np.int64)
