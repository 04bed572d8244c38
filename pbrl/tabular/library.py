"""Policies that are optimal for random rewards, as their successor features: V* of any reward is near their best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pbrl.errors import UserError
from pbrl.tabular.grid_world import GridWorld
from pbrl.tabular.planning import greedy_policy, policy_values

GAMMA = 0.999  # of everything that is learned; statistics of segments have no discount
POLICIES = 100  # as requested in the released code for random worlds; its delivery library has 69


class PolicyLibrary(NamedTuple):
    """P different policies; for weights w, max over P of successor_features @ w is at most V* of the reward phi @ w."""

    successor_features: np.ndarray  # (S, P, F) discounted sum of the features of each policy from each state


def policy_library(world: GridWorld, seed: int, policies: int = POLICIES) -> PolicyLibrary:
    """The library of this world, made once for each seed and size and then kept with the world.

    Each policy is optimal, uniform over ties, for a reward vector whose weights are drawn from world.reward_choices.
    Drawing ends with enough different policies, or as many duplicates: small worlds do not have more. That of the true
    reward is left out, so that nothing about it reaches the learner except by labels.

    UserError: the world has no other policy.
    """
    key = (seed, policies)
    if key not in world.libraries:
        world.libraries[key] = _make(world, np.random.default_rng(seed), policies)
    library: PolicyLibrary = world.libraries[key]
    return library


def successor_features(world: GridWorld, weights: np.ndarray) -> np.ndarray:
    """Return the successor features (..., S, F) of the policies that are optimal for each of the weights (..., F)."""
    policies = greedy_policy(world.next_state, np.einsum("saf,...f->...sa", world.features, weights), GAMMA)
    flat = policies.reshape(-1, *world.next_state.shape)
    psi = [policy_values(world.next_state, world.features, policy, GAMMA) for policy in flat]
    return np.stack(psi).reshape(*weights.shape[:-1], -1, weights.shape[-1])


def _make(world: GridWorld, rng: np.random.Generator, policies: int) -> PolicyLibrary:
    truth = _key(successor_features(world, world.weights))
    found: dict[bytes, np.ndarray] = {}
    duplicates = 0
    while len(found) < policies and duplicates < policies:
        drawn = rng.choice(world.reward_choices, (policies, len(world.weights)))
        for psi in successor_features(world, drawn):
            duplicates += _key(psi) in found
            found.setdefault(_key(psi), psi)
    found.pop(truth, None)
    if not found:
        raise UserError(f"board {world.name}: no reward leads to another policy than the true one")
    return PolicyLibrary(np.stack(list(found.values())[:policies], axis=1))


def _key(psi: np.ndarray) -> bytes:
    """The same for two policies that collect the same."""
    return (np.round(psi, 6) + 0.0).tobytes()  # + 0.0: no negative zeros
