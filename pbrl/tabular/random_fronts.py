"""C-MORL on random worlds with two objectives, every policy the exact solution of a linear program."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from pbrl.rewards.objectives import floors
from pbrl.statistics.fronts import expected_utility, hypervolume, simplex
from pbrl.tabular.beds import Bed, Measured

STATES, ACTIONS, SUCCESSORS, GAMMA = 30, 4, 3, 0.95
WEIGHTS, DENSE = 6, 41  # weighted sums of the first stage, and of the front that all is measured by
SLACK = 0.1  # share of an objective's spread, or of its return, that a point may lose to gain in another


class World(NamedTuple):
    flow: np.ndarray  # (S, S A) what occupancies obey: flow x = the start
    rewards: np.ndarray  # (S A, 2)


def make_world(rng: np.random.Generator) -> World:
    moves = np.zeros((STATES, ACTIONS, STATES))
    for state in range(STATES):
        for action in range(ACTIONS):
            there = rng.choice(STATES, SUCCESSORS, replace=False)
            moves[state, action, there] = rng.dirichlet(np.ones(SUCCESSORS))
    leaving = np.repeat(np.eye(STATES), ACTIONS, 1)
    flow = leaving - GAMMA * moves.reshape(-1, STATES).T
    return World(flow, rng.random((STATES * ACTIONS, 2)) ** 3)


def solve(world: World, weights: np.ndarray, least: np.ndarray | None = None) -> np.ndarray:
    """Return the returns (2,) of the best weighted sum among policies with at least so much of each objective."""
    limits = {} if least is None else {"A_ub": -world.rewards.T, "b_ub": -least}
    start = np.full(STATES, 1 / STATES)
    found = linprog(-(world.rewards @ weights), A_eq=world.flow, b_eq=start, method="highs", **limits)
    returns: np.ndarray = world.rewards.T @ found.x
    return returns


def weighted(world: World, count: int) -> np.ndarray:
    """Return the returns (count, 2) of the best policies for so many weights."""
    return np.array([solve(world, weights) for weights in simplex(2, count - 1)])


def constrained(world: World, points: np.ndarray, of_return: bool = False) -> np.ndarray:
    """Return returns (n 2, 2): from each point on, each objective as high as it goes while the others lose little.

    of_return: as in the paper, a share of the return that the point has, which is positive here; else of the spread.
    """
    spread = np.ptp(points, axis=0)
    most = points.max(0).sum() + 1  # no return is below minus that: rewards are not negative
    asked = [(point, objective) for point in points for objective in range(2)]
    units = [p if of_return else spread for p, _ in asked]
    least = [floors(p, unit, SLACK, k, -most) for (p, k), unit in zip(asked, units, strict=True)]
    return np.array([solve(world, np.eye(2)[k], low) for (_, k), low in zip(asked, least, strict=True)])


def run(seed: int) -> list[Measured]:
    world = make_world(np.random.default_rng(seed))
    first, dense = weighted(world, WEIGHTS), weighted(world, DENSE)
    wider, released = (np.concatenate([first, constrained(world, first, of)]) for of in (False, True))
    arms = {
        f"{WEIGHTS} weights": first,
        f"{len(wider)} weights": weighted(world, len(wider)),
        f"C-MORL: {WEIGHTS} weights, then {len(wider) - WEIGHTS} constrained": wider,
        "the same, floors at 0.9 of the return": released,
    }
    everything, zero = np.concatenate([dense, *arms.values()]), np.zeros(2)
    best, utility, alone = hypervolume(everything, zero), simplex(2, 100), hypervolume(dense, zero)
    most = expected_utility(everything, utility)
    found = []
    for arm, points in arms.items():
        found += [
            Measured("hypervolume", arm, hypervolume(points, zero) / best),
            Measured(f"hypervolume beside that of {DENSE} weights", arm, hypervolume(points, zero) / alone),
            Measured("expected utility", arm, expected_utility(points, utility) / most),
        ]
    return found


BED = Bed(
    claim="From the policies of a few weighted sums, raising one objective while the others lose little fills the gaps "
    "of the front, somewhat better than as many more weighted sums do; expected utility hardly sees it.",
    task=f"random worlds of {STATES} states and {ACTIONS} actions with two rewards, every policy an exact solution "
    f"of a linear program; slack {SLACK:g} of the spread",
    measure=f"share of what all found points together have, {DENSE} weighted sums among them; reference point (0, 0)",
    run=run,
    seeds=10,
)
