"""The label report as one page that needs nothing else, in the look of a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from string import Template
from typing import Any

from pbrl.reports import label_figures as draw
from pbrl.reports.label_text import (
    HOW_FAST,
    HOW_WELL,
    KIND,
    PAIR,
    SESSION,
    TAG,
    WHAT,
    Columns,
    beyond_chance,
    filled,
    kind_rows,
    pair_rows,
    people_rows,
    tag_rows,
)
from pbrl.reports.run_report import as_text, section, tile

MOST_PAIRS = 12  # in the figure of agreement; the table has all
STYLE = """
.warnings { margin: 1.25rem 0 0; padding: 0.7rem 1rem 0.7rem 2rem; border: 1px solid var(--random);
  border-radius: 0.6rem; background: var(--card); }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tiles div:last-child:nth-child(odd) { grid-column: auto; }
.facts, .warnings { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin-top: 0.6rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem 0.3rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--grid); }
thead th { color: var(--muted); font-weight: 400; }
tbody th { font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
.wide { margin-top: 0.75rem; }
svg { max-width: 34rem; }
"""


def write_label_page(report: dict[str, Any], file: Path) -> None:
    """Writes the page of a `label_report` to a file that must not exist yet. OSError if it does."""
    page = label_page(report)
    with file.open("x", encoding="utf-8") as out:
        out.write(page)


def label_page(report: dict[str, Any]) -> str:
    title = f"Labels of {Path(report['run_dir']).resolve().name}"
    parts = [
        _head(title),
        f'<header><h1>{as_text(title)}</h1><p class="facts">{as_text(_facts(report))}</p></header>',
        "<main>",
        _warnings(report["warnings"]),
        f'<dl class="tiles top">{"".join(_tiles(report))}</dl>',
    ]
    if report["answers"]:
        parts += ['<div class="grid">', *_figures(report), "</div>", *_tables(report)]
    for title, first, rows, columns in (
        ("Other questions", "question", kind_rows(report), KIND),
        ("Reasons", "why", tag_rows(report), TAG),
    ):
        if rows:
            parts.append(f'<section class="wide"><h2>{title}</h2>{_table(first, rows, columns)}</section>')
    return "\n".join([*parts, "</main>", "</body>", "</html>", ""])


def _head(title: str) -> str:
    """That of a run's report, so that both look alike."""
    template = (Path(__file__).parent / "report_template.html").read_text(encoding="utf-8")
    start, _ = template.split("</style>", 1)
    return Template(start).substitute(title=as_text(title)) + STYLE + "</style>\n</head>\n<body>"


def _facts(report: dict[str, Any]) -> str:
    facts = [str(report["run_dir"]), f"{len(report['annotators'])} annotator{'s' * (len(report['annotators']) != 1)}"]
    if found := report["over_time"]:
        days = [datetime.fromtimestamp(b["time"], timezone.utc).strftime("%Y-%m-%d") for b in found["bins"]]
        facts.append(days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}")
    return " · ".join(facts)


def _warnings(lines: list[str]) -> str:
    return f'<ul class="warnings">{"".join(f"<li>{as_text(line)}</li>" for line in lines)}</ul>' if lines else ""


def _tiles(report: dict[str, Any]) -> list[str]:
    found = [
        tile("Answers", f"{report['answers']:,}", f"{report['retracted']} taken back or changed"),
        tile("Queries", f"{report['queries']:,}", f"{report['unanswered']} not answered yet"),
        tile("Decisive", f"{report['shares']['decisive']:.0%}", f"{report['shares']['equal']:.0%} equal"),
    ]
    if times := report["response_s"]:
        found.append(tile("Seconds per answer", f"{times['median']:.1f}", f"{times['p10']:.1f} to {times['p90']:.1f}"))
    if rate := report["labels_per_minute"]:
        found.append(tile("Labels per minute", f"{rate['rate']:.1f}", f"of {rate['minutes']:.0f} min of labelling"))
    for name, key in (("Repeats alike", "self_consistency"), ("True return", "agrees_with_true_return")):
        if row := report[key]:
            found.append(tile(name, f"{row['share']:.0%}", f"{row['low']:.0%} to {row['high']:.0%}, of {row['of']}"))
    if (together := report["agreement"]) and (alpha := together["alpha"]["nominal"])["value"] is not None:
        found.append(
            tile(
                "Agreement", f"\N{GREEK SMALL LETTER ALPHA} = {alpha['value']:.2f}", f"{alpha['units']} shared queries"
            )
        )
    return found


def _figures(report: dict[str, Any]) -> list[str]:
    people = report["annotators"]
    style = draw.styles(list(people))
    parts = [section("Answers", "What stands now, by annotator.", draw.choices(people))]
    if report["over_time"]:
        text = "Answers that stand, by the time they were given."
        parts.append(section("Over time", text, draw.answers_over_time(report["over_time"], style)))
    if any(row["pace"] for row in people.values()):
        text = "How long a pair was on the screen. Median of equal stretches of each person's answers."
        parts.append(section("Response times", text, draw.response_times(people, style)))
    for key, title, x_label, text in SHARES:
        if any(row[key] for row in people.values()):
            figure = draw.shares({name: row[key] for name, row in people.items()}, x_label, key, title)
            parts.append(section(title, text, figure))
    if together := report["agreement"]:
        parts.append(_agreement(together))
    if sum(session["session"] >= 0 for session in report["sessions"]) > 1:
        text = "Questions and answers by the step at which the run asked."
        parts.append(section("Over the run", text, draw.sessions(report["sessions"])))
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


def _agreement(found: dict[str, Any]) -> str:
    title, alpha = "Between annotators", found["alpha"]["nominal"]
    if alpha["value"] is None:
        return section(title, f"Not defined: {alpha['reason']}.")
    text = (
        f"Cohen's kappa of two, Krippendorff's alpha of everyone: 1 is perfect, 0 is chance. "
        f"Alpha {beyond_chance(alpha)} on {alpha['units']} queries that several people answered; "
        f"with the order left, equal, right {beyond_chance(found['alpha']['ordinal'])}."
    )
    return section(title, text, draw.agreement(found, MOST_PAIRS))


def _tables(report: dict[str, Any]) -> list[str]:
    people, parts = people_rows(report), []
    rows = "".join(_table("annotator", people, columns) for columns in (WHAT, HOW_WELL, HOW_FAST))
    parts.append(f'<section class="wide"><h2>Annotators</h2>{rows}</section>')
    if report["agreement"] and (pairs := pair_rows(report["agreement"])):
        parts.append(f"<details><summary>Agreement of every two</summary>{_table('', pairs, PAIR)}</details>")
    sessions = {str(session["session"]): session for session in report["sessions"]}
    parts.append(f"<details><summary>Feedback sessions</summary>{_table('session', sessions, SESSION)}</details>")
    return parts


def _table(first: str, rows: Mapping[str, Any], columns: Columns) -> str:
    if not (shown := filled(rows, columns)):
        return ""
    head = "".join(f"<th>{as_text(header)}</th>" for header in (first, *shown))
    body = "".join(
        f"<tr><th>{as_text(name)}</th>{''.join(f'<td>{as_text(cell)}</td>' for cell in row)}</tr>"
        for name, *row in zip(rows, *shown.values(), strict=True)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
