"""Random grid worlds with the delivery rules, drawn as in Knox et al. (2024) and their released code."""

from __future__ import annotations

import numpy as np

from pbrl.tabular.grid_world import Cell, GridWorld, delivery_world

HEIGHTS = (3, 6, 10, 15)
WIDTHS = (5, 6, 10)
SHEEP_SHARES = (0.0, 0.1, 0.3)  # of all cells
BAD_SHARES = (0.0, 0.1, 0.5, 0.8)  # mildly bad: road blocks
GOOD_SHARES = (0.0, 0.1, 0.2)  # mildly good: coins
GAS = -1.0
GOAL_REWARDS = (0.0, 1.0, 5.0, 10.0, 50.0)
SHEEP_REWARDS = (-5.0, -10.0, -50.0, -100.0)
GOOD_REWARD = 1.0
BAD_REWARDS = (-2.0, -5.0, -10.0)
MUD_REWARDS = (-1.0, -2.0, -3.0)  # of brick, which no random world has: a feature that no label tells about
REWARD_CHOICES = (50.0, -50.0, 1.0, -1.0, -2.0, 0.0, -10.0, 10.0, 5.0)  # for the policy library


def random_world(seed: int | np.random.SeedSequence | np.random.Generator, name: str = "random") -> GridWorld:
    """One random world: its size, what stands where, and the weights; the same seed gives the same world."""
    rng = np.random.default_rng(seed)
    height, width = int(rng.choice(HEIGHTS)), int(rng.choice(WIDTHS))
    size = height * width
    sheep = rng.choice(SHEEP_SHARES)
    bad = rng.choice([share for share in BAD_SHARES if sheep + share < 1])
    good = rng.choice([share for share in GOOD_SHARES if sheep + bad + share < 1])
    codes = np.full(size, Cell.ROAD.value)
    places, used = rng.permutation(size), 0
    for share, cell in ((sheep, Cell.SHEEP), (bad, Cell.ROAD_BLOCK), (good, Cell.COIN)):
        count = int(share * size)
        codes[places[used : used + count]] = cell
        used += count
    codes[rng.integers(size)] = Cell.GOAL  # wherever it falls: it replaces what stood there
    weights = (
        GAS,
        rng.choice(GOAL_REWARDS),
        rng.choice(SHEEP_REWARDS),
        GOOD_REWARD,
        rng.choice(BAD_REWARDS),
        rng.choice(MUD_REWARDS),
    )
    return delivery_world(codes.reshape(height, width), weights, name, REWARD_CHOICES)
