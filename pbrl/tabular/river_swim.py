"""Randomised querying on RiverSwim: a question is asked only where samples of the posterior disagree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pbrl.feedback.samplers import expected_gap
from pbrl.tabular.beds import Bed, Measured

STATES, HORIZON, ROUNDS, SAMPLES = 5, 15, 300, 16
THRESHOLDS = (0.2, 0.3, 1.0)
NEWTON_STEPS, TOLERANCE = 20, 1e-6
INFLATION = 0.1  # of each answer's weight in the precision, which is 0 where the answer was sure


class River(NamedTuple):
    """Left is certain, right is against the current."""

    next_states: np.ndarray  # (S, 2, S) probabilities
    rewards: np.ndarray  # (S, 2) the true ones


def make_river() -> River:
    next_states, rewards = np.zeros((STATES, 2, STATES)), np.zeros((STATES, 2))
    for s in range(STATES):
        next_states[s, 0, max(s - 1, 0)] = 1
        next_states[s, 1, max(s - 1, 0)] += 0.05
        next_states[s, 1, s] += 0.6
        next_states[s, 1, min(s + 1, STATES - 1)] += 0.35
    rewards[0, 0], rewards[-1, 1] = 0.05, 1.0
    return River(next_states, rewards)


def plan(river: River, rewards: np.ndarray) -> np.ndarray:
    """Return the best actions (H, S) for rewards (S, 2)."""
    values, actions = np.zeros(STATES), np.zeros((HORIZON, STATES), int)
    for t in reversed(range(HORIZON)):
        q = rewards + river.next_states @ values
        actions[t], values = q.argmax(1), q.max(1)
    return actions


def expected_visits(river: River, policy: np.ndarray) -> np.ndarray:
    """Return the expected counts (S 2,) of state and action, from the left bank."""
    there, visits = np.eye(STATES)[0], np.zeros((STATES, 2))
    for actions in policy:
        visits[np.arange(STATES), actions] += there
        there = there @ river.next_states[np.arange(STATES), actions]
    return visits.ravel()


def visits(river: River, policy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the counts (S 2,) of state and action in one episode."""
    state, found = 0, np.zeros((STATES, 2))
    for actions in policy:
        action = actions[state]
        found[state, action] += 1
        state = int(rng.choice(STATES, p=river.next_states[state, action]))
    return found.ravel()


def posterior(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and precision by Laplace of theta ~ N(0, I), y ~ Bernoulli(sigmoid(x theta)); Newton with halved steps.

    Undamped steps diverge where the answers can be separated.
    """

    def loss(theta: np.ndarray) -> float:
        return float(np.logaddexp(0, -(2 * y - 1) * (x @ theta)).sum() + theta @ theta / 2)

    theta, here = start, loss(start)
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(x @ theta)))
        precision = np.eye(x.shape[1]) + (x * (p * (1 - p) + INFLATION)[:, None]).T @ x
        step = np.linalg.solve(precision, x.T @ (p - y) + theta)
        size = 1.0
        while (there := loss(theta - size * step)) > here and size > 1e-4:
            size /= 2
        theta, gained, here = theta - size * step, here - there, there
        if gained < TOLERANCE:
            break
    return theta, precision


def learn(threshold: float, rng: np.random.Generator) -> tuple[int, float]:
    """Questions asked, and regret summed over all rounds in units of V*."""
    river = make_river()
    best = float(expected_visits(river, plan(river, river.rewards)) @ river.rewards.ravel())
    size = 2 * STATES
    mean, precision = np.zeros(size), np.eye(size)
    x, y, regret = np.zeros((0, size)), np.zeros(0), 0.0
    before = plan(river, rng.standard_normal((STATES, 2)))
    for _ in range(ROUNDS):
        root = np.linalg.cholesky(np.linalg.inv(precision))
        samples = mean + rng.standard_normal((SAMPLES, size)) @ root.T
        policy = plan(river, samples[0].reshape(STATES, 2))
        regret += 1 - float(expected_visits(river, policy) @ river.rewards.ravel()) / best
        difference = expected_visits(river, policy) - expected_visits(river, before)
        gap = float(expected_gap(torch.from_numpy(samples @ difference)[:, None])[0])
        if gap > threshold or threshold == 0:
            pair = visits(river, policy, rng) - visits(river, before, rng)
            x = np.concatenate([x, pair[None]])
            y = np.append(y, rng.random() < 1 / (1 + np.exp(-pair @ river.rewards.ravel())))
            mean, precision = posterior(x, y, mean)
        before = policy
    return len(y), regret


def run(seed: int) -> list[Measured]:
    found = []
    for number, threshold in enumerate((0.0, *THRESHOLDS)):
        asked, regret = learn(threshold, np.random.default_rng([seed, number]))
        arm = f"threshold {threshold:g}" if threshold else "always asks"
        found += [Measured("questions asked", arm, asked), Measured("regret, in V*", arm, regret)]
    return found


BED = Bed(
    claim="Asking only where samples of the posterior disagree takes a fraction of the questions at the same regret.",
    task=f"RiverSwim with {STATES} states, {ROUNDS} episodes of {HORIZON} steps, each by a policy of its own sample of "
    "the posterior, and perhaps compared with the one before",
    measure=f"see the case; of {ROUNDS} possible questions",
    run=run,
    seeds=10,
)
