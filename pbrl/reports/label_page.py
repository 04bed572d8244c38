"""The label report as one page that needs nothing else, in the look of a run's report."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pbrl.reports import label_figures
from pbrl.reports.label_text import (
    KIND,
    PAIR,
    SESSION,
    TAG,
    annotator_tables,
    beyond_chance,
    kind_rows,
    pair_rows,
    session_rows,
    table_of,
    tag_rows,
)
from pbrl.reports.pages import render


def write_label_page(report: dict[str, Any], file: Path) -> None:
    """Write the page of a `label_report` to a file that must not exist yet. OSError if it does."""
    page = label_page(report)
    with file.open("x", encoding="utf-8") as out:
        out.write(page)


def label_page(report: dict[str, Any]) -> str:
    answered, together = bool(report["answers"]), report["agreement"]
    return render(
        "labels",
        title=f"Labels of {Path(report['run_dir']).resolve().name}",
        facts=_facts(report),
        report=report,
        draw=label_figures,
        style=label_figures.styles(list(report["annotators"])),
        beyond_chance=beyond_chance,
        annotators=annotator_tables(report) if answered else [],
        pairs=table_of("", pair_rows(together), PAIR) if answered and together else [],
        sessions=table_of("session", session_rows(report), SESSION) if answered else [],
        others=table_of("question", kind_rows(report), KIND),
        reasons=table_of("why", tag_rows(report), TAG),
    )


def _facts(report: dict[str, Any]) -> str:
    facts = [str(report["run_dir"]), f"{len(report['annotators'])} annotator{'s' * (len(report['annotators']) != 1)}"]
    if found := report["over_time"]:
        days = [datetime.fromtimestamp(b["time"], timezone.utc).strftime("%Y-%m-%d") for b in found["bins"]]
        facts.append(days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}")
    return " · ".join(facts)
