"""What the labels of a run look like: how many, how decided, how biased, how right."""

from __future__ import annotations

import io
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.label_rows import Query, StandingAnswer
from pbrl.data.labels import LabelStore

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927): where |p - successes/n| <= z sqrt(p (1 - p) / n)."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z95**2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(center - half, 0.0), min(center + half, 1.0)


def label_report(run_dir: Path) -> dict[str, Any]:
    """Statistics of the standing answers of a run, as numbers; `format_report` makes them a text."""
    with LabelStore(run_dir, create=False) as store:
        answers, queries = store.standing_answers(), store.queries()
        agrees = _agreement(store, answers)
        counts = store.counts()
    people = {name: [a for a in answers if a.annotator == name] for name in counts["annotators"]}
    return {
        "run_dir": str(run_dir),
        "queries": counts["queries"],
        "unanswered": counts["unanswered"],
        "retracted": counts["retracted"],
        **_describe(answers, agrees),
        "annotators": {
            name: {"retracted": counts["annotators"][name]["retracted"]} | _describe(mine, agrees)
            for name, mine in people.items()
        },
        "sessions": _sessions(queries, answers),
    }


def format_report(report: dict[str, Any]) -> str:
    """The report as a plain text of tables."""
    from rich.console import Console

    text = io.StringIO()
    console = Console(file=text, width=110, color_system=None, highlight=False)
    console.print(
        f"{report['run_dir']}: {report['queries']} queries, {report['unanswered']} of them open; "
        f"{report['answers']} answers stand, {report['retracted']} retracted",
        markup=False,
        soft_wrap=True,
    )
    if report["answers"]:
        console.print(_people_table(report), _sessions_table(report["sessions"]))
    return text.getvalue().rstrip() + "\n"


def _describe(answers: Sequence[StandingAnswer], agrees: dict[int, bool | None]) -> dict[str, Any]:
    """Counts and shares of some answers. A soft label counts for the side it leans to."""
    values = [a.prefers_right for a in answers]
    decisive = [v for v in values if v is not None and v != 0.5]
    equal, skipped = values.count(0.5), values.count(None)
    judged = [agree for a in answers if (agree := agrees.get(a.id)) is not None]
    times = np.array([a.response_s for a in answers if a.response_s is not None])
    n = max(len(values), 1)
    return {
        "answers": len(values),
        "decisive": len(decisive),
        "equal": equal,
        "skipped": skipped,
        "shares": {"decisive": len(decisive) / n, "equal": equal / n, "skipped": skipped / n},
        "prefers_right": _proportion(sum(v > 0.5 for v in decisive), len(decisive)),
        "agrees_with_true_return": _proportion(sum(judged), len(judged)),
        "response_s": _quantiles(times),
    }


def _proportion(successes: int, n: int) -> dict[str, Any] | None:
    """None where there is nothing to count."""
    if n == 0:
        return None
    low, high = wilson_interval(successes, n)
    return {"count": successes, "of": n, "share": successes / n, "low": low, "high": high}


def _quantiles(times: np.ndarray) -> dict[str, float] | None:
    if len(times) == 0:
        return None
    low, middle, high = np.quantile(times, [0.1, 0.5, 0.9]).tolist()
    return {"n": len(times), "p10": low, "median": middle, "p90": high, "total": float(times.sum())}


def _agreement(store: LabelStore, answers: Sequence[StandingAnswer]) -> dict[int, bool | None]:
    """By answer: does it prefer the segment of the higher true return? None where nobody can say."""
    decisive = [a for a in answers if a.prefers_right is not None and a.prefers_right != 0.5]
    by_file = defaultdict(set)
    for query in store.queries([a.query for a in decisive]):
        by_file[query.file].add(query.id)
    advantage: dict[int, float] = {}  # true return of the right segment minus that of the left one
    for ids in map(sorted, by_file.values()):  # file by file: memory does not grow with the run, lengths may differ
        left, right = store.segments(ids)
        difference = (right.true_reward.double() * right.mask).sum(1) - (left.true_reward.double() * left.mask).sum(1)
        advantage |= zip(ids, difference.tolist(), strict=True)
    known = {a.id: advantage[a.query] for a in decisive}
    return {
        a.id: None if math.isnan(known[a.id]) or known[a.id] == 0 else (known[a.id] > 0) == (a.prefers_right > 0.5)
        for a in decisive
        if a.prefers_right is not None
    }


def _sessions(queries: Sequence[Query], answers: Sequence[StandingAnswer]) -> list[dict[str, int]]:
    """Labels per feedback session, in order of environment steps."""
    place = {q.id: (q.session, q.env_steps) for q in queries}
    asked = Counter(place.values())
    decisive = Counter(place[a.query] for a in answers if a.prefers_right is not None and a.prefers_right != 0.5)
    equal = Counter(place[a.query] for a in answers if a.prefers_right == 0.5)
    skipped = Counter(place[a.query] for a in answers if a.prefers_right is None)
    return [
        {"session": key[0], "env_steps": key[1], "queries": asked[key]}
        | {"decisive": decisive[key], "equal": equal[key], "skipped": skipped[key]}
        for key in sorted(asked, key=lambda key: (key[0] < 0, key[1], key[0]))
    ]


def _people_table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(
        "annotator", "answers", "decisive", "equal", "skipped", "prefers right", "agrees with true return", "s"
    )
    everyone = {"all": report} if len(report["annotators"]) > 1 else {}
    for name, row in {**{f"{n}": r for n, r in report["annotators"].items()}, **everyone}.items():
        shares = [f"{row['shares'][k]:.0%}" for k in ("decisive", "equal", "skipped")]
        proportions = [_percent(row[k]) for k in ("prefers_right", "agrees_with_true_return")]
        seconds = "-" if row["response_s"] is None else f"{row['response_s']['median']:.1f}"
        table.add_row(name, str(row["answers"]), *shares, *proportions, seconds)
    return table


def _percent(proportion: dict[str, Any] | None) -> str:
    if proportion is None:
        return "-"
    return f"{proportion['share']:.0%} [{proportion['low']:.0%}, {proportion['high']:.0%}] of {proportion['of']}"


def _sessions_table(sessions: Sequence[dict[str, int]]) -> Any:
    from rich.table import Table

    table = Table(*(name.replace("_", " ") for name in sessions[0]))
    for session in sessions:
        table.add_row(*(str(value) for value in session.values()))
    return table
