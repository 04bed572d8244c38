"""The labels of a run in figures: how many, how decided, how biased, how consistent, how right."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.labels.rows import Query, Scope
from pbrl.labels.store import LabelStore
from pbrl.labels.true_returns import true_advantages
from pbrl.labels.views import Check, GivenAnswer, View, find_history
from pbrl.reports.label_kinds import report_kinds, report_tags
from pbrl.reports.label_numbers import (
    FAST_S,
    agreement,
    agreement_with_others,
    choice_of,
    labels_per_minute,
    over_time,
    pace,
    proportion,
    quantiles,
    screen_left,
    second_thoughts,
    self_consistency,
)
from pbrl.types import OVERALL

__all__ = ["label_report", "warnings_of"]

FAST_SHARE = 0.05  # of answers under FAST_S; below that it is a slip of the finger
FEW = 10  # repetitions, under which a low consistency is no news
FEW_GOLD = 5  # gold pairs; their answers are clear


def label_report(run_dir: Path, criterion: str = OVERALL) -> dict[str, Any]:
    """Statistics of the standing answers, as JSON numbers; docs/labels-report.md explains them.

    Those to pairs of segments by one criterion at length, those to other kinds of questions in `kinds`.

    `pbrl.reports.label_text.format_report` makes them a text, `pbrl.reports.label_page.label_page` a page.
    """
    with LabelStore(run_dir, create=False) as store:
        with store.transaction():  # of one moment, while people answer
            queries = store.queries(criterion=criterion)
            given = find_history(store.db, Scope(criterion=criterion))
            asked, views = {q.id for q in queries}, {view.answer: view for view in store.views()}
            checks = [check for check in store.checks() if check.query in asked]
        if not queries and criterion != OVERALL:
            raise UserError(f"{store.path} has no pairs of segments with criterion={criterion}")
        standing = [a for a in given if a.retracted_at is None]
        agrees, left_out = _agrees_with_true_return(store, standing), store.left_out()
        kinds, tags = report_kinds(store), report_tags(store)
    names = dict.fromkeys([*(a.annotator for a in sorted(given, key=lambda a: a.id)), *(c.annotator for c in checks)])
    report = {
        "run_dir": str(run_dir),
        "queries": len(queries),
        "unanswered": len(queries) - len({a.query for a in standing}),
        **_describe(given, views, checks, agrees),
        "annotators": {
            name: {
                **_describe(
                    [a for a in given if a.annotator == name], views, [c for c in checks if c.annotator == name], agrees
                ),
                "agrees_with_others": agreement_with_others(standing, name),
                "left_out": left_out.get(name),
            }
            for name in names
        },
        "agreement": agreement(standing, np.random.default_rng(0)),  # fixed: the same labels give the same report
        "sessions": _sessions(queries, standing, views),
        "over_time": over_time(standing),
        "kinds": kinds,
        "tags": tags,
    }
    return report | {"warnings": warnings_of(report)}


def warnings_of(report: dict[str, Any]) -> list[str]:
    """Return what a reader should not miss, one line each."""
    found = []
    for name, row in report["annotators"].items():
        side, same, true = row["screen_left"], row["self_consistency"], row["agrees_with_true_return"]
        if side and not side["low"] <= 0.5 <= side["high"]:
            which = "left" if side["share"] > 0.5 else "right"
            share = max(side["share"], 1 - side["share"])
            found.append(f"{name} prefers the {which} side of the screen: {share:.0%} of {side['of']} decisive answers")
        if same and same["of"] >= FEW and same["low"] <= 0.5:
            found.append(f"{name} answered {same['count']} of {same['of']} repeated pairs alike, which may be chance")
        if row["fast"] and row["fast"]["share"] > FAST_SHARE:
            share, n = row["fast"]["share"], row["fast"]["count"]
            found.append(f"{name} answered {n} pairs in under {FAST_S:g} s ({share:.0%})")
        if row["attention"] and row["attention"]["count"] < row["attention"]["of"]:
            missed = row["attention"]["of"] - row["attention"]["count"]
            found.append(f"{name} missed {missed} of {row['attention']['of']} checks of attention")
        if row["gold"] and row["gold"]["of"] >= FEW_GOLD and row["gold"]["low"] <= 0.5:
            right, n = row["gold"]["count"], row["gold"]["of"]
            found.append(f"{name} answered {right} of {n} gold pairs right, which may be chance")
        if true and true["high"] < 0.5:
            found.append(f"{name} mostly prefers the lower true return ({1 - true['share']:.0%}): are sides mixed up?")
    together = report["agreement"]
    alpha = together["alpha"]["nominal"] if together else None
    if alpha and alpha["low"] is not None and alpha["low"] <= 0:
        found.append(f"annotators agree no more than chance may give: alpha {alpha['value']:.2f}")
    return found


def _describe(
    given: Sequence[GivenAnswer], views: Mapping[int, View], checks: Sequence[Check], agrees: Mapping[int, bool | None]
) -> dict[str, Any]:
    """Counts and shares of some answers."""
    standing = [a for a in given if a.retracted_at is None]
    choices = Counter(choice_of(a, views) for a in standing)
    counts = {
        "decisive": choices["left"] + choices["right"],
        "equal": choices["equal"],
        "incomparable": choices["incomparable"],
        "skipped": choices["skip"],
    }
    seen = [view for a in standing if (view := views.get(a.id))]
    return {
        "answers": len(standing),
        **counts,
        "shares": {name: count / max(len(standing), 1) for name, count in counts.items()},
        **second_thoughts(given),
        "slight": proportion(v.strength == "slight" for v in seen if v.choice in ("left", "right")),
        "prefers_right": proportion(c == "right" for c in choices.elements() if c in ("left", "right")),
        "screen_left": screen_left(standing, views),
        "self_consistency": self_consistency(given, views, [c for c in checks if c.purpose == "repeat"]),
        "gold": proportion(c.choice == c.expected for c in checks if c.purpose == "gold"),
        "attention": proportion(c.choice == c.expected for c in checks if c.purpose == "attention"),
        "agrees_with_true_return": proportion(agree for a in standing if (agree := agrees.get(a.id)) is not None),
        "response_s": quantiles(a.response_s for a in standing),
        "fast": proportion(a.response_s < FAST_S for a in standing if a.response_s is not None),
        "unplayed": proportion(view.played_at is None for view in seen),
        "labels_per_minute": labels_per_minute(given, checks),
        "pace": pace(standing),
    }


def _agrees_with_true_return(store: LabelStore, standing: Sequence[GivenAnswer]) -> dict[int, bool | None]:
    """Tell, by answer, whether it prefers the higher true return; None where nobody can say."""
    values = {a.id: (a.query, a.prefers_right) for a in standing if a.prefers_right is not None}
    decisive = {answer: (query, value > 0.5) for answer, (query, value) in values.items() if value != 0.5}
    advantage = true_advantages(store, {query for query, _ in decisive.values()})
    known = {answer: (advantage[query], right) for answer, (query, right) in decisive.items()}
    return {i: None if math.isnan(d) or d == 0 else (d > 0) == right for i, (d, right) in known.items()}


def _sessions(
    queries: Sequence[Query], standing: Sequence[GivenAnswer], views: Mapping[int, View]
) -> list[dict[str, int]]:
    """Labels per feedback session, in order of environment steps; imported ones last."""
    place = {q.id: (q.session, q.env_steps) for q in queries}
    asked = Counter(place.values())
    kinds = {"left": "decisive", "right": "decisive", "skip": "skipped"}
    found: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for a in standing:
        found[place[a.query]][kinds.get(choice := choice_of(a, views), choice)] += 1
    return [
        {"session": key[0], "env_steps": key[1], "queries": asked[key]}
        | {name: found[key][name] for name in ("decisive", "equal", "incomparable", "skipped")}
        for key in sorted(asked, key=lambda key: (key[0] < 0, key[1], key[0]))
    ]
