"""The bound by which a policy may be called safe."""

from __future__ import annotations

from scipy.stats import beta


def unsafe_bound(unsafe: int, n: int, confidence: float) -> float:
    """Return the largest share of unsafe cases that `unsafe` of n independent ones allow (Clopper & Pearson 1934).

    Whatever the true share is, the bound is below it with a probability of at most 1 - confidence: who calls safe
    what has a bound of at most `limit` does so with that probability at most where the true share is above `limit`.
    """
    if not 0 <= unsafe <= n:
        raise ValueError(f"unsafe={unsafe}: expected 0 to n={n}")
    return 1.0 if unsafe == n else float(beta.ppf(confidence, unsafe + 1, n - unsafe))


def fewest_cases(limit: float, confidence: float) -> int:
    """Return how many cases, none of them unsafe, have a bound of at most `limit`."""
    n = 1
    while unsafe_bound(0, n, confidence) > limit:
        n += 1
    return n
