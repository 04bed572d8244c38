"""BARFI on a grid where everything is exact: a sparse task, a helper that may mislead, and a reward that learns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pbrl.rewards.implicit import implicit_gradient
from pbrl.tabular.beds import Bed, Measured
from pbrl.tabular.grid_world import MOVES

SIDE, GAMMA = 5, 0.95
STATES, GOAL, SHORTEST = SIDE * SIDE, SIDE * SIDE - 1, 2 * (SIDE - 1)  # moves from the start to the goal
ENTROPY = 0.01
OUTER_STEPS, REWARD_LR, REWARD_L2 = 200, 0.05, 1e-3  # of Adam on the reward; of its state bonus
INNER_STEPS, STEP_SIZE = 15, 2.0  # of the policy between two of the reward
TERMS, NEUMANN_STEP = 5, 0.5
SPREAD = 0.1  # of the first logits, by which seeds differ
ARMS = ("task alone", "plain sum", "BARFI")


class Case(NamedTuple):
    name: str
    helper: np.ndarray  # (S, A)
    entropy: float = ENTROPY
    met: bool = False  # the entropies that count are those of the states met on the way, discounted; else of all alike
    warm: int = 0  # steps of the policy on the plain sum before the reward learns
    spread: float = SPREAD  # 0: the policy begins uniform, with every seed alike


def next_states() -> np.ndarray:
    """Return the states (S, A) that moves lead to; nobody leaves the goal."""
    found = np.full((STATES, len(MOVES)), GOAL)
    for state in range(GOAL):
        for a, move in enumerate(MOVES):
            row, column = np.clip(np.array(divmod(state, SIDE)) + move, 0, SIDE - 1)
            found[state, a] = row * SIDE + column
    return found


def cases() -> list[Case]:
    there = next_states()
    distance = np.array([SHORTEST - sum(divmod(state, SIDE)) for state in range(STATES)])
    progress = (distance[:, None] - distance[there]).astype(float)
    trap = (there == SIDE + 1).astype(float)  # the inner corner next to the start, as often as one likes
    return [
        Case("good helper", 0.2 * progress),
        Case("bad helper: progress costs 0.1", -0.1 * progress),
        Case("bad helper: progress costs 0.2", -0.2 * progress),
        Case("bad helper: one cell pays", 0.15 * trap),
        Case("no helper", 0 * progress),
        Case("no helper, entropy 0.05", 0 * progress, entropy=0.05),
        Case("progress costs 0.2, 10 steps late", -0.2 * progress, warm=10),
        Case("progress costs 0.6, entropy 0.05", -0.6 * progress, entropy=0.05),
        Case("progress costs 0.2, entropy of states met", -0.2 * progress, met=True),
        Case("no helper, entropy 0.05 of states met", 0 * progress, entropy=0.05, met=True),
        Case("progress costs 0.2, of states met, begun uniform", -0.2 * progress, met=True, spread=0.0),
        Case("no helper, 0.05 of states met, begun uniform", 0 * progress, entropy=0.05, met=True, spread=0.0),
    ]


class Problem:
    """R problems side by side: rewards (R, S, A) of the task and its helper, and weights (R, 1) of entropy.

    Either that of all states alike counts, or that of the states met on the way: the latter leaves the policy where it
    has not been for long as it may be, and the way to the goal is forgotten while a helper misleads.
    """

    def __init__(self, helper: Tensor, entropy: Tensor, met: Tensor) -> None:
        there = torch.from_numpy(next_states())
        self.moves = torch.nn.functional.one_hot(there, STATES).double()  # (S, A, S)
        self.moves[GOAL] = 0
        self.acting = (torch.arange(STATES) != GOAL).double()
        self.task = ((there == GOAL) * self.acting[:, None].bool()).double()
        self.helper, self.of_all, self.of_met = helper, entropy * ~met, entropy * met

    def objective(self, logits: Tensor, rewards: Tensor) -> Tensor:
        """Return the value (R,) of the start with what entropy is worth: what the policy ascends."""
        entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1) * self.acting
        met = rewards + (self.of_met * entropy)[..., None]
        return self.value(logits, met) + (self.of_all * entropy).sum(-1)

    def value(self, logits: Tensor, rewards: Tensor) -> Tensor:
        """Return the value (R,) of the start, by a linear solve."""
        policy = logits.softmax(-1)
        own = (policy * rewards).sum(-1)
        matrix = torch.eye(STATES, dtype=torch.float64) - GAMMA * torch.einsum("rsa,sat->rst", policy, self.moves)
        return torch.linalg.solve(matrix, (own * self.acting)[..., None])[:, 0, 0]

    def improve(self, logits: Tensor, rewards: Tensor, steps: int, sizes: Tensor | float = STEP_SIZE) -> Tensor:
        """Take steps of plain gradient ascent on these rewards and entropy; return the logits."""
        for _ in range(steps):
            logits = logits.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.objective(logits, rewards).sum(), logits)
            logits = logits.detach() + sizes * gradient
        return logits

    def primary_gradient(self, logits: Tensor) -> Tensor:
        """Return the gradient (R, S, A) of the task's return alone by the policy's logits."""
        logits = logits.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.value(logits, self.task).sum(), logits)
        return gradient


def align(problem: Problem, logits: Tensor, learns: Tensor) -> tuple[Tensor, Tensor]:
    """The last policies, and the norm (R,) of the outer gradient at the start.

    The reward is bonus(s) + task + weight(s) * helper; learns (R,): rows in which it is learned. Elsewhere it stays the
    plain sum. logits: (R, S, A) where to begin.
    """
    bonus = torch.zeros((len(logits), STATES, 1), dtype=torch.float64, requires_grad=True)
    weight = torch.ones_like(bonus, requires_grad=True)
    optimizer = torch.optim.Adam([bonus, weight], lr=REWARD_LR)
    norm = problem.primary_gradient(logits).flatten(1).norm(dim=1)
    rows = learns[:, None, None].double()
    for _ in range(OUTER_STEPS):
        outer, inner = problem.primary_gradient(logits), logits.detach().requires_grad_()
        rewards = bonus + problem.task + weight * problem.helper
        objective = problem.objective(inner, rewards).sum()  # of rows that have nothing in common
        by_reward = implicit_gradient(objective, [inner], [outer], [bonus, weight], terms=TERMS, step=NEUMANN_STEP)
        bonus.grad = rows * (2 * REWARD_L2 * bonus.detach() - by_reward[0])
        weight.grad = -rows * by_reward[1]
        optimizer.step()
        rewards = (bonus + problem.task + weight * problem.helper).detach()
        logits = problem.improve(logits, rewards, INNER_STEPS)
    return logits, norm


def run(seed: int) -> list[Measured]:
    all_cases, rng = cases(), torch.Generator().manual_seed(seed)
    rows = [(case, arm) for case in all_cases for arm in ARMS]
    helper = np.stack([case.helper * (arm != ARMS[0]) for case, arm in rows])
    entropy = torch.tensor([[case.entropy] for case, _ in rows], dtype=torch.float64)
    met = torch.tensor([[case.met] for case, _ in rows])
    problem = Problem(torch.from_numpy(helper), entropy, met)
    start = torch.randn((1, STATES, len(MOVES)), dtype=torch.float64, generator=rng)
    logits = torch.tensor([case.spread for case, _ in rows], dtype=torch.float64)[:, None, None] * start
    warm = torch.tensor([case.warm for case, _ in rows])
    for step in range(int(warm.max())):
        sizes = STEP_SIZE * (step < warm).double()[:, None, None]
        logits = problem.improve(logits, problem.task + problem.helper, 1, sizes)
    logits, norms = align(problem, logits, torch.tensor([arm == ARMS[2] for _, arm in rows]))
    shares = problem.value(logits, problem.task) / GAMMA ** (SHORTEST - 1)
    found = [Measured(case.name, arm, float(value)) for (case, arm), value in zip(rows, shares, strict=True)]
    norm = {case.name: float(n) for (case, arm), n in zip(rows, norms, strict=True) if arm == ARMS[2]}
    return found + [Measured(name, "outer gradient at the start", value) for name, value in norm.items()]


BED = Bed(
    claim="A reward that is learned so that what it teaches does well in the task makes use of a good helper, survives "
    "a bad one, on which the plain sum of task and helper fails, and frees a policy that entropy keeps from the goal; "
    "not where a helper misleads faster than the reward learns: then there is no outer gradient.",
    task=f"{SIDE} x {SIDE} cells, 1 for reaching the far corner; exact values, {OUTER_STEPS} steps of the reward with "
    f"{INNER_STEPS} of the policy after each",
    measure="return of the task as a share of the best, and the norm of its gradient by the policy",
    run=run,
)
