"""The figures of episodes and of the method, from one row of progress.csv to the next."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pbrl.types import Episode

ROLLOUT_WINDOW = 100  # episodes averaged in rollout/*, as in SB3


class Figures:
    """The figures that a run measures until they are written down.

    average: a row holds the mean of what the method measured since the last one; else what it measured last.
    """

    def __init__(self, *, average: bool) -> None:
        self.average = average
        self.recent: deque[dict[str, float]] = deque(maxlen=ROLLOUT_WINDOW)  # of episodes
        self.measured: dict[str, list[float]] = defaultdict(list)  # by the method

    def note(self, finished: Sequence[Episode], learned_return: Callable[[Episode], float | None]) -> None:
        """Keep the figures of episodes. learned_return: None where no reward is learned yet."""
        for e in finished:
            row = {"ep_rew_mean": float(e.true_reward.sum()), "ep_len_mean": float(len(e))}
            if e.success is not None:
                row["success_rate"] = e.success
            if (learned := learned_return(e)) is not None:
                row["ep_learned_rew_mean"] = learned
            self.recent.append(row)

    def add(self, metrics: Mapping[str, float]) -> None:
        """Keep what a step of the method measured."""
        for name, value in metrics.items():
            self.measured[name].append(value)

    def of_episodes(self) -> dict[str, float]:
        """Return rollout/*, the means over recent episodes."""
        found = {}
        for name in ("ep_rew_mean", "ep_len_mean", "success_rate", "ep_learned_rew_mean"):
            if values := [row[name] for row in self.recent if name in row]:
                found[f"rollout/{name}"] = float(np.mean(values))
        return found

    def take(self) -> dict[str, float]:
        """Return what the method measured since this was asked last, and forget it."""
        found = {name: _mean(values, name) if self.average else values[-1] for name, values in self.measured.items()}
        self.measured.clear()
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"recent": list(self.recent), "measured": dict(self.measured)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.recent = deque(state["recent"], maxlen=ROLLOUT_WINDOW)
        self.measured = defaultdict(list, state["measured"])


def _mean(values: list[float], name: str) -> float:
    """Average an accuracy over the batches that have one: over ties alone it is none."""
    known = [v for v in values if not math.isnan(v)] if name.endswith("accuracy") else values
    return sum(known) / len(known) if known else math.nan
