"""A policy kept near a clone of demonstrations, on a reward from a few comparisons: what the KL term is good for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pbrl.tabular.beds import Bed, Measured
from pbrl.tabular.grid_world import MOVES
from pbrl.tabular.river_swim import posterior

SIDE, SLIP, HORIZON, START, GOAL, LAVA = 8, 0.1, 16, (0, 0), (6, 6), 5
SMOOTHING, COMPARISONS = 0.25, 50  # added to the counts of each move; of episodes of the clone
DEMONSTRATIONS, WEIGHTS = (4, 16, 64), (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


class Task(NamedTuple):
    next_states: np.ndarray  # (S, A, S) probabilities
    rewards: np.ndarray  # (S,) at each step that is spent there: 1 at the goal, -1 in lava
    start: int


def make_task(rng: np.random.Generator) -> Task:
    states = SIDE * SIDE
    next_states = np.zeros((states, len(MOVES), states))
    for state in range(states):
        ahead = [np.clip(np.array(divmod(state, SIDE)) + move, 0, SIDE - 1) @ (SIDE, 1) for move in MOVES]
        for a in range(len(MOVES)):
            for other, there in enumerate(ahead):
                next_states[state, a, there] += 1 - SLIP if other == a else SLIP / (len(MOVES) - 1)
    start, goal = (row * SIDE + column for row, column in (START, GOAL))
    rewards = np.zeros(states)
    rewards[goal] = 1
    rewards[rng.permutation(np.setdiff1d(np.arange(states), [start, goal]))[:LAVA]] = -1
    return Task(next_states, rewards, start)


def near_clone(task: Task, rewards: np.ndarray, clone: np.ndarray, weight: float) -> np.ndarray:
    """Return the policy (H, S, A) of most reward less weight * KL to the clone (S, A); weight 0: the greedy one.

    pi(a|s) ~ clone(a|s) exp(Q(s, a) / weight),   V(s) = weight * log sum_a clone(a|s) exp(Q(s, a) / weight)
    """
    values, policy = np.zeros(len(rewards)), np.zeros((HORIZON, *clone.shape))
    for t in reversed(range(HORIZON)):
        q = task.next_states @ (rewards + values)
        if weight == 0:
            policy[t], values = np.eye(len(MOVES))[q.argmax(1)], q.max(1)
            continue
        scores = np.log(clone) + q / weight
        top = scores.max(1, keepdims=True)
        total = np.exp(scores - top).sum(1, keepdims=True)
        policy[t] = np.exp(scores - top) / total
        values = weight * (top + np.log(total))[:, 0]
    return policy


def value(task: Task, policy: np.ndarray) -> float:
    """Return the true return of a policy (H, S, A)."""
    there, total = np.eye(len(task.rewards))[task.start], 0.0
    for step in policy:
        there = np.einsum("s,sa,sat->t", there, step, task.next_states)
        total += float(there @ task.rewards)
    return total


def roll_out(task: Task, policy: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Play n episodes; return their states (n, H+1) and moves (n, H)."""
    states, moves = np.full((n, HORIZON + 1), task.start), np.zeros((n, HORIZON), int)
    for t, step in enumerate(policy):
        moves[:, t] = _draw(step[states[:, t]], rng)
        states[:, t + 1] = _draw(task.next_states[states[:, t], moves[:, t]], rng)
    return states, moves


def clone_of(states: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return the shares (S, A) of the moves in each state, smoothed."""
    counts = np.full((SIDE * SIDE, len(MOVES)), SMOOTHING)
    np.add.at(counts, (states[:, :-1].ravel(), moves.ravel()), 1)
    return counts / counts.sum(1, keepdims=True)


def learned_reward(task: Task, clone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fit a reward (S,) to comparisons of episodes of the clone, each by Bradley-Terry; a Gaussian prior around 0."""
    policy = np.broadcast_to(clone, (HORIZON, *clone.shape))
    states, _ = roll_out(task, policy, 2 * COMPARISONS, rng)
    visits = (states[:, 1:, None] == np.arange(len(task.rewards))).sum(1).astype(float)
    x = visits[:COMPARISONS] - visits[COMPARISONS:]
    y = rng.random(COMPARISONS) < 1 / (1 + np.exp(-x @ task.rewards))
    return posterior(x, y.astype(float), np.zeros(len(task.rewards)))[0]


def run(seed: int) -> list[Measured]:
    found = []
    for demonstrations in DEMONSTRATIONS:
        rng = np.random.default_rng([seed, demonstrations])
        task = make_task(rng)
        best = near_clone(task, task.rewards, np.full((SIDE * SIDE, len(MOVES)), 0.25), 0.0)
        clone = clone_of(*roll_out(task, best, demonstrations, rng))
        rewards, share = learned_reward(task, clone, rng), 1 / value(task, best)
        arms = {"the clone": value(task, np.broadcast_to(clone, (HORIZON, *clone.shape)))}
        for weight in WEIGHTS:
            arms[f"KL weight {weight:g}"] = value(task, near_clone(task, rewards, clone, weight))
        found += [Measured(f"{demonstrations} demonstrations", arm, share * of) for arm, of in arms.items()]
    return found


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one (n,) of each row of probabilities (n, k)."""
    drawn: np.ndarray = (probabilities.cumsum(1) < rng.random((len(probabilities), 1))).sum(1)
    return drawn.clip(max=probabilities.shape[1] - 1)


BED = Bed(
    claim="On a reward from few comparisons the policy must stay near what was compared: with a KL term to the clone "
    "of the demonstrations it beats the clone, without one it goes where nothing is known.",
    task=f"a {SIDE} x {SIDE} grid with {LAVA} cells of lava, a reward from {COMPARISONS} comparisons of episodes of "
    "the clone",
    measure="return as a share of the expert's",
    run=run,
    seeds=10,
)
