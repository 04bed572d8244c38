"""The page of a bench, which needs nothing else, in the look of a run's report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from string import Template

from omegaconf import OmegaConf

from pbrl.bench.records import Results
from pbrl.reports import bench_words as report_words
from pbrl.reports import pictures
from pbrl.reports.bench_analysis import Analysis, GroupAnalysis
from pbrl.reports.bench_arms import Runs
from pbrl.reports.bench_tables import (
    FEW_NOTE,
    Table,
    comparison_table,
    published_table,
    ranking_table,
    separation_table,
)
from pbrl.reports.pictures import Picture
from pbrl.reports.run_report import as_text, section, tile

MARK = '<meta name="generator" content="pbrl report">'  # whose page may be replaced
STYLE = """
body { max-width: 76rem; }
main { display: grid; gap: 0.75rem; margin-top: 0.75rem; }
main > *, details { min-width: 0; margin: 0; }
h2.part { margin: 1.4rem 0 -0.2rem; font-size: 1.3rem; }
h3 { margin: 1rem 0 0; font-size: 0.95rem; }
ul, ol { margin: 0.5rem 0 0; padding-left: 1.6rem; font-size: 0.92rem; }
li { margin: 0.15rem 0; overflow-wrap: anywhere; }
li .value { font-variant-numeric: tabular-nums; }
li .below { color: var(--muted); }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); margin-top: 1.25rem; }
.tiles div:last-child:nth-child(odd) { grid-column: auto; }
.warnings { border-color: var(--random); }
.scroll { overflow-x: auto; margin-top: 0.6rem; }
table { border-collapse: collapse; font-size: 0.84rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.28rem 0.9rem 0.28rem 0; text-align: left; white-space: nowrap; }
th, td { border-bottom: 1px solid var(--grid); }
thead th { color: var(--muted); font-weight: 400; }
tbody th { font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
details section { border: 0; padding: 0.5rem 0 0; }
"""


class Part:
    """What stands under one heading, gathered in order."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.blocks: list[str] = []

    def html(self) -> str:
        if not self.blocks:
            return ""
        return "\n".join([f'<h2 class="part">{as_text(self.title)}</h2>', *self.blocks])


def bench_page(
    results: Results,
    runs: Runs,
    analysis: Analysis,
    of_groups: list[list[Picture]],
    budgets: list[Picture],
    of_tasks: dict[str, tuple[Table, list[Picture]]],
    inline: dict[str, str],
) -> str:
    """`of_groups`: the figures of each group of the analysis; `of_tasks`: the table and the figures of each task;
    `inline`: what was drawn, by the names of the figures.
    """
    bench = results.bench
    title = f"{bench.name}: {len(bench.methods)} methods on {len(bench.envs)} tasks"
    head = f'<header><h1>{as_text(title)}</h1><p class="facts">{as_text(bench.about)}</p></header>'
    parts = [_what_was_run(results, runs, analysis), _findings(runs, analysis)]
    for found, figures in zip(analysis.groups, of_groups, strict=True):
        if figures:
            framed = [_framed(one, inline) for one in figures]
            parts.append(_group_part(found, framed, len(analysis.groups) > 1))
    tasks = Part("Task by task")
    if analysis.separations:
        tasks.blocks.append(_table(separation_table(analysis)))
    if bench.published:
        tasks.blocks.append(_table(published_table(bench, runs)))
    for name, (table, figures) in of_tasks.items():
        tasks.blocks.append(section(name, table.note, table.html() + "".join(_under(f, inline) for f in figures)))
    over_budgets = Part("Over budgets")
    over_budgets.blocks += [_framed(one, inline) for one in budgets]
    body = [_head(title), head, _tiles(results, analysis), "<main>"]
    body += [part.html() for part in (*parts, over_budgets, tasks)]
    return "\n".join([*body, "</main>", "</body>", "</html>", ""])


def _head(title: str) -> str:
    """That of a run's report, so that all look alike."""
    template = (Path(__file__).parent / "report_template.html").read_text(encoding="utf-8")
    start, _ = template.split("</style>", 1)
    start = Template(start).substitute(title=as_text(title)).replace("<title>", f"{MARK}\n<title>", 1)
    return f"{start}{pictures.css()}{STYLE}</style>\n</head>\n<body>"


def _tiles(results: Results, analysis: Analysis) -> str:
    bench, compared = results.bench, analysis.comparisons
    told = sum(s.verdict == "yes" for s in analysis.separations)
    tiles = [
        tile("Cells finished", f"{bench.finished} of {bench.cells}", f"{len(bench.failed)} failed"),
        tile("Seeds", str(len(bench.seeds)), "of every cell, as planned"),
        tile("Differences", f"{sum(c.difference.resolved for c in compared)} of {len(compared)}", "are resolved"),
    ]
    if analysis.separations:
        tiles.append(
            tile("Tasks and settings", f"{told} of {len(analysis.separations)}", "tell all methods from chance")
        )
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _what_was_run(results: Results, runs: Runs, analysis: Analysis) -> Part:
    bench, part = results.bench, Part("What was run")
    facts = [
        f"{len(bench.methods)} methods: {', '.join(bench.methods)}.",
        f"{len(bench.envs)} tasks: {', '.join(bench.envs)}.",
        f"Seeds {', '.join(map(str, bench.seeds))}. {bench.finished} of {bench.cells} cells finished, "
        f"{len(bench.failed)} failed. Code {bench.code}.",
        "Scores are normalised: 0 is a policy of uniformly random actions, 1 the mean of the agent that learns from "
        "the true reward.",
    ]
    if sources := sorted({arm.source for arm in runs.cells} - {""}):
        facts.append(f"Imported and marked by their file: {', '.join(sources)}.")
    command = f'<pre class="command">{as_text(chr(10).join(map(str, bench.commands)))}</pre>'
    part.blocks.append(f"<section>{_list(facts)}{command}</section>")
    if notes := report_words.warnings(results, runs, analysis):
        part.blocks.append(f'<section class="warnings"><h2>Beware</h2>{_list(notes)}</section>')
    if bench.failed:
        part.blocks.append(_details(f"Failed: {len(bench.failed)}", _list(map(str, bench.failed))))
    versions = OmegaConf.to_yaml(OmegaConf.create(bench.versions))
    part.blocks.append(_details("Versions", f"<pre>{as_text(versions)}</pre>"))
    return part


def _findings(runs: Runs, analysis: Analysis) -> Part:
    part = Part("What it shows")
    how = (
        "IQM of normalised scores with its 95 % bootstrap interval, and from which of those below it a method is "
        "resolved. After Holm: also once corrected for the number of comparisons."
    )
    for found in analysis.groups:
        rows = "".join(f"<li>{_ranked(*line)}</li>" for line in report_words.ranking(found))
        lead = f"<h3>{as_text(report_words.headline(found, runs))}</h3>"
        title = f"{found.group.setting}, on {', '.join(found.group.tasks)}"
        part.blocks.append(section(title, how, f"{lead}<ol>{rows}</ol>"))
    part.blocks.append(section("How much of it may be chance", report_words.multiplicity(analysis)))
    return part


def _ranked(name: str, value: str, below: str) -> str:
    return f'{as_text(name)} <span class="value">{as_text(value)}</span> <span class="below">{as_text(below)}</span>'


def _group_part(found: GroupAnalysis, framed: list[str], several: bool) -> Part:
    tasks = ", ".join(found.group.tasks)
    part = Part(f"All tasks together: {found.group.setting}" if several else "All tasks together")
    part.blocks += framed
    part.blocks.insert(1, _table(ranking_table(found.aggregates, "The same in numbers", f"On {tasks}. {FEW_NOTE}")))
    if found.comparisons:
        table = comparison_table(found.comparisons, "")
        part.blocks.append(_details(f"All {len(found.comparisons)} differences", table.html()))
    return part


def _framed(picture: Picture, inline: dict[str, str]) -> str:
    return section(picture.title, picture.note, inline[picture.name])


def _under(picture: Picture, inline: dict[str, str]) -> str:
    """In the section of a task."""
    return f'<h3>{as_text(picture.title)}</h3><p class="note">{as_text(picture.note)}</p>{inline[picture.name]}'


def _table(table: Table) -> str:
    return section(table.title, table.note, table.html())


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{as_text(line)}</li>' for line in lines)}</ul>"


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{as_text(summary)}</summary>{content}</details>"
