"""Worth of an episode by how often it wins (SPO, Swamy et al. 2024)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

NARROWEST = 0.05  # a spread that is taken for the spread of a queue whose episodes are all alike


def win_rates(beats: np.ndarray) -> np.ndarray:
    """Return the shares (n,) of the queue that each wins against, of `beats` (n, m): 1 wins, 0 loses, 0.5 a tie."""
    rates: np.ndarray = np.asarray(beats, float).mean(-1)
    return rates


def normalised(rates: np.ndarray, recent: Sequence[float]) -> np.ndarray:
    """Return win rates (n,) less 1/2, which is what a queue of the policy itself gives, over the spread of recent ones.

    Noise in the answers and a queue of similar episodes narrow the spread (0.29, 0.19 and 0.10 where 0, 20 and 40 % of
    the answers are flipped), and the learner would see a smaller reward for no reason of its own.
    """
    spread = max(float(np.std(recent)), NARROWEST) if len(recent) else 1.0
    return (np.asarray(rates, float) - 0.5) / spread


class Spread:
    """Normalises win rates by the spread of the last ones."""

    def __init__(self, rates: deque[float] | None = None) -> None:
        """rates: of the last episodes, which is added to; None: none yet, and the last 100 are remembered."""
        self.rates: deque[float] = deque(maxlen=100) if rates is None else rates

    def rewards(self, beats: np.ndarray) -> np.ndarray:
        """Return the rewards (n,) of what `beats` (n, m) says, and note the rates."""
        rates = win_rates(beats)
        self.rates.extend(rates.tolist())
        return normalised(rates, list(self.rates))
