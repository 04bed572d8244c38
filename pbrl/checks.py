"""Checks of the numbers of constructors: `name=value: expected ...`, to which a builder adds the key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pbrl.errors import choices

WIDEST = 65_536  # units of a layer


def required(**values: Any) -> None:
    """Refuse None: no value may be missing."""
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{name}=None: this method needs it")


def whole(least: int, **values: int | None) -> None:
    """Refuse what is not a whole number of at least `least`."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value}: expected a whole number of at least {least}")


def share(most: float = 1.0, **values: float) -> None:
    """Refuse what is not a number from 0 to `most`."""
    between(0, most, **values)


def between(least: float, most: float, **values: float) -> None:
    """Refuse what is not a number from `least` to `most`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError(f"{name}={value}: expected a number from {least:g} to {most:g}")


def positive(**values: float) -> None:
    """Refuse what is not a finite number above 0."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: expected a number above 0")


def finite(count: int, of: str, **values: Sequence[float]) -> None:
    """Refuse what is not `count` finite numbers; `of` says what of."""
    for name, value in values.items():
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        known = listed and all(type(n) in (int, float) and math.isfinite(n) for n in value)
        if not known or len(value) != count:
            raise ValueError(f"{name}={list(value) if listed else value}: expected {count} numbers, of {of}")


def finite_number(**values: float) -> None:
    """Refuse numbers that are infinite or NaN."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{name}={value}: expected a finite number")


def one_of(valid: Sequence[str], **values: Any) -> None:
    """Refuse what is not among `valid`."""
    for name, value in values.items():
        if value not in valid:
            raise ValueError(f"{name}={value}: {choices(value, valid)}")


def lengths(most: int | None = None, **values: Sequence[int]) -> None:
    """Refuse what is not [shortest, longest] in steps, none of more than `most`."""
    for name, value in values.items():
        known = isinstance(value, Sequence) and len(value) == 2 and all(type(n) is int for n in value)
        if not known or not 1 <= value[0] <= value[1] <= (value[1] if most is None else most):
            limit = "" if most is None else f" <= {most}"
            told = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            raise ValueError(f"{name}={told}: expected [shortest, longest] with 1 <= shortest <= longest{limit}")


def layers(**values: Sequence[int]) -> None:
    """Refuse what is not widths of hidden layers."""
    for name, widths in values.items():
        for width in widths:
            if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= WIDEST:
                raise ValueError(f"{name}={list(widths)}: expected whole numbers from 1 to {WIDEST}")
