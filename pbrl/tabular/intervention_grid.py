"""RLIF beside HG-DAgger on a grid with a wall: what is learned from an expert who acts badly and judges well."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from pbrl.tabular.beds import Bed, Measured
from pbrl.tabular.grid_world import MOVES
from pbrl.tabular.planning import action_values, optimal_values
from pbrl.teachers.interveners import Intervener, Judge, RandomIntervener, ValueIntervener, intervention_rewards

SIDE, WALL = 9, (4, 7)  # cells a side; the row of the wall, and how many cells of it, from the left
GAMMA, STEP_SIZE, EXPLORE = 0.95, 0.2, 0.1
STEPS, LIMIT = 20_000, 60  # of training; after which an episode is cut off
MARGIN, OBEYED, LENGTH, PROBABILITY = 0.02, 0.95, 4, 0.3  # of interventions; RLIF's released code but for the margin
WRONG = (0.0, 0.1, 0.3)  # shares of states in which the expert does something else, always the same


class Grid(NamedTuple):
    next_state: np.ndarray  # (S, A)
    q: np.ndarray  # (S, A) of the task's reward, 1 for reaching the goal
    starts: np.ndarray  # states that are free, the goal aside
    goal: int


def make_grid() -> Grid:
    """9 x 9 cells, a wall across the middle with a gap at the right, the goal in the lower right corner."""
    walls = {WALL[0] * SIDE + column for column in range(WALL[1])}
    goal = SIDE * SIDE - 1
    next_state = np.empty((SIDE * SIDE, len(MOVES)), int)
    for state in range(SIDE * SIDE):
        for a, move in enumerate(MOVES):
            row, column = np.clip(np.array(divmod(state, SIDE)) + move, 0, SIDE - 1)
            there = int(row * SIDE + column)
            next_state[state, a] = state if state == goal or there in walls else there
    reward = ((next_state == goal) & (np.arange(len(next_state)) != goal)[:, None]).astype(float)
    q = action_values(next_state, reward, optimal_values(next_state, reward, GAMMA), GAMMA)
    starts = np.array([s for s in range(goal) if s not in walls])
    return Grid(next_state, q, starts, goal)


def make_expert(grid: Grid, wrong: float, rng: np.random.Generator) -> np.ndarray:
    """Return the optimal move (S,), but a random one in a share of the states."""
    moves = grid.q.argmax(1)
    bad = rng.permutation(grid.starts)[: round(wrong * len(grid.starts))]
    moves[bad] = rng.integers(len(MOVES), size=len(bad))
    return moves


def success(grid: Grid, scores: np.ndarray, rng: np.random.Generator) -> float:
    """Share of starts from which the moves of the highest scores (S, A), ties by lot, reach the goal in time."""
    state = grid.starts.copy()
    for _ in range(LIMIT):
        best = scores[state] + 1e-9 * rng.random((len(state), len(MOVES)))  # nothing corrected: all are 0
        state = grid.next_state[state, best.argmax(1)]
    return float((state == grid.goal).mean())


def watched_steps(
    grid: Grid, scores: np.ndarray, intervener: Intervener, rng: np.random.Generator
) -> Iterator[tuple[int, int, int, float, bool]]:
    """Yield state, move, next state, RLIF's reward and whether the expert acted, of a policy greedy on `scores`.

    The scores are read at each step, so that whoever takes the steps may learn from them.
    """
    state, age = int(rng.choice(grid.starts)), 0
    for _ in range(STEPS):
        best = scores[state] + 1e-9 * rng.random(len(MOVES))
        move = int(rng.integers(len(MOVES))) if rng.random() < EXPLORE else int(best.argmax())
        moves, blamed, taken_over = intervener.watch(np.array([state]), np.array([move]))
        after = int(grid.next_state[state, moves[0]])
        yield state, int(moves[0]), after, float(intervention_rewards(blamed)[0]), bool(taken_over[0])
        state, age = after, age + 1
        if state == grid.goal or age == LIMIT:
            state, age = int(rng.choice(grid.starts)), 0


def rlif(grid: Grid, intervener: Intervener, rng: np.random.Generator) -> np.ndarray:
    """Learn Q (S, A) from the reward of interventions alone, the expert's steps included."""
    q = np.zeros_like(grid.q)
    for state, move, after, reward, _ in watched_steps(grid, q, intervener, rng):
        ahead = 0.0 if after == grid.goal else q[after].max()
        q[state, move] += STEP_SIZE * (reward + GAMMA * ahead - q[state, move])
    return q


def hg_dagger(grid: Grid, intervener: Intervener, rng: np.random.Generator) -> np.ndarray:
    """Count how often the expert made each move (S, A); the policy is the most frequent one."""
    counts = np.zeros_like(grid.q)
    for state, move, _, _, taken_over in watched_steps(grid, counts, intervener, rng):
        counts[state, move] += taken_over
    return counts


def run(seed: int) -> list[Measured]:
    grid, found = make_grid(), []
    for number, wrong in enumerate(WRONG):
        case = f"expert wrong in {wrong:.0%} of states"
        rng = np.random.default_rng([seed, number])
        expert = make_expert(grid, wrong, rng)
        judge = Judge(value=lambda states, moves: grid.q[states, moves], reference=grid.q.argmax(1).__getitem__)
        about = {"length": LENGTH, "expert": expert.__getitem__, "judge": judge, "rng": rng}
        judged = partial(ValueIntervener, margin=MARGIN, obeyed=OBEYED, **about)
        arms = {
            "expert alone": np.eye(len(MOVES))[expert],
            "HG-DAgger": hg_dagger(grid, judged(), rng),
            "RLIF, judged": rlif(grid, judged(), rng),
            "RLIF, random": rlif(grid, RandomIntervener(probability=PROBABILITY, **about), rng),
        }
        found += [Measured(case, arm, success(grid, scores, rng)) for arm, scores in arms.items()]
    return found


BED = Bed(
    claim="When somebody takes over says what is wrong: with interventions of an expert who judges well, RLIF ends far "
    "above the expert and above what copies him; with interventions at random it learns little.",
    task=f"a {SIDE} x {SIDE} grid with a wall, {STEPS:,} steps of Q-learning on the reward -1 before an intervention, "
    f"interventions of {LENGTH} steps",
    measure="share of starts that reach the goal",
    run=run,
)
