"""Checked values of a command line."""

from __future__ import annotations

import math
from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError
from pbrl.files import no_folder

MOST_DIGITS = 18  # which 64 bits hold, as torch's seeds do


def whole_number(parsed: Arguments, key: str, default: int, low: int) -> int:
    text = parsed.values.get(key, str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS or int(text) < low:
        raise UserError(f"{key}={text[:40]}: expected a whole number of at least {low}")
    return int(text)


def yes_or_no(parsed: Arguments, key: str, default: bool) -> bool:
    text = parsed.values.get(key, str(default)).lower()
    if text not in ("true", "false"):
        raise UserError(f"{key}={parsed.values[key]}: expected true or false")
    return text == "true"


def run_folder(words: list[str], usage: str) -> Path:
    """Read the one word that is left: a run directory, which has a config."""
    if len(words) != 1:
        given = f"{len(words)} given: {' '.join(words)}" if words else "none given"
        raise UserError(f"expected one run directory, {given}; {usage}")
    path = Path(words[0])
    if not path.is_dir():
        raise UserError(f"{path} is not a run directory: {no_folder(path)}")
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run directory: it has no config.yaml")
    return path


def new_file(parsed: Arguments, key: str, default: Path) -> Path:
    """Choose the file to write: the one that was asked for, if it is free, else the default with a free number."""
    text = parsed.values.get(key)
    if text is None:
        return free_name(default)
    path = Path(text)
    if path.exists() or path.is_symlink():
        raise UserError(f"{key}={text} exists and is not overwritten; choose another")
    if not path.parent.is_dir():
        raise UserError(f"{key}={text}: there is no folder {path.parent}")
    return path


def free_name(path: Path) -> Path:
    """Return policy.mp4, else policy_2.mp4, policy_3.mp4, ..."""
    number, free = 1, path
    while free.exists() or free.is_symlink():
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    return free


def number(parsed: Arguments, key: str, default: float, low: float, high: float) -> float:
    return _number(key, parsed.values.get(key, str(default)), low, high)


def numbers(parsed: Arguments, key: str, default: str, low: float, high: float) -> list[float]:
    """Numbers with commas between them, in brackets or not."""
    given = parsed.values.get(key, default)
    listed = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    return [_number(key, text, low, high) for text in listed.split(",")]


def required(parsed: Arguments, key: str, what: str) -> str:
    if not (text := parsed.values.get(key)):
        raise UserError(f"{key}= is missing: {what}")
    return text


def _number(key: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise UserError(f"{key}={text}: expected a number from {low:g} to {high:g}")
    return value
