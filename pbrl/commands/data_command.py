"""`pbrl data`."""

from __future__ import annotations

from typing import Any


def describe_counts(meta: dict[str, Any]) -> str:
    """One line."""
    c = meta["counts"]
    parts = [f"{c['episodes']} episodes of {c['steps']} steps"]
    parts.append(f"segments for {_by_split(c['segments'])}")
    parts += [f"comparisons by {label} for {_by_split(n)}" for label, n in c["comparisons"].items()]
    return ", ".join(parts)


def _by_split(numbers: dict[str, int]) -> str:
    return " / ".join(f"{n} {split}" for split, n in numbers.items())
