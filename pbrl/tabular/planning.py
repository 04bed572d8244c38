"""Exact dynamic programming where every move has one outcome. Arrays in and out; S states, A moves, F features.

next_state is (S, A) with the state each move leads to; an absorbing state leads to itself with reward 0.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

ROUNDING = 1e-12  # a difference of sums below this share of the largest possible sum is an accident of their order
TIE = 1e-10  # the same for the values of two moves, which have gone through more sums


def best_sums(next_state: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """V* (S,) without discount: the best sum of the rewards (S, A) over all ways of going on for ever.

    A way counts if from some step on it earns exactly 0 a step, as in an absorbing state or on coins beside each other;
    the sum of any other one does not converge, or falls without end. -inf is where there is no way that counts.
    ValueError: a loop earns more than it costs, so that V* has no bound.
    """
    tolerance = ROUNDING * np.abs(reward).max(initial=0.0)
    _longest(next_state, reward, np.zeros(len(next_state)), tolerance)  # any walk may stop here: fails on such loops
    free = np.abs(reward) <= tolerance
    rests = np.ones(len(next_state), bool)  # ends as the states from which one can walk for ever at no cost
    while (shrunk := (free & rests[next_state]).any(-1) & rests).sum() < rests.sum():
        rests = shrunk
    return _longest(next_state, reward, np.where(rests, 0.0, -np.inf), tolerance)


def optimal_values(next_state: np.ndarray, reward: np.ndarray, gamma: float) -> np.ndarray:
    """V* (..., S) for rewards (..., S, A), many at once, by policy iteration; gamma below 1."""
    tolerance = _largest_sum(reward, gamma) * ROUNDING
    moves = reward.argmax(-1)
    while True:
        values = _follow(next_state, reward, moves, gamma)
        q = action_values(next_state, reward, values, gamma)
        better = q.max(-1) > values + tolerance[..., None]
        if not better.any():
            return values
        moves = np.where(better, q.argmax(-1), moves)


def action_values(next_state: np.ndarray, reward: np.ndarray, values: np.ndarray, gamma: float) -> np.ndarray:
    """Q (..., S, A) = reward + gamma V(next state), for values (..., S)."""
    return reward + gamma * values[..., next_state]


def greedy_policy(next_state: np.ndarray, reward: np.ndarray, gamma: float) -> np.ndarray:
    """The optimal policy (..., S, A), uniform over equally good moves, for rewards (..., S, A); gamma below 1."""
    q = action_values(next_state, reward, optimal_values(next_state, reward, gamma), gamma)
    tolerance = _largest_sum(reward, gamma) * TIE
    best = q >= q.max(-1, keepdims=True) - tolerance[..., None, None]
    return best / best.sum(-1, keepdims=True)


def policy_values(next_state: np.ndarray, reward: np.ndarray, policy: np.ndarray, gamma: float) -> np.ndarray:
    """V of a policy (S, A) of probabilities; gamma below 1.

    reward (S, A) gives (S,); features (S, A, F) give (S, F), which are the policy's successor features.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma is {gamma}, expected 0 or more and below 1: a policy may never come to an end")
    states, moves = next_state.shape
    rows = np.repeat(np.arange(states), moves)
    steps = sparse.coo_array((policy.ravel(), (rows, next_state.ravel())), shape=(states, states))
    expected = np.einsum("sa,sa...->s...", policy, reward)
    return splu(sparse.csc_array(sparse.identity(states)) - gamma * steps).solve(expected)


def _longest(next_state: np.ndarray, reward: np.ndarray, values: np.ndarray, tolerance: float) -> np.ndarray:
    """Increase `values` (S,) until no move improves on them (Bellman and Ford's longest walk)."""
    for _ in range(len(values) + 1):  # the best walk visits no state twice, so that S rounds are enough
        through = (reward + values[next_state]).max(-1)
        better = through > values + tolerance
        if not better.any():
            return values
        values = np.where(better, through, values)
    state = int(np.flatnonzero(better)[0])
    raise ValueError(f"V* is not bounded without discount: a loop near state {state} earns more than it costs")


def _follow(next_state: np.ndarray, reward: np.ndarray, moves: np.ndarray, gamma: float) -> np.ndarray:
    """V (..., S) of one move per state (..., S), by doubling the horizon: 2, 4, 8, ... steps."""
    total = np.take_along_axis(reward, moves[..., None], -1)[..., 0]
    ahead = next_state[np.arange(len(next_state)), moves]  # (..., S) where one is after as many steps
    discount = gamma
    while discount > 1e-20:  # the share of the largest sum that is left out in the end
        total = total + discount * np.take_along_axis(total, ahead, -1)
        ahead = np.take_along_axis(ahead, ahead, -1)
        discount *= discount
    return total


def _largest_sum(reward: np.ndarray, gamma: float) -> np.ndarray:
    """Return the discounted sum (...) of the largest reward for ever."""
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma is {gamma}, expected 0 or more and below 1 (best_sums is for 1)")
    return np.abs(reward).max((-1, -2), initial=0.0) / (1 - gamma)
