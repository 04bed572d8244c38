"""ExploRS (Devidze et al. 2022): a reward that shapes itself while a policy learns from it, where reward is sparse."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import NamedTuple

from pbrl.tabular.beds import Bed, Measured

NEAR, FAR, HORIZON, NOISE, GAMMA = 20, 40, 40, 0.05, 0.99  # cells to the goal on the right, and to the left end
EPISODES, PARTS = 12_000, 10
POLICY_STEP, SHAPING_STEP, VALUE_STEP = 0.1, 0.01, 0.01
BUFFER, RECENT, POLICY_EVERY, SHAPING_EVERY = 10, 5, 2, 5  # episodes
START, GOAL = FAR, FAR + NEAR


class Step(NamedTuple):
    state: int
    right: bool  # the move
    after: int
    learned_from: float  # the reward that the policy learns from
    true: float


class Learner:
    """REINFORCE with a logit of "right" for each cell, on the true reward, a learned one and a bonus for novelty.

    The learned reward phi(s, a) follows, every few episodes, what the last ones say of the true return G:

        phi(s, .) += step * pi(a|s) (G - V(s)) (onehot(a) - pi(.|s)),   V by averaged temporal differences

    and the bonus of reaching s' for the n-th time is 1 / sqrt(1 + n), 0 at the goal.
    """

    def __init__(self, shapes: bool, explores: bool, rng: random.Random) -> None:
        self.shapes, self.explores, self.rng = shapes, explores, rng
        cells = GOAL + 1
        self.logits, self.values, self.counts = [0.0] * cells, [0.0] * cells, [0] * cells
        self.phi = [[0.0, 0.0] for _ in range(cells)]  # of left and right
        self.last: deque[list[Step]] = deque(maxlen=BUFFER)

    def right(self, state: int) -> float:
        """The probability to go right."""
        return 1 / (1 + math.exp(-self.logits[state]))

    def episode(self) -> float:
        """Act for an episode and keep its steps to learn from; return whether the goal was reached."""
        state, steps = START, list[Step]()
        while len(steps) < HORIZON and state != GOAL:
            right = self.rng.random() < self.right(state)
            moved = right != (self.rng.random() < NOISE)
            after = min(max(state + (1 if moved else -1), 0), GOAL)
            steps.append(Step(state, right, after, self.reward(state, right, after), float(after == GOAL)))
            self.counts[after] += 1
            state = after
        self.last.append(steps)
        return float(state == GOAL)

    def reward(self, state: int, right: bool, after: int) -> float:
        shaped = self.phi[state][right] if self.shapes else 0.0
        bonus = 1 / math.sqrt(1 + self.counts[after]) if self.explores and after != GOAL else 0.0
        return float(after == GOAL) + shaped + bonus

    def learn(self, number: int) -> None:
        """Learn what is due after this many episodes."""
        if number % POLICY_EVERY == 0:
            self.learn_policy()
        if self.shapes and number % SHAPING_EVERY == 0:
            self.learn_shaping()

    def learn_policy(self) -> None:
        recent = list(self.last)[-RECENT:]
        change = dict[int, float]()
        for steps in recent:
            total = 0.0
            for step in reversed(steps):
                total = step.learned_from + GAMMA * total
                change[step.state] = change.get(step.state, 0.0) + total * (step.right - self.right(step.state))
        for state, by in change.items():
            self.logits[state] += POLICY_STEP * by / len(recent)

    def learn_shaping(self) -> None:
        errors = dict[int, list[float]]()
        for steps in self.last:
            total = 0.0
            for step in reversed(steps):
                total = step.true + GAMMA * total
                p = self.right(step.state)
                taken = p if step.right else 1 - p
                by = SHAPING_STEP * taken * (total - self.values[step.state])
                self.phi[step.state][1] += by * (step.right - p)
                self.phi[step.state][0] -= by * (step.right - p)
                ahead = 0.0 if step.after == GOAL else GAMMA * self.values[step.after]
                errors.setdefault(step.state, []).append(step.true + ahead - self.values[step.state])
        for state, of in errors.items():
            self.values[state] += VALUE_STEP * sum(of) / len(of)


def reached(shapes: bool, explores: bool, seed: int) -> list[float]:
    """The share of episodes that reach the goal, in each part of the training."""
    learner, found, size = Learner(shapes, explores, random.Random(seed)), [], EPISODES // PARTS
    for part in range(PARTS):
        successes = 0.0
        for number in range(part * size, (part + 1) * size):
            successes += learner.episode()
            learner.learn(number + 1)
        found.append(successes / size)
    return found


def run(seed: int) -> list[Measured]:
    arms = {
        "the given reward": (False, False),
        "a bonus for novelty": (False, True),
        "shaped": (True, False),
        "shaped, with a bonus": (True, True),
    }
    found = []
    for arm, how in arms.items():
        shares = reached(*how, seed)
        for part, case in ((0, "first tenth"), (PARTS // 2 - 1, "fifth tenth"), (PARTS - 1, "last tenth")):
            found.append(Measured(f"{case} of training", arm, shares[part]))
    return found


BED = Bed(
    claim="Where reward is sparse, a reward that shapes itself by what was seen of the true one, with a bonus for "
    "novelty, is learned from sooner than the given reward or the bonus alone; in the end, some runs of it have lost "
    "the goal again.",
    task=f"a chain with a goal {NEAR} cells to the right of the start and {FAR} cells to the left, {HORIZON} steps, "
    f"REINFORCE over {EPISODES:,} episodes",
    measure="share of episodes that reach the goal",
    run=run,
    seeds=10,
)
