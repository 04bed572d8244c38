"""Costs with a tail: the exact policy of least CVaR, on states that carry the cost so far ("stock")."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pbrl.tabular.beds import Bed, Measured

LAYERS, WIDTH, MOVES = 5, 4, 3  # of a random world
TAILS = (0.05, 0.1, 0.25)


class World(NamedTuple):
    """Each move costs `usual`, or `rare` with a probability; costs are whole numbers, so that no stock is rounded."""

    next_state: np.ndarray  # (S, A)
    usual: np.ndarray  # (S, A) int
    rare: np.ndarray  # (S, A) int
    chance: np.ndarray  # (S, A)
    horizon: int
    start: int = 0

    @property
    def most(self) -> int:
        """The highest cost that an episode can have."""
        return self.horizon * int(np.maximum(self.usual, self.rare).max())


def random_world(rng: np.random.Generator) -> World:
    """Layers from each of which every move leads to a random state of the next."""
    states = LAYERS * WIDTH + 1
    next_state = np.full((states, MOVES), states - 1)
    for layer in range(LAYERS - 1):
        rows = slice(layer * WIDTH, (layer + 1) * WIDTH)
        next_state[rows] = (layer + 1) * WIDTH + rng.integers(WIDTH, size=(WIDTH, MOVES))
    chance = rng.choice([0.0, 0.05, 0.1, 0.2, 0.4], (states, MOVES))
    tail = rng.integers(2, 13, (states, MOVES))
    usual = 1 + np.maximum(4 - np.round(chance * tail * 2), 0).astype(int) + rng.integers(2, size=chance.shape)
    usual[-1], tail[-1], chance[-1] = 0, 0, 0
    return World(next_state, usual, usual + tail, chance, LAYERS)


def least_excess(world: World, b: int) -> tuple[float, np.ndarray]:
    """The least E[(C - b)+] over all policies, and the moves (H, S, C) that reach it, by backward induction.

    V_h(s, c) = min_a E[V_{h+1}(s', c + cost)],   V_H(s, c) = (c - b)+;   of equal moves the one of smaller mean cost.
    """
    stock = np.arange(world.most + 1)
    values = np.broadcast_to(np.maximum(stock - b, 0.0), (len(world.next_state), len(stock)))
    means = np.zeros_like(values)
    moves = np.empty((world.horizon, *values.shape), int)
    for h in reversed(range(world.horizon)):
        q, m = (_expected(world, v, own) for v, own in ((values, 0.0), (means, 1.0)))
        ties = q <= q.min(1, keepdims=True) + 1e-12
        moves[h] = np.where(ties, m, np.inf).argmin(1)
        values, means = (np.take_along_axis(x, moves[h][:, None], 1)[:, 0] for x in (q, m))
    return float(values[world.start, 0]), moves


def _expected(world: World, values: np.ndarray, own: float) -> np.ndarray:
    """Return the expectation (S, A, C) of what follows, values (S, C), and of `own` times the cost of the move."""
    stock, found = np.arange(world.most + 1), 0.0
    for cost, p in ((world.usual, 1 - world.chance), (world.rare, world.chance)):
        reached = np.minimum(stock + cost[..., None], world.most)
        found = found + p[..., None] * (values[world.next_state[..., None], reached] + own * cost[..., None])
    return np.asarray(found)


def least_cvar(world: World, tail: float) -> tuple[float, np.ndarray]:
    """Return min_b b + E[(C - b)+] / tail and its moves (H, S, C), planned for each b (Rockafellar & Uryasev)."""
    tried = [(b + excess / tail, moves) for b in range(world.most + 1) for excess, moves in [least_excess(world, b)]]
    return min(tried, key=lambda found: found[0])


def least_mean(world: World) -> np.ndarray:
    """Return the moves (H, S, C) of the least mean cost."""
    return least_excess(world, 0)[1]


def nested_cvar(world: World, tail: float) -> np.ndarray:
    """Return moves (H, S, C) that take the CVaR of each step's outcome, and not of the sum: no stock is needed."""
    values, moves = np.zeros(len(world.next_state)), []
    for _ in range(world.horizon):
        usual, rare = (cost + values[world.next_state] for cost in (world.usual, world.rare))
        worst = np.minimum(world.chance / tail, 1.0)
        q = worst * rare + (1 - worst) * usual
        moves.append(q.argmin(1))
        values = q.min(1)
    return np.repeat(np.stack(moves[::-1])[..., None], world.most + 1, 2)


def cost_distribution(world: World, moves: np.ndarray) -> np.ndarray:
    """Return the probability (C,) of each cost of an episode, forward from the start."""
    there = np.zeros((len(world.next_state), world.most + 1))
    there[world.start, 0] = 1
    for step in moves:
        after = np.zeros_like(there)
        s, c = np.nonzero(there)
        a = step[s, c]
        for cost, p in ((world.usual, 1 - world.chance), (world.rare, world.chance)):
            np.add.at(after, (world.next_state[s, a], c + cost[s, a]), p[s, a] * there[s, c])
        there = after
    return there.sum(0)


def cvar_of(distribution: np.ndarray, tail: float) -> float:
    """The mean of the worst share `tail` of costs (C,)."""
    worst, left, total = len(distribution) - 1, tail, 0.0
    while left > 1e-15 and worst >= 0:
        taken = min(left, float(distribution[worst]))
        total, left, worst = total + taken * worst, left - taken, worst - 1
    return total / tail


def run(seed: int) -> list[Measured]:
    world = random_world(np.random.default_rng(seed))
    costs, found = np.arange(world.most + 1), []
    for tail in TAILS:
        planned, moves = least_cvar(world, tail)
        arms = {"with stock": moves, "CVaR of each step": nested_cvar(world, tail), "least mean": least_mean(world)}
        spread = {arm: cost_distribution(world, own) for arm, own in arms.items()}
        case = f"CVaR of the worst {tail:.0%}"
        found += [Measured(case, arm, cvar_of(of, tail)) for arm, of in spread.items()]
        found.append(Measured(case, "with stock, as planned", planned))
        case = f"mean cost, planned for the worst {tail:.0%}"
        found += [Measured(case, arm, float(of @ costs)) for arm, of in spread.items()]
    return found


BED = Bed(
    claim="With the cost so far in the state, dynamic programming finds the policy of least CVaR; what it plans "
    "is what its policy has.",
    task=f"random worlds of {LAYERS} layers with {WIDTH} states and {MOVES} moves, whose costs are now and then large",
    measure="see the case; exact, over random worlds",
    run=run,
    seeds=20,
)
