"""The label report as one page that needs nothing else, in the look of a run's report."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pbrl.reports import label_figures as draw
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
from pbrl.reports.pages import Section, Tile, render

MOST_PAIRS = 12  # in the figure of agreement; the table has all


def write_label_page(report: dict[str, Any], file: Path) -> None:
    """Writes the page of a `label_report` to a file that must not exist yet. OSError if it does."""
    page = label_page(report)
    with file.open("x", encoding="utf-8") as out:
        out.write(page)


def label_page(report: dict[str, Any]) -> str:
    answered, together = bool(report["answers"]), report["agreement"]
    return render(
        "labels",
        title=f"Labels of {Path(report['run_dir']).resolve().name}",
        facts=_facts(report),
        warnings=report["warnings"],
        tiles=_tiles(report),
        figures=_figures(report) if answered else [],
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


def _tiles(report: dict[str, Any]) -> list[Tile]:
    found = [
        Tile("Answers", f"{report['answers']:,}", f"{report['retracted']} taken back or changed"),
        Tile("Queries", f"{report['queries']:,}", f"{report['unanswered']} not answered yet"),
        Tile("Decisive", f"{report['shares']['decisive']:.0%}", f"{report['shares']['equal']:.0%} equal"),
    ]
    if times := report["response_s"]:
        found.append(Tile("Seconds per answer", f"{times['median']:.1f}", f"{times['p10']:.1f} to {times['p90']:.1f}"))
    if rate := report["labels_per_minute"]:
        found.append(Tile("Labels per minute", f"{rate['rate']:.1f}", f"of {rate['minutes']:.0f} min of labelling"))
    for name, key in (("Repeats alike", "self_consistency"), ("True return", "agrees_with_true_return")):
        if row := report[key]:
            found.append(Tile(name, f"{row['share']:.0%}", f"{row['low']:.0%} to {row['high']:.0%}, of {row['of']}"))
    if (together := report["agreement"]) and (alpha := together["alpha"]["nominal"])["value"] is not None:
        found.append(
            Tile(
                "Agreement", f"\N{GREEK SMALL LETTER ALPHA} = {alpha['value']:.2f}", f"{alpha['units']} shared queries"
            )
        )
    return found


def _figures(report: dict[str, Any]) -> list[Section]:
    people = report["annotators"]
    style = draw.styles(list(people))
    parts = [Section("Answers", "What stands now, by annotator.", draw.choices(people))]
    if report["over_time"]:
        text = "Answers that stand, by the time they were given."
        parts.append(Section("Over time", text, draw.answers_over_time(report["over_time"], style)))
    if any(row["pace"] for row in people.values()):
        text = "How long a pair was on the screen. Median of equal stretches of each person's answers."
        parts.append(Section("Response times", text, draw.response_times(people, style)))
    for key, title, x_label, text in SHARES:
        if any(row[key] for row in people.values()):
            figure = draw.shares({name: row[key] for name, row in people.items()}, x_label, key, title)
            parts.append(Section(title, text, figure))
    if together := report["agreement"]:
        parts.append(_agreement(together))
    if sum(session["session"] >= 0 for session in report["sessions"]) > 1:
        text = "Questions and answers by the step at which the run asked."
        parts.append(Section("Over the run", text, draw.sessions(report["sessions"])))
    return parts


SHARES = (
    (
        "screen_left",
        "Side of the screen",
        "preferred the left of the screen",
        "Of decisive answers. Sides are drawn at random, so an interval off the middle means a bias.",
    ),
    (
        "self_consistency",
        "Pairs shown twice",
        "answered as the first time",
        "Shown again later with sides swapped. These second answers train nothing.",
    ),
    (
        "agrees_with_true_return",
        "True return",
        "preferred the higher true return",
        "Of decisive answers to pairs whose true return is known. People never see it.",
    ),
)


def _agreement(found: dict[str, Any]) -> Section:
    title, alpha = "Between annotators", found["alpha"]["nominal"]
    if alpha["value"] is None:
        return Section(title, f"Not defined: {alpha['reason']}.")
    text = (
        f"Cohen's kappa of two, Krippendorff's alpha of everyone: 1 is perfect, 0 is chance. "
        f"Alpha {beyond_chance(alpha)} on {alpha['units']} queries that several people answered; "
        f"with the order left, equal, right {beyond_chance(found['alpha']['ordinal'])}."
    )
    return Section(title, text, draw.agreement(found, MOST_PAIRS))
