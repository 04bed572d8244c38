"""Rewards that are a weighted sum of factors: what HERON does without, and is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pbrl.teachers.levels import sum_weights


def weighted_sum(levels: Sequence[Mapping[str, Any]] | None, weights: Mapping[str, float] | None) -> dict[str, float]:
    """The given weights of factors by name; without them 1 for each level's factor, -1 where lower is better."""
    return sum_weights(levels, weights, beta=1.0, where="method.reward")


def geometric_sum(levels: Sequence[Mapping[str, Any]] | None, beta: float) -> dict[str, float]:
    """+-beta^l for level l = 0, 1, ...: the heuristic of Bukharin et al. 2023, that importance falls geometrically."""
    if not 0 < beta <= 1:
        raise ValueError(f"beta is {beta}, expected a number in (0, 1]")
    return sum_weights(levels, None, beta, where="method.reward")
