"""EXPRD (Devidze et al. 2021): a reward in few states that keeps the optimal policy and is quick to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from pbrl.tabular.beds import Bed, Measured

CHAIN, SLIP, GAMMA, PRIZE, LARGEST = 15, 0.1, 0.95, 10.0, 10.0  # states before the goal; of a designed reward
HORIZONS = (1, 4, 8, 16, 32)
BUDGETS = (0, 1, 2, 3, 5, CHAIN)  # states with a reward besides the goal
STEP_SIZE, EXPLORE, ENOUGH, EPISODES, LIMIT = 0.5, 0.1, 0.9, 200, 400  # of the learner
LEFT, RIGHT = 0, 1


class Chain(NamedTuple):
    """The last state is the goal; what is done there pays and ends the episode."""

    next_states: np.ndarray  # (S, A, S) probabilities, 0 in all after the goal
    rewards: np.ndarray  # (S, A)


class Design(NamedTuple):
    rewards: np.ndarray  # (S, A)
    loss: float  # mean over horizons and states of what an optimal move lacks of its margin


def make_chain(length: int = CHAIN) -> Chain:
    next_states, rewards = np.zeros((length + 1, 2, length + 1)), np.zeros((length + 1, 2))
    for s in range(length):
        for move, ahead in ((LEFT, max(s - 1, 0)), (RIGHT, s + 1)):
            next_states[s, move, ahead] += 1 - SLIP
            next_states[s, 1 - move, ahead] += SLIP
    rewards[-1] = PRIZE
    return Chain(next_states, rewards)


def optimal_q(chain: Chain, rewards: np.ndarray) -> np.ndarray:
    """Return Q (S, A) by value iteration."""
    q = np.zeros(rewards.shape)
    for _ in range(2000):
        q = rewards + GAMMA * chain.next_states @ q.max(1)
    return q


def truncated(chain: Chain, policy: np.ndarray, horizon: int) -> np.ndarray:
    """Return how much each reward counts in Q of a policy (S,) over so many steps: (S, A, S, A).

    Q_H(s, a) = R(s, a) + sum_{t=1}^{H-1} gamma^t E[R(s_t, policy(s_t))]
    """
    states, moves = chain.rewards.shape
    follow = chain.next_states[np.arange(states), policy]  # (S, S)
    at, values = np.eye(states), np.zeros((states, states))  # visits discounted, from each state
    for _ in range(horizon - 1):
        values += at
        at = GAMMA * at @ follow
    found = np.zeros((states, moves, states, moves))
    found[..., np.arange(states), policy] = GAMMA * chain.next_states @ values
    s, a = np.indices((states, moves))
    found[s, a, s, a] += 1
    return found


class Designer:
    """The linear programme of EXPRD for one chain, whose optimal policy is to be kept.

        minimise    mean over H, s of  max(0, delta_s - A_H(s))
        subject to  A_inf(s) >= delta_s,  |R| <= LARGEST,  R = 0 outside the active states

    A_H(s) = Q_H(s, best) - Q_H(s, other) under the optimal policy; delta_s is that of the given reward.
    """

    def __init__(self, chain: Chain) -> None:
        q = optimal_q(chain, chain.rewards)
        self.chain, self.policy = chain, q.argmax(1)
        self.before_goal = np.arange(len(q) - 1)
        other = 1 - self.policy
        rows = self.before_goal
        self.gaps = q[rows, self.policy[rows]] - q[rows, other[rows]]

        def advantage(horizon: int) -> np.ndarray:
            weights = truncated(chain, self.policy, horizon)
            difference: np.ndarray = weights[rows, self.policy[rows]] - weights[rows, other[rows]]
            return difference.reshape(len(rows), -1)

        self.advantages = np.stack([advantage(horizon) for horizon in HORIZONS])  # (H, S - 1, S A)
        self.lasting = advantage(1000)

    def loss(self, rewards: np.ndarray) -> float:
        lack = self.gaps - self.advantages @ rewards.ravel()
        return float(np.maximum(lack, 0).mean())

    def design(self, active: Sequence[int]) -> Design | None:
        """Solve the programme for rewards in these states and the goal; None where none of them keeps the margins."""
        size = self.chain.rewards.size
        slacks = self.gaps.size * len(HORIZONS)
        allowed = np.isin(np.arange(len(self.chain.rewards)), [*active, len(self.chain.rewards) - 1])
        bound = LARGEST * np.repeat(allowed, self.chain.rewards.shape[1])
        flat = self.advantages.reshape(slacks, size)
        found = linprog(
            np.concatenate([np.zeros(size), np.full(slacks, 1 / slacks)]),
            A_ub=np.block([[-flat, -np.eye(slacks)], [-self.lasting, np.zeros((len(self.gaps), slacks))]]),
            b_ub=np.concatenate([-np.tile(self.gaps, len(HORIZONS)), -self.gaps + 1e-9]),
            bounds=[*zip(-bound, bound, strict=True), *[(0, None)] * slacks],
            method="highs",
        )
        if not found.success:
            return None
        rewards = found.x[:size].reshape(self.chain.rewards.shape)
        return Design(rewards, self.loss(rewards))

    def grow(self, budget: int) -> list[Design]:
        """Add 0 to `budget` states besides the goal, each time the one that leaves the smallest loss."""
        active: list[int] = []
        designs = [self._checked(self.design(active))]
        while len(active) < budget:
            left = [int(s) for s in self.before_goal if s not in active]
            tried = {s: self._checked(self.design([*active, s])) for s in left}
            best = min(left, key=lambda s: tried[s].loss)
            active.append(best)
            designs.append(tried[best])
        return designs

    def _checked(self, design: Design | None) -> Design:
        return design or Design(self.chain.rewards, self.loss(self.chain.rewards))  # which is always allowed


def episodes_to_learn(chain: Chain, rewards: np.ndarray, policy: np.ndarray, shape: np.ndarray, seed: int) -> int:
    """Count episodes of Q-learning from the far end until ENOUGH greedy moves are the policy's; at most EPISODES.

    shape: (S,) potentials, which add gamma * shape[s'] - shape[s] to the reward of a step.
    """
    rng, goal = np.random.default_rng(seed), len(rewards) - 1
    q, onward = np.zeros(rewards.shape), chain.next_states.cumsum(2)
    for episode in range(1, EPISODES + 1):
        state = 0
        for _ in range(LIMIT):
            best = q[state] + 1e-9 * rng.random(2)
            move = int(rng.integers(2)) if rng.random() < EXPLORE else int(best.argmax())
            if state == goal:
                q[state, move] += STEP_SIZE * (rewards[state, move] - shape[state] - q[state, move])
                break
            after = min(int((onward[state, move] < rng.random()).sum()), goal)
            target = rewards[state, move] + GAMMA * (shape[after] + q[after].max()) - shape[state]
            q[state, move] += STEP_SIZE * (target - q[state, move])
            state = after
        decided = (q[:goal, 0] != q[:goal, 1]) & (q[:goal].argmax(1) == policy[:goal])
        if decided.mean() >= ENOUGH:
            return episode
    return EPISODES


def run(seed: int) -> list[Measured]:
    chain = make_chain()
    designer = Designer(chain)
    designs = designer.grow(max(b for b in BUDGETS if b < CHAIN))
    designs += [designer._checked(designer.design(range(CHAIN)))]
    plain, values = np.zeros(CHAIN + 1), optimal_q(chain, chain.rewards).max(1)
    arms = {"the given reward": (chain.rewards, plain), "shaped by V*": (chain.rewards, values)}
    for budget in BUDGETS:
        name = "all states" if budget == CHAIN else f"goal and {budget} more" if budget else "the goal alone"
        arms[name] = (designs[min(budget, len(designs) - 1)].rewards, plain)
    found = []
    for arm, (rewards, shape) in arms.items():
        episodes = episodes_to_learn(chain, rewards, designer.policy, shape, seed)
        found.append(Measured("episodes to learn", arm, episodes))
        if arm != "shaped by V*":
            found.append(Measured("what optimal moves lack of their margin", arm, designer.loss(rewards)))
    return found


BED = Bed(
    claim="Rewards in a few states, found by linear programmes, keep the optimal policy and are learned from in a "
    "fraction of the episodes.",
    task=f"a chain of {CHAIN} states with slips, a reward at its goal, and Q-learning from the other end until "
    f"{ENOUGH:.0%} of its moves are right",
    measure="see the case; the second one is the same for all seeds",
    run=run,
    seeds=12,
)
