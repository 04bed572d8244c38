"""The worth of the policy that a learned reward leads to: 1 is optimal, 0 as good as random moves."""

from __future__ import annotations

import numpy as np

from pbrl.errors import UserError
from pbrl.tabular.grid_world import GridWorld
from pbrl.tabular.library import GAMMA
from pbrl.tabular.planning import greedy_policy, optimal_values, policy_values

NEAR_OPTIMAL = 0.9  # a scaled return above this (Knox et al. 2024)


def scaled_return(world: GridWorld, weights: np.ndarray, planning_gamma: float = GAMMA) -> float:
    """Return (V of the learned policy - V of random moves) / (V* - V of random moves); below 0: worse than random.

    The policy is optimal for the reward phi . weights (F,), uniform over equally good moves, when it plans with
    planning_gamma; 0 takes the best weight now, as is right where they are a table of A* (`with_weight_per_move`).
    Values are those of the true reward, discounted by 0.999, averaged over cells that are neither houses nor absorbing.
    UserError: random moves are optimal in this world.
    """
    return float(scaled_returns(world, np.asarray(weights, float)[None], planning_gamma)[0])


def scaled_returns(world: GridWorld, weights: np.ndarray, planning_gamma: float = GAMMA) -> np.ndarray:
    """Return the scaled returns (E,) of weights (E, F), each as `scaled_return` has it."""
    if weights.ndim != 2 or weights.shape[1] != len(world.weights):
        raise ValueError(f"weights has shape {weights.shape}, expected (E, {len(world.weights)})")
    learned = greedy_policy(world.next_state, np.einsum("saf,ef->esa", world.features, weights), planning_gamma)
    v_random = mean_value(world, uniform_policy(world))
    v_star = optimal_values(world.next_state, world.reward, GAMMA)[world.start_states].mean()
    if not v_star - v_random > 1e-9 * np.abs(world.reward).max(initial=0.0):
        raise UserError(f"board {world.name}: random moves are optimal, so that no return can be scaled")
    return (np.array([mean_value(world, policy) for policy in learned]) - v_random) / (v_star - v_random)


def mean_value(world: GridWorld, policy: np.ndarray) -> float:
    """The true value of a policy (S, A), discounted by 0.999, averaged over all cells to start from."""
    return float(policy_values(world.next_state, world.reward, policy, GAMMA)[world.start_states].mean())


def uniform_policy(world: GridWorld) -> np.ndarray:
    """Return the policy (S, A) that makes each move as often as the others."""
    return np.full(world.next_state.shape, 1 / world.next_state.shape[1])
