"""The teacher that HERON is compared with: it judges by one weighted sum of the factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pbrl.teachers.factor_values import segment_values
from pbrl.teachers.levels import columns_of, sum_weights
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Segments


class FactorSumTeacher(Teacher):
    """Prefers the segment of the larger weighted sum of factors ("RLHF" in Bukharin et al. 2023); equal sums are a tie.

    Args:
        levels: as those of `HierarchyTeacher`; without `weights` each factor counts 1, or -1 where lower is better.
        weights: None, or of each factor that counts, by name; negative where less is better.
        rng: not used, as nothing here is drawn.
    """

    reads = "factors"

    def __init__(
        self,
        *,
        levels: Sequence[Mapping[str, Any]] | None,
        weights: Mapping[str, float] | None,
        rng: torch.Generator,
    ) -> None:
        self.weights = sum_weights(levels, weights, beta=1.0)
        self.columns: list[int] = []

    def use_factors(self, names: Sequence[str]) -> None:
        """Take the names of the columns of Segments.factors."""
        self.columns = columns_of(list(self.weights), names, "weights")

    def answer(self, left: Segments, right: Segments) -> Answers:
        gain = self._sum(right) - self._sum(left)
        return Answers((0.5 + 0.5 * gain.sign()).float(), torch.ones(len(left), dtype=torch.bool))

    def _sum(self, segments: Segments) -> torch.Tensor:
        if segments.factors is None:
            raise ValueError("teacher=factor_sum was given segments without factors")
        parts = [
            weight * segment_values(segments.factors[..., column], segments.mask, "mean")
            for weight, column in zip(self.weights.values(), self.columns, strict=True)
        ]
        return torch.stack(parts).sum(0)
