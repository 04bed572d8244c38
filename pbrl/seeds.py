"""Seeds that every environment, simulator and library takes."""

from __future__ import annotations

import numpy as np

SEEDS = 2**31  # many keep theirs in a signed integer of 32 bits


def small_seed(sequence: np.random.SeedSequence) -> int:
    """Return the seed below 2^31 that belongs to this sequence."""
    return int(sequence.generate_state(1)[0]) % SEEDS


def seed_streams(seed: int, n: int) -> list[int]:
    """Return n independent seeds from the one of a run."""
    return [small_seed(s) for s in np.random.SeedSequence(seed).spawn(n)]


def episode_seed(seed: int, episode: int) -> int:
    """Return a seed of its own for each episode of each base seed."""
    return small_seed(np.random.SeedSequence([seed, episode]))
