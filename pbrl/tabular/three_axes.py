"""ICPL on a point that is to come to rest in three axes: what choosing the best and the worst program is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pbrl.rewards.programs import RewardProgram
from pbrl.rewards.proposers import GRAMMAR, GrammarProposer
from pbrl.rewards.rounds import Trained, by_score, rounds
from pbrl.tabular.beds import Bed, Measured

DT, LENGTH, AXES, START, FORCE, FASTEST = 0.1, 40, 3, 1.0, 2.0, 3.0
ROUNDS, PROGRAMS = 5, 6
GENERATIONS, POPULATION, ELITE = 6, 16, 4  # of the cross-entropy method that trains a policy of 6 weights
TERMS = tuple(f"{what}_{axis}" for axis in "xyz" for what in ("distance", "speed", "effort"))

Reward = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def roll_out(weights: np.ndarray, reward: Reward | None) -> tuple[np.ndarray, np.ndarray]:
    """True returns (n,) and sums of `reward` of policies (n, 6): a force along each axis, of place and speed there.

    The true return is minus the sum of squared distances, of a tenth of the squared speeds and a hundredth of the
    squared forces; a program reads these squares by name.
    """
    n, gains = len(weights), weights.reshape(-1, 2, AXES)
    place, speed = np.full((n, AXES), START), np.zeros((n, AXES))
    true, learned = np.zeros(n), np.zeros(n)
    for _ in range(LENGTH):
        force = FORCE * np.tanh(gains[:, 0] * place + gains[:, 1] * speed)
        squares = np.stack([place**2, speed**2, force**2], 2)  # (n, AXES, 3)
        if reward is not None:
            learned += reward(dict(zip(TERMS, squares.reshape(n, -1).T, strict=True)))
        true -= squares.sum(1) @ (1, 0.1, 0.01)
        speed = np.clip(speed + force * DT, -FASTEST, FASTEST)
        place = place + speed * DT
    return true, learned


def train(reward: Reward | None, rng: np.random.Generator) -> float:
    """The true return of the policy that the cross-entropy method finds for a reward; None: for the true one."""
    mean, std = np.zeros(2 * AXES), np.full(2 * AXES, 2.0)
    for _ in range(GENERATIONS):
        population = mean + std * rng.standard_normal((POPULATION, 2 * AXES))
        true, learned = roll_out(population, reward)
        best = np.argsort(true if reward is None else learned)[-ELITE:]
        mean, std = population[best].mean(0), population[best].std(0) + 0.1
    return float(roll_out(mean[None], None)[0][0])


def best_so_far(arm: str, rng: np.random.Generator) -> list[float]:
    """The best true return after each round."""
    if arm == "true reward":
        scores = np.array([train(None, rng) for _ in range(ROUNDS * PROGRAMS)])
        return [float(scores[: PROGRAMS * (r + 1)].max()) for r in range(ROUNDS)]

    def train_all(programs: list[RewardProgram]) -> list[Trained]:
        return [Trained(program, train(program, rng), {}) for program in programs]

    def any_two(trained: Sequence[Trained]) -> tuple[int, int]:
        best, worst = rng.permutation(len(trained))[:2]
        return int(best), int(worst)

    proposer = GrammarProposer(**GRAMMAR, rng=rng)
    choose = {"best and worst at random": any_two, "independent proposals": None}.get(arm, by_score)
    found: list[float] = []
    for trained, _, _ in rounds(proposer, TERMS, train_all, choose, programs=PROGRAMS, n=ROUNDS):
        found.append(max([*found[-1:], *(one.score for one in trained)]))
    return found


ARMS = ("best and worst chosen", "best and worst at random", "independent proposals", "true reward")


def run(seed: int) -> list[Measured]:
    """All arms but the last begin with the same programs."""
    by_arm = {arm: best_so_far(arm, np.random.default_rng(seed)) for arm in ARMS}
    return [Measured(f"after round {r + 1}", arm, by_arm[arm][r]) for r in range(ROUNDS) for arm in ARMS]


BED = Bed(
    claim="Proposals that follow the choice of the best and the worst program get better round by round; without the "
    "choice, or without following it, as many trainings find less.",
    task=f"a point to be brought to rest in {AXES} axes, {ROUNDS} rounds of {PROGRAMS} programs over {len(TERMS)} "
    f"terms, each trains a policy by {GENERATIONS} x {POPULATION} episodes",
    measure="the best true return so far (0 is the highest)",
    run=run,
    seeds=10,
)
