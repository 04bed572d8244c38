"""The verdict of runs on fresh seeds about tuned settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from pbrl.bench.tune import Confirming, Plan
from pbrl.statistics.runs import LEVEL, t_interval


def describe_confirmation(plan: Plan, found: Confirming) -> list[str]:
    """Describe in lines: both means with intervals, and their difference."""
    lines = []
    for number, scores in found.scores.items():
        what = f"trial {number}" if number else "the defaults"
        lines.append(f"{what} on fresh seeds: {plan.objective} {_with_interval(list(scores.values()))}")
    default, best = (list(scores.values()) for scores in found.scores.values())
    difference = difference_interval(best, default)
    if difference is not None:
        low, high = difference
        verdict = "they differ" if low > 0 or high < 0 else "which is better is not resolved"
        lines.append(f"difference {np.mean(best) - np.mean(default):.4g} [{low:.4g}, {high:.4g}]: {verdict}")
    elif best and default:
        lines.append("difference: no interval, since it takes two seeds of each and some spread among them")
    lines.append("[...]: 95 % t-intervals of a mean over seeds (Welch's for the difference)")
    return lines + [f"failed: {text}" for text in found.failed]


def difference_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """Return Welch's interval of mean(a) - mean(b), the spreads of which may differ.

    None for fewer than two values of either, and where neither has any spread.
    """
    if len(a) < 2 or len(b) < 2 or np.ptp(a) == np.ptp(b) == 0:
        return None
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(LEVEL)
    return float(interval.low), float(interval.high)


def _with_interval(values: Sequence[float]) -> str:
    if not values:
        return "unknown, no run finished"
    interval = t_interval(np.array(values))  # of five runs it is wide and honest; a bootstrap would be too narrow
    shown = "" if interval is None else f" [{interval.low:.4g}, {interval.high:.4g}]"
    return f"{np.mean(values):.4g}{shown}, n = {len(values)}"
