"""Rewards that are a weighted sum of factors: what HERON does without, and is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pbrl.methods.method import Method, Run
from pbrl.teachers.levels import columns_of, sum_weights


class FactorReward(Method):
    """Gives the agent a weighted sum of the task's factors at each step; no labels.

    Args:
        levels: most important first, whose factors count +-beta^l at level l = 0, 1, ..., with the sign of `better`
            (Bukharin et al. 2023); None where `weights` are given.
        weights: None, or of each factor that counts, by name.
        beta: 1 counts all levels alike; below it importance falls geometrically.
    """

    accelerated = True
    agents = ("sac", "ppo")
    reads_labels = False

    def __init__(
        self, *, levels: Sequence[Mapping[str, Any]] | None, weights: Mapping[str, float] | None, beta: float
    ) -> None:
        if not 0 < beta <= 1:
            raise ValueError(f"beta={beta}: expected a number in (0, 1]")
        self.weights = sum_weights(levels, weights, beta)

    def begin(self, run: Run) -> None:
        super().begin(run)
        columns_of(list(self.weights), run.factor_names, "weights")

    def given(self, reward: float, factors: Mapping[str, float]) -> float:
        return sum(weight * factors[name] for name, weight in self.weights.items())
