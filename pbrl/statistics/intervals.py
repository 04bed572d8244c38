"""Intervals of shares."""

from __future__ import annotations


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927); of nothing, all from 0 to 1."""
    from scipy.stats import binomtest  # takes long to import

    if n == 0:
        return 0.0, 1.0
    low, high = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(low), float(high)
