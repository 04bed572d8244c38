"""The page of a bench."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from omegaconf import OmegaConf

from pbrl.bench.records import Results
from pbrl.reports import bench_words as report_words
from pbrl.reports.bench_analysis import Analysis, GroupAnalysis
from pbrl.reports.bench_arms import Runs
from pbrl.reports.bench_tables import FEW_NOTE, comparison_table, published_table, ranking_table, separation_table
from pbrl.reports.pages import Tile, render
from pbrl.reports.pictures import Picture
from pbrl.reports.tables import Table

MARK = '<meta name="generator" content="pbrl report">'  # whose page may be replaced
HOW_TO_READ = (
    "IQM of normalised scores with its 95 % bootstrap interval, and from which of those below it a method is "
    "resolved. After Holm: also once corrected for the number of comparisons."
)


def bench_page(
    results: Results,
    runs: Runs,
    analysis: Analysis,
    of_groups: list[list[Picture]],
    budgets: list[Picture],
    of_tasks: dict[str, tuple[Table, list[Picture]]],
    inline: Mapping[str, str],
) -> str:
    """`of_groups`: the figures of each group of the analysis; `of_tasks`: the table and the figures of each task;
    `inline`: what was drawn, by the names of the figures.
    """
    bench = results.bench
    return render(
        "bench",
        mark=Markup(MARK),
        title=f"{bench.name}: {len(bench.methods)} methods on {len(bench.envs)} tasks",
        facts=bench.about,
        tiles=_tiles(results, analysis),
        what_was_run=_what_was_run(results, runs),
        commands="\n".join(map(str, bench.commands)),
        warnings=report_words.warnings(results, runs, analysis),
        failed=bench.failed,
        versions=OmegaConf.to_yaml(OmegaConf.create(bench.versions)),
        how_to_read=HOW_TO_READ,
        groups=[_group(*one, runs) for one in zip(analysis.groups, of_groups, strict=True)],
        chance=report_words.multiplicity(analysis),
        budgets=budgets,
        task_tables=overview_tables(results, runs, analysis),
        tasks=list(of_tasks.values()),
        inline={name: Markup(figure) for name, figure in inline.items()},
    )


def overview_tables(results: Results, runs: Runs, analysis: Analysis) -> list[Table]:
    """Return what is said of the tasks together: which tell methods apart, and what papers reached on them."""
    tables = [separation_table(analysis)] if analysis.separations else []
    return [*tables, published_table(results.bench, runs)] if results.bench.published else tables


def _tiles(results: Results, analysis: Analysis) -> list[Tile]:
    bench, compared = results.bench, analysis.comparisons
    told = sum(s.verdict == "yes" for s in analysis.separations)
    tiles = [
        Tile("Cells finished", f"{bench.finished} of {bench.cells}", f"{len(bench.failed)} failed"),
        Tile("Seeds", str(len(bench.seeds)), "of every cell, as planned"),
        Tile("Differences", f"{sum(c.difference.resolved for c in compared)} of {len(compared)}", "are resolved"),
    ]
    if analysis.separations:
        share = f"{told} of {len(analysis.separations)}"
        tiles.append(Tile("Tasks and settings", share, "tell all methods from chance"))
    return tiles


def _what_was_run(results: Results, runs: Runs) -> list[str]:
    bench = results.bench
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
    return facts


def _group(found: GroupAnalysis, pictures: list[Picture], runs: Runs) -> dict[str, Any]:
    tasks = ", ".join(found.group.tasks)
    return {
        "title": f"{found.group.setting}, on {tasks}",
        "setting": found.group.setting,
        "headline": report_words.headline(found, runs),
        "ranking": report_words.ranking(found),
        "pictures": pictures,
        "table": ranking_table(found.aggregates, "The same in numbers", f"On {tasks}. {FEW_NOTE}"),
        "differences": comparison_table(found.comparisons, ""),
    }
