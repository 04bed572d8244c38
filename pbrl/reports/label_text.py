"""A label report for a terminal."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from pbrl.reports.label_numbers import BINS_S, FAST_S
from pbrl.reports.tables import Table
from pbrl.types import OVERALL

NOTHING = "-"
MOST_TIMES = 16  # rows
Columns = Mapping[str, Callable[[Any], str]]  # header: the cell of a row


def format_report(report: dict[str, Any]) -> str:
    """The report as a plain text of tables."""
    from rich.console import Console
    from rich.text import Text

    text = io.StringIO()
    console = Console(file=text, width=110, color_system=None, highlight=False)
    console.print(headline(report), markup=False, soft_wrap=True)
    for warning in report["warnings"]:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    together, parts = report["agreement"], list[Any]()
    if report["answers"]:
        parts += annotator_tables(report)
        if together:
            parts += [Text(_alpha(together["alpha"])), *table_of("agreement of", pair_rows(together), PAIR)]
        parts += table_of("session", session_rows(report), SESSION)
        parts += table_of("time (UTC)", _bins(report["over_time"]), BIN)
    parts += [*table_of("other questions", kind_rows(report), KIND), *table_of("why", tag_rows(report), TAG)]
    console.print(*(part.in_terminal() if isinstance(part, Table) else part for part in parts), sep="\n")
    return text.getvalue().rstrip() + "\n"


def annotator_tables(report: dict[str, Any]) -> list[Table]:
    return [
        table for columns in (WHAT, HOW_WELL, HOW_FAST) for table in table_of("annotator", people_rows(report), columns)
    ]


def session_rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {str(session["session"]): session for session in report["sessions"]}


def headline(report: dict[str, Any]) -> str:
    return (
        f"{report['run_dir']}: {report['queries']} queries, {report['unanswered']} of them open; "
        f"{report['answers']} answers stand, {report['retracted']} retracted"
    )


def people_rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the numbers of each annotator and, if there are several, of all together."""
    return report["annotators"] | ({"all": report} if len(report["annotators"]) > 1 else {})


def pair_rows(together: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {" and ".join(pair["annotators"]): pair for pair in together["pairs"]}


def kind_rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of other questions by what was asked, as "ranking of 4 by safety"."""
    return {kind_name(row): row for row in report["kinds"]}


def tag_rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["tag"]: row for row in report["tags"]}


def kind_name(row: dict[str, Any]) -> str:
    details = json.loads(row["details"])
    of = f" of {row['items']}" if row["kind"] == "choice" else ""
    wide = ", ".join(f"{name} {value:g}" if isinstance(value, float) else str(value) for name, value in details.items())
    by = "" if row["criterion"] == OVERALL else f" by {row['criterion']}"
    return f"{row['kind']}{of}{f' ({wide})' if wide else ''}{by}"


def told_words(row: dict[str, Any]) -> str:
    """Return what was said, in words."""
    parts = []
    for name, found in row["said"].items():
        words = name.replace("_", " ")
        if isinstance(found, dict):
            parts.append(f"{words} {percent(found)}")
        elif isinstance(found, list):
            parts.append(f"{words} {' '.join(map(str, found))}")
        elif found is not None:
            parts.append(f"{words} {found:g}")
    return ", ".join(parts) or NOTHING


def agreement_words(row: dict[str, Any]) -> str:
    found = row["agreement"]
    if found is None or found["value"] is None:
        return NOTHING
    return f"{found['measure']} {beyond_chance(found)} on {found['units']}"


def table_of(first: str, rows: Mapping[str, Any], columns: Columns, title: str = "") -> list[Table]:
    """Return the table of these columns without the empty ones; nothing without a row or a column to show."""
    cells = [[name, *(cell(row) for cell in columns.values())] for name, row in rows.items()]
    table = Table(title, "", [first, *columns], cells).filled()
    return [table] if table.rows and len(table.header) > 1 else []


def percent(found: dict[str, Any] | None) -> str:
    if found is None:
        return NOTHING
    return f"{found['share']:.0%} [{found['low']:.0%}, {found['high']:.0%}] of {found['of']}"


def beyond_chance(found: dict[str, Any]) -> str:
    """Write kappa or alpha with its interval."""
    if found["value"] is None:
        return NOTHING
    return f"{found['value']:.2f}" + ("" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]")


def share(name: str) -> Callable[[Any], str]:
    return lambda row: f"{row['shares'][name]:.0%}"


def some(name: str) -> Callable[[Any], str]:
    """A count, where it is not 0."""
    return lambda row: str(row[name] or NOTHING)


def seconds(name: str) -> Callable[[Any], str]:
    return lambda row: NOTHING if row["response_s"] is None else f"{row['response_s'][name]:.1f}"


WHAT: Columns = {
    "answers": lambda row: str(row["answers"]),
    "decisive": share("decisive"),
    "equal": share("equal"),
    "can't tell": share("incomparable"),
    "skipped": share("skipped"),
    "slight": lambda row: f"{row['slight']['share']:.0%}" if row["slight"] and row["slight"]["count"] else NOTHING,
    "undone": some("undone"),
    "changed": some("changed"),
    "prefers right": lambda row: percent(row["prefers_right"]),
}
HOW_WELL: Columns = {
    "screen-left": lambda row: percent(row["screen_left"]),
    "repeats alike": lambda row: percent(row["self_consistency"]),
    "agrees with others": lambda row: percent(row.get("agrees_with_others")),
    "gold right": lambda row: percent(row["gold"]),
    "attention": lambda row: percent(row["attention"]),
    "agrees with true return": lambda row: percent(row["agrees_with_true_return"]),
    "left out": lambda row: row.get("left_out") or NOTHING,
}
HOW_FAST: Columns = {
    "s, 10 %": seconds("p10"),
    "median": seconds("median"),
    "90 %": seconds("p90"),
    f"under {FAST_S:g} s": lambda row: NOTHING if not row["fast"] else str(row["fast"]["count"]),
    "not played": lambda row: NOTHING if not row["unplayed"] else str(row["unplayed"]["count"] or NOTHING),
    "labels/min": lambda row: f"{row['labels_per_minute']['rate']:.1f}" if row["labels_per_minute"] else NOTHING,
}
PAIR: Columns = {
    "same answer": lambda row: percent(row["same"]),
    "kappa": lambda row: beyond_chance(row["kappa"]),
    "linear kappa": lambda row: beyond_chance(row["linear_kappa"]),
}
SESSION: Columns = {
    "env steps": lambda row: str(row["env_steps"]),
    "queries": lambda row: str(row["queries"]),
    "decisive": lambda row: str(row["decisive"]),
    "equal": lambda row: str(row["equal"]),
    "can't tell": some("incomparable"),
    "skipped": lambda row: str(row["skipped"]),
}
BIN: Columns = {"answers": lambda row: str(sum(row["answers"].values())), "in all": lambda row: str(row["cumulative"])}


KIND: Columns = {
    "answers": lambda row: str(row["answers"]),
    "skipped": some("skipped"),
    "open": some("unanswered"),
    "people": lambda row: str(len(row["annotators"])),
    "s, median": lambda row: f"{row['response_s']['median']:.1f}" if row["response_s"] else NOTHING,
    "said": told_words,
    "agreement": agreement_words,
}
TAG: Columns = {
    "times": lambda row: str(row["count"]),
    "by": lambda row: ", ".join(f"{name} {n}" for name, n in row["annotators"].items()),
    "for": lambda row: ", ".join(f"{name} {n}" for name, n in row["answers"].items()),
}


def _alpha(alpha: dict[str, dict[str, Any]]) -> str:
    nominal, ordinal = alpha["nominal"], alpha["ordinal"]
    if nominal["value"] is None:
        return f"Krippendorff's alpha: none, {nominal['reason']}"
    values = f"{beyond_chance(nominal)} nominal, {beyond_chance(ordinal)} ordinal"
    return f"Krippendorff's alpha: {values}; {nominal['units']} shared pairs"


def _bins(found: dict[str, Any] | None) -> dict[str, Any]:
    """The bins by their start, joined to longer ones where they are many. The last `cumulative` of each counts."""
    rows: dict[str, Any] = {}
    if found is None:
        return rows
    longer = [b for b in BINS_S if b >= found["bin_s"]]
    width = next((b for b in longer if len({one["time"] // b for one in found["bins"]}) <= MOST_TIMES), longer[-1])
    for one in found["bins"]:
        start = datetime.fromtimestamp(one["time"] // width * width, timezone.utc).strftime("%Y-%m-%d %H:%M")
        answers = Counter(rows[start]["answers"]) if start in rows else Counter()
        rows[start] = {"answers": answers + Counter(one["answers"]), "cumulative": one["cumulative"]}
    return rows
