"""Several objectives, which are factors of the task: what is stored of each step, and the front that is reached."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import finite, whole
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.methods.method import Method, Metrics, Run
from pbrl.statistics.fronts import expected_utility, hypervolume, on_front, simplex, sparsity
from pbrl.teachers.levels import columns_of, read_weights, sum_weights
from pbrl.training.evaluate import factor_column

UTILITY_PARTS = {2: 100}  # of expected utility, weights every 0.01; more objectives: every 0.1
TABLE, POLICIES = "front.csv", "policy.safetensors"


class VectorReward(Method):
    """The base of methods of several objectives: a step is stored with all of them, and rewarded by their weights.

    Args:
        objectives: of factors, {FACTOR: WEIGHT}; its unit, and its sign where lower is better. None: those of `levels`.
        levels: as for HERON, of which the factors and signs are taken; None: all factors, higher is better.
        parts: of the grid of weights, which are whole numbers of 1/parts.
        reference: of the hypervolume, one number for each objective; None: the worst that was reached.
    """

    agents = ("sac",)
    reads_labels = False
    when = "stored"
    returns: list[list[float]]  # of each policy on the front, (J,)

    def __init__(
        self,
        *,
        objectives: Mapping[str, float] | None,
        levels: Sequence[Mapping[str, Any]] | None,
        parts: int,
        reference: Sequence[float] | None,
    ) -> None:
        whole(1, parts=parts)
        self._objectives = None if objectives is None else read_weights("objectives", objectives)
        if self._objectives is None and levels is not None:
            self._objectives = sum_weights(levels, None, 1.0)
        self.parts, self.reference = parts, reference

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.read_units(run.factor_names)

    def read_units(self, factor_names: Sequence[str]) -> None:
        """Find the objectives among the factors of the task. UserError where they are not there, or too few."""
        self._units = self._objectives or dict.fromkeys(factor_names, 1.0)
        columns_of(list(self._units), factor_names, "objectives")
        if (count := len(self._units)) < 2:
            raise UserError(f"objectives: {', '.join(self._units) or 'none'}; expected at least 2 of {factor_names}")
        if zero := [name for name, unit in self._units.items() if unit == 0]:
            raise UserError(f"objectives.{zero[0]}=0: expected another number, or leave it out")
        if self.reference is not None:
            finite(count, ", ".join(self._units), reference=self.reference)
        hypervolume(np.ones((1, count)), np.zeros(count))  # what it needs is missing now, not in an hour

    @property
    def measures(self) -> int:  # type: ignore[override]
        return len(self._units)

    def measure(self, reward: float, factors: Mapping[str, float]) -> Sequence[float]:
        return [unit * factors[name] for name, unit in self._units.items()]

    def returns_of(self, row: Mapping[str, Any]) -> list[float]:
        """Return mean returns (J,) of an evaluation, a row of evaluations.csv."""
        means = [unit * float(row[factor_column(name)] or 0) for name, unit in self._units.items()]
        return (np.array(means) * float(row["episode_length"] or 0)).tolist()

    def metrics(self) -> Metrics:
        if not self.returns:
            return {}
        points = np.array(self.returns)
        weights = simplex(self.measures, UTILITY_PARTS.get(self.measures, 10))
        return {
            "front/policies": len(points),
            "front/points": int(on_front(points).sum()),
            "front/hypervolume": hypervolume(points, self._reference(points)),
            "front/sparsity": sparsity(points),
            "front/expected_utility": expected_utility(points, weights),
        }

    def _reference(self, points: np.ndarray) -> np.ndarray:
        return points.min(0) if self.reference is None else np.array(self.reference, float)

    def facts(self) -> dict[str, Any]:
        points = np.array(self.returns).reshape(-1, self.measures)
        reference = self._reference(points).tolist() if len(points) else None
        found = {name.removeprefix("front/"): value for name, value in self.metrics().items()}
        return {"front": {"objectives": self._units, "reference": reference, **found}}

    def write_front(self, folder: Path, said: Iterable[str]) -> None:
        """Write front.csv: what each policy was trained for, in words, and reaches."""
        with replacing(folder / TABLE) as partial_file, partial_file.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["policy", "trained_for", *self._units, "on_front"])
            on = on_front(np.array(self.returns))
            for i, (words, returns) in enumerate(zip(said, self.returns, strict=True)):
                writer.writerow([i, words, *(f"{value:.6g}" for value in returns), int(on[i])])


def checked_weights(weights: Any, count: int) -> list[float]:
    """Return what weights= gives, for `count` objectives. UserError where it is none."""
    given = list(weights) if np.iterable(weights) else [weights]
    if len(given) != count:
        raise UserError(f"weights= has {len(given)} numbers; expected {count}, one for each objective of the run")
    if not all(isinstance(w, Real) and math.isfinite(w) for w in given) or not any(given):
        raise UserError(f"weights={given}: expected finite numbers, of which one is not 0")
    return given


def weighted(tags: Tensor, weights: np.ndarray | Tensor) -> Tensor:
    """Return rewards (M,) of objectives (M, J) under weights (J,) of all steps, or (M, J) of each."""
    return (tags * torch.as_tensor(weights, dtype=tags.dtype)).sum(1)


def in_words(returns: Iterable[float]) -> str:
    """Return numbers with commas between them."""
    return ", ".join(f"{value:.4g}" for value in returns)
