"""Options of an executor as the command line gives them: words that must be numbers, with what is valid in one line."""

from __future__ import annotations

import math
from collections.abc import Collection

from pbrl.errors import UserError


def check_names(executor: str, options: dict[str, str], valid: Collection[str]) -> None:
    if unknown := sorted(options.keys() - set(valid)):
        known = ", ".join(valid)
        raise UserError(f"unknown key {unknown[0]!r} for executor={executor}: valid {_be(valid)} {known}")


def whole(options: dict[str, str], name: str, default: int | None, least: int) -> int:
    """Read a whole number of at least `least`. default: None where it must be given."""
    if (text := options.get(name)) is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise UserError(f"{name}={text or ''}: expected a whole number of at least {least}")
    return int(text)


def number(options: dict[str, str], name: str, default: float, *, least: float = 0.0, above: bool = False) -> float:
    """Read a finite number of at least `least`, or above it."""
    text = options.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > least if above else value >= least) or math.isinf(value):
        raise UserError(f"{name}={text}: expected a number {'above' if above else 'of at least'} {least:g}")
    return value


def share(options: dict[str, str], name: str, default: float, *, above: bool = False) -> float:
    """Read how many of a resource a run takes: a share of one, or a whole number of them."""
    value = number(options, name, default, above=above)
    if value > 1 and value != int(value):
        raise UserError(f"{name}={options[name]}: expected a share of one, such as 0.25, or a whole number")
    return value


def _be(valid: Collection[str]) -> str:
    return "is" if len(valid) == 1 else "are"
