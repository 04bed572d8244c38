"""Answers to other questions than pairs of segments, and the reasons that people gave for any answer."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pbrl.labels.rows import Query, StandingAnswer
from pbrl.labels.store import LabelStore
from pbrl.labels.views import find_places, find_tags
from pbrl.question_kinds import Choice, EpisodePair, Intervention, Outcome, Rating, SegmentPair, Triplet
from pbrl.questions import Value
from pbrl.reports.label_numbers import proportion, quantiles
from pbrl.statistics.agreement import krippendorff_alpha

Answered = Sequence[tuple[StandingAnswer, Query, tuple[int, ...] | None]]  # and where items stood on the screen
Summary = Callable[[Answered], dict[str, Any]]


def report_kinds(store: LabelStore) -> list[dict[str, Any]]:
    """Describe each kind, criterion and form that was asked, pairs of segments aside: how much, and what was said."""
    queries = {q.id: q for q in store.queries(kind=None, criterion=None) if q.form.kind != SegmentPair.kind}
    standing = [a for a in store.standing_answers(kind=None, criterion=None) if a.query in queries]
    places = find_places(store.db)
    found = []
    for form in sorted({query.form for query in queries.values()}):
        asked = [q.id for q in queries.values() if q.form == form]
        rows = [(a, queries[a.query], places.get(a.id)) for a in standing if queries[a.query].form == form]
        told = [row for row in rows if row[0].value is not None]
        people = Counter(a.annotator for a, *_ in rows)
        found.append(
            {
                "kind": form.kind,
                "criterion": form.criterion,
                "items": form.items,
                "details": form.details,
                "queries": len(asked),
                "unanswered": len(set(asked) - {a.query for a, *_ in rows}),
                "answers": len(rows),
                "skipped": len(rows) - len(told),
                "annotators": dict(people),
                "response_s": quantiles(a.response_s for a, *_ in rows),
                "said": SUMMARIES[form.kind](told) if told and form.kind in SUMMARIES else {},
                "agreement": _agreement(told, form.kind),
            }
        )
    return found


def report_tags(store: LabelStore) -> list[dict[str, Any]]:
    """Return how often people gave each reason for an answer that stands, by person and by what they answered."""
    standing = {a.id: a for a in store.standing_answers(kind=None, criterion=None)}
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {"annotators": Counter(), "answers": Counter()})
    for answer, tags in find_tags(store.db).items():
        if (given := standing.get(answer)) is None:
            continue
        for tag in tags:
            found[tag]["annotators"][given.annotator] += 1
            found[tag]["answers"][_in_short(given.value)] += 1
    rows = [
        {"tag": tag, "count": counts["annotators"].total()} | {name: dict(c) for name, c in counts.items()}
        for tag, counts in found.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["tag"]))


def _in_short(value: Value | None) -> str:
    """Name the side that a number from 0 to 1 leans to; of all other answers write the numbers."""
    if value is None:
        return "skip"
    if len(value) == 1 and 0 <= value[0] <= 1:
        return "equal" if value[0] == 0.5 else "second" if value[0] > 0.5 else "first"
    return " ".join(f"{x:g}" for x in value)


def _two_sided(told: Answered) -> dict[str, Any]:
    """Describe answers to triplets and pairs of episodes: which one, and on which side of the screen it stood."""
    values = [_value(a)[0] for a, *_ in told]
    right = [  # the last place of the screen; the last item is the second one
        (value > 0.5) == (places[-1] == len(places) - 1)
        for value, (*_, places) in zip(values, told, strict=True)
        if places and value != 0.5
    ]
    return {
        "equal": proportion(value == 0.5 for value in values),
        "second": proportion(value > 0.5 for value in values if value != 0.5),
        "screen_right": proportion(right),
    }


def _choice(told: Answered) -> dict[str, Any]:
    """Return how often the first one that was named stood at each place of the screen, where 1 / k is expected."""
    first = Counter(places.index(int(_value(a)[0])) for a, _, places in told if places)
    items = told[0][1].form.items
    return {"first_at_place": [first[place] for place in range(items)]}


def _rating(told: Answered) -> dict[str, Any]:
    grades = np.array([_value(a)[0] for a, *_ in told])
    low, middle, high = np.quantile(grades, [0.1, 0.5, 0.9]).tolist()
    return {"mean": float(grades.mean()), "p10": low, "median": middle, "p90": high}


def _outcome(told: Answered) -> dict[str, Any]:
    steps = [int(_value(a)[1]) for a, *_ in told]
    marked = [step for step in steps if step >= 0]
    return {
        "success": proportion(_value(a)[0] == 1 for a, *_ in told),
        "moment_marked": proportion(step >= 0 for step in steps),
        "moment_median": float(np.median(marked)) if marked else None,
    }


def _intervention(told: Answered) -> dict[str, Any]:
    signals = [np.array(_value(a), int) for a, *_ in told]
    over = [(s & Intervention.TOOK_OVER) > 0 for s in signals]
    begun = [int(o[0]) + int((o[1:] & ~o[:-1]).sum()) for o in over]
    return {
        "interventions": sum(begun),
        "steps_taken_over": int(sum(o.sum() for o in over)),
        "said_wrong": int(sum(((s & Intervention.WRONG) > 0).sum() for s in signals)),
        "without_any": proportion(not s.any() for s in signals),
    }


SUMMARIES: Mapping[str, Summary] = {
    EpisodePair.kind: _two_sided,
    Triplet.kind: _two_sided,
    Choice.kind: _choice,
    Rating.kind: _rating,
    Outcome.kind: _outcome,
    Intervention.kind: _intervention,
}


def _agreement(told: Answered, kind: str) -> dict[str, Any] | None:
    """Measure agreement on questions that several answered: Krippendorff's alpha, or Kendall's tau of rankings."""
    if kind == Intervention.kind or len({a.annotator for a, *_ in told}) < 2:
        return None
    if kind == Choice.kind and told[0][1].form.detail("wanted") == "ranking":
        return _rankings(told)
    people = list(dict.fromkeys(a.annotator for a, *_ in told))
    queries = list(dict.fromkeys(a.query for a, *_ in told))
    ratings = np.full((len(people), len(queries)), np.nan)
    for a, *_ in told:
        value = _value(a)
        code = value[0] if kind != Choice.kind else sum(x * 10**i for i, x in enumerate(value))
        ratings[people.index(a.annotator), queries.index(a.query)] = code
    metric: Any = "interval" if kind in (Rating.kind, Triplet.kind, EpisodePair.kind) else "nominal"
    found = krippendorff_alpha(ratings, metric=metric, rng=np.random.default_rng(0))
    return {"measure": f"alpha ({metric})", **found._asdict()}


def _rankings(told: Answered) -> dict[str, Any] | None:
    """The mean of Kendall's tau over every two rankings of one question: 1 the same, 0 as by chance, -1 the reverse."""
    by_query: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for a, *_ in told:
        by_query[a.query].append(tuple(map(int, _value(a))))
    taus = [kendall_tau(one, other) for orders in by_query.values() for one, other in itertools.combinations(orders, 2)]
    if not taus:
        return None
    units = sum(len(orders) > 1 for orders in by_query.values())
    return {"measure": "Kendall's tau", "value": float(np.mean(taus)), "low": None, "high": None, "units": units}


def kendall_tau(one: Sequence[int], other: Sequence[int]) -> float:
    """Return (concordant - discordant) / (k (k - 1) / 2) of two orders of k items (Kendall 1938)."""
    from scipy.stats import kendalltau

    return float(kendalltau(range(len(one)), [other.index(item) for item in one]).statistic)


def _value(answer: StandingAnswer) -> Value:
    assert answer.value is not None
    return answer.value
