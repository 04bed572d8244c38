"""Statistics of answers, each a function of the rows of a label store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, groupby, pairwise
from typing import Any

import numpy as np

from pbrl.labels.views import Check, GivenAnswer, View
from pbrl.statistics.agreement import cohen_kappa, krippendorff_alpha
from pbrl.statistics.intervals import wilson_interval

FAST_S = 0.5  # nobody watches two clips in less
PAUSE_S = 60.0  # a longer gap between answers is not labelling
BINS_S = (60, 600, 3600, 21600, 86400)  # a minute to a day, each a multiple of the one before
MOST_BINS = 60
PACE_POINTS = 20
OPINIONS = ("left", "right", "equal", "incomparable")  # choices that say something about the pair


def proportion(hits: Iterable[bool]) -> dict[str, Any] | None:
    """Return the share of hits with its interval; None where there is nothing to count."""
    found = list(hits)
    if not found:
        return None
    low, high = wilson_interval(sum(found), len(found))
    return {"count": sum(found), "of": len(found), "share": sum(found) / len(found), "low": low, "high": high}


def quantiles(values: Iterable[float | None]) -> dict[str, float] | None:
    """Summarise the values that are known; None if there are none."""
    known = np.array([value for value in values if value is not None])
    if len(known) == 0:
        return None
    low, middle, high = np.quantile(known, [0.1, 0.5, 0.9]).tolist()
    return {"n": len(known), "p10": low, "median": middle, "p90": high, "total": float(known.sum())}


def choice_of(answer: GivenAnswer, views: Mapping[int, View]) -> str:
    """A choice between segments. A soft label counts for the side it leans to; no label and no view is a skip."""
    if view := views.get(answer.id):
        return view.choice
    value = answer.prefers_right
    return "skip" if value is None else "equal" if value == 0.5 else "right" if value > 0.5 else "left"


def screen_left(standing: Iterable[GivenAnswer], views: Mapping[int, View]) -> dict[str, Any] | None:
    """Return how often the segment on the left of the screen was preferred, of the decisive answers that came from one.

    Sides are drawn at random, so that 0.5 is expected of whoever looks at the clips.
    """
    decided = [view for a in standing if (view := views.get(a.id)) and view.choice in ("left", "right")]
    return proportion((view.choice == "right") == view.swapped for view in decided)


def self_consistency(
    given: Sequence[GivenAnswer], views: Mapping[int, View], checks: Iterable[Check]
) -> dict[str, Any] | None:
    """Return how often a pair shown again was answered alike, by the answer that the same person had given before.

    Later changes of mind do not count: they were made with the second showing in mind. Neither do skips.
    """
    earlier: dict[tuple[int, str], list[GivenAnswer]] = {}
    for answer in given:
        earlier.setdefault((answer.query, answer.annotator), []).append(answer)
    alike = []
    for check in checks:
        before = [a for a in earlier.get((check.query, check.annotator), []) if a.created_at <= check.created_at]
        first = choice_of(before[-1], views) if before else "skip"
        if first in OPINIONS and check.choice in OPINIONS:
            alike.append(first == check.choice)
    return proportion(alike)


def second_thoughts(given: Sequence[GivenAnswer]) -> dict[str, int]:
    """Count answers that were `retracted`: `undone` ones have nothing in their place, `changed` ones another answer."""
    counts = {"retracted": 0, "undone": 0, "changed": 0}
    ordered = sorted(given, key=lambda a: (a.query, a.annotator, a.id))
    for _, group in groupby(ordered, key=lambda a: (a.query, a.annotator)):
        row = list(group)
        for answer, following in zip(row, [*row[1:], None], strict=True):
            counts["retracted"] += answer.retracted_at is not None
            counts["undone"] += answer.retracted_at is not None and following is None
            counts["changed"] += following is not None and following.prefers_right != answer.prefers_right
    return counts


def labels_per_minute(given: Iterable[GivenAnswer], checks: Iterable[Check]) -> dict[str, float] | None:
    """Standing answers of people per minute of labelling; a gap of over PAUSE_S before an answer does not count.

    Time spent on answers that were taken back and on repetitions does. None without two answers in a row.
    """
    events = [(a.annotator, a.created_at, a.retracted_at is None) for a in given if a.kind == "human"]
    events += [(c.annotator, c.created_at, False) for c in checks]
    labels, seconds = 0, 0.0
    for _, group in groupby(sorted(events), key=lambda event: event[0]):
        row = list(group)
        for (_, before, _), (_, now, counts) in pairwise(row):
            if now - before <= PAUSE_S:
                labels, seconds = labels + counts, seconds + now - before
    return {"labels": labels, "minutes": seconds / 60, "rate": 60 * labels / seconds} if seconds > 0 else None


def over_time(standing: Sequence[GivenAnswer]) -> dict[str, Any] | None:
    """Answers in bins of a minute to a day, whichever gives at most MOST_BINS; bins without an answer are left out."""
    if not standing:
        return None
    times = [a.created_at for a in standing]
    width = next((b for b in BINS_S if max(times) - min(times) <= MOST_BINS * b), BINS_S[-1])
    by_bin: dict[int, Counter[str]] = {}
    for a in standing:
        by_bin.setdefault(int(a.created_at // width) * width, Counter())[a.annotator] += 1
    bins, total = [], 0
    for start, labels in sorted(by_bin.items()):
        total += labels.total()
        bins.append({"time": start, "answers": dict(labels), "cumulative": total})
    return {"bin_s": width, "bins": bins}


def pace(standing: Iterable[GivenAnswer]) -> list[dict[str, float]]:
    """Response times from the first answer to the last, in at most PACE_POINTS stretches of equal length."""
    times = [a.response_s for a in sorted(standing, key=lambda a: a.created_at) if a.response_s is not None]
    stretches = np.array_split(np.arange(len(times)), min(PACE_POINTS, max(len(times) // 5, 1))) if times else []
    return [
        {"up_to": int(rows[-1]) + 1, **{k: v for k, v in found.items() if k in ("p10", "median", "p90")}}
        for rows in stretches
        if (found := quantiles(times[i] for i in rows))
    ]


def agreement_with_others(standing: Sequence[GivenAnswer], name: str) -> dict[str, Any] | None:
    """Return how often this person and another one said the same (left, equal or right) of a pair that both answered.

    Each pair counts as often as there are others who answered it.
    """
    others: dict[int, list[float]] = {}
    for a in standing:
        if a.annotator != name and a.prefers_right is not None:
            others.setdefault(a.query, []).append(a.prefers_right)
    mine = [(a.query, a.prefers_right) for a in standing if a.annotator == name and a.prefers_right is not None]
    return proportion(bool(np.sign(p - 0.5) == np.sign(q - 0.5)) for query, p in mine for q in others.get(query, []))


def agreement(standing: Sequence[GivenAnswer], rng: np.random.Generator) -> dict[str, Any] | None:
    """Measure agreement on queries that several answered left, equal or right; None with fewer than two people.

    alpha: of everyone. pairs: Cohen's kappa of every two who share a query, plain and with linear weights.
    """
    people = list(dict.fromkeys(a.annotator for a in sorted(standing, key=lambda a: a.id)))
    queries = {query: place for place, query in enumerate(dict.fromkeys(a.query for a in standing))}
    if len(people) < 2:
        return None
    ratings = np.full((len(people), len(queries)), np.nan)
    for a in standing:
        if a.prefers_right is not None:
            ratings[people.index(a.annotator), queries[a.query]] = 0.5 + 0.5 * np.sign(a.prefers_right - 0.5)
    return {
        "alpha": {
            metric: krippendorff_alpha(ratings, metric=metric, rng=rng)._asdict() for metric in ("nominal", "ordinal")
        },
        "pairs": [
            _pair(people[i], people[j], ratings[[i, j]], rng)
            for i, j in combinations(range(len(people)), 2)
            if not np.isnan(ratings[[i, j]]).any(0).all()
        ],
    }


def _pair(first: str, second: str, ratings: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    shared = ratings[:, ~np.isnan(ratings).any(0)]
    return {
        "annotators": [first, second],
        "same": proportion((shared[0] == shared[1]).tolist()),
        "kappa": cohen_kappa(*shared, weights="nominal", rng=rng)._asdict(),
        "linear_kappa": cohen_kappa(*shared, weights="linear", rng=rng)._asdict(),
    }
