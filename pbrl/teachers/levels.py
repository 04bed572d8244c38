"""Factors in order of importance: the levels that HERON's teacher and what it is compared with read alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pbrl.errors import UserError, choices
from pbrl.teachers.factor_values import OVER

BETTER = {"higher": 1.0, "lower": -1.0}
UNITS = ("std", "absolute")


class Level(NamedTuple):
    factor: str
    better: str  # higher or lower
    margin: float  # a smaller difference decides nothing; .inf skips the level
    unit: str = "std"  # of the margin: times the factor's standard deviation over segments, or the factor's own
    over: str = "mean"  # how steps make the value of a segment: mean, max or last

    @property
    def sign(self) -> float:
        return BETTER[self.better]


def read_levels(given: Sequence[Mapping[str, Any]] | None) -> list[Level]:
    """Read what a config gives as levels, most important first. UserError where there are none, or one is wrong."""
    if not given:
        example = "'[{factor: NAME, better: higher, margin: 0.5}, ...]'"
        raise UserError(f"levels: this env has no levels of its own; give them, most important first, as {example}")
    return [_level(f"levels[{i}]", level) for i, level in enumerate(given)]


def columns_of(factors: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    """Return where these factors stand among those of the environment, `names`. UserError: one is not there."""
    for factor in factors:
        if factor not in names:
            there = ", ".join(names) or "none; see env.make.factors"
            raise UserError(f"{where}: factor {factor} is not there; this env has {there}")
    return [list(names).index(factor) for factor in factors]


def sum_weights(
    levels: Sequence[Mapping[str, Any]] | None, weights: Mapping[str, float] | None, beta: float
) -> dict[str, float]:
    """Return the weight of each factor in a sum: as given, else +-beta^l at level l = 0, 1, ..., signed as `better`.

    Levels that are skipped do not count, and of a factor with several levels the first one does.
    """
    if weights is not None:
        return read_weights("weights", weights)
    asked = [level for level in read_levels(levels) if level.margin < math.inf]
    first = {level.factor: level for level in reversed(asked)}
    ranked = [level for level in asked if first[level.factor] is level]
    return {level.factor: level.sign * beta**i for i, level in enumerate(ranked)}


def read_weights(key: str, given: Any) -> dict[str, float]:
    """Read what a config gives as weights of factors, by name. UserError, which names the key, where they are none."""
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"{key}={given}: expected {{FACTOR: WEIGHT, ...}}")
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise UserError(f"{key}.{name}={weight}: expected a finite number")
    return {str(name): float(weight) for name, weight in given.items()}


def _level(where: str, given: Mapping[str, Any]) -> Level:
    keys = Level._fields
    if not isinstance(given, Mapping) or not set(keys[:3]) <= set(given) or set(given) - set(keys):
        raise UserError(f"{where}={given}: expected {', '.join(keys[:3])}, and if need be {' and '.join(keys[3:])}")
    level = Level(**given)
    for key, valid in (("better", tuple(BETTER)), ("unit", UNITS), ("over", OVER)):
        if (value := getattr(level, key)) not in valid:
            raise UserError(f"{where}.{key}={value}: {choices(value, valid)}")
    if isinstance(level.margin, bool) or not isinstance(level.margin, (int, float)) or not level.margin >= 0:
        raise UserError(f"{where}.margin={level.margin}: expected a number of at least 0, or .inf to skip the level")
    return level
