"""The page of a bench, and what it says in sentences: who is where, what is resolved, and what to be careful with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from omegaconf import OmegaConf

from pbrl.bench.records import Results
from pbrl.reports.bench_analysis import ALPHA, DRAWS, Analysis, Comparison, GroupAnalysis
from pbrl.reports.bench_arms import ENOUGH_SEEDS, Runs, version_notes
from pbrl.reports.bench_tables import (
    FEW_NOTE,
    comparison_table,
    published_table,
    ranking_table,
    separation_table,
    with_interval,
)
from pbrl.reports.figures import Picture
from pbrl.reports.pages import render
from pbrl.reports.tables import Table

MARK = '<meta name="generator" content="pbrl report">'  # whose page may be replaced


def bench_page(
    results: Results,
    runs: Runs,
    analysis: Analysis,
    of_groups: list[list[Picture]],
    budgets: list[Picture],
    overview: list[Table],
    of_tasks: dict[str, tuple[Table, list[Picture]]],
    inline: Mapping[str, str],
) -> str:
    """Render the page of a bench.

    of_groups: the figures of each group of the analysis. overview: tables of all tasks.
    of_tasks: the table and the figures of each task. inline: what was drawn, by the names of the figures.
    """
    bench = results.bench
    return render(
        "bench",
        mark=Markup(MARK),
        title=f"{bench.name}: {len(bench.methods)} methods on {len(bench.envs)} tasks",
        facts=bench.about,
        bench=bench,
        analysis=analysis,
        sources=sorted({arm.source for arm in runs.cells} - {""}),
        warnings=warnings(results, runs, analysis),
        versions=OmegaConf.to_yaml(OmegaConf.create(bench.versions)),
        groups=[_group(*one, runs) for one in zip(analysis.groups, of_groups, strict=True)],
        chance=multiplicity(analysis),
        budgets=budgets,
        task_tables=overview,
        tasks=list(of_tasks.values()),
        inline={name: Markup(figure) for name, figure in inline.items()},
    )


def overview_tables(results: Results, runs: Runs, analysis: Analysis) -> list[Table]:
    """Return what is said of the tasks together: which tell methods apart, and what papers reached on them."""
    tables = [separation_table(analysis)] if analysis.separations else []
    return [*tables, published_table(results.bench, runs)] if results.bench.published else tables


def _group(found: GroupAnalysis, pictures: list[Picture], runs: Runs) -> dict[str, Any]:
    tasks = ", ".join(found.group.tasks)
    return {
        "title": f"{found.group.setting}, on {tasks}",
        "setting": found.group.setting,
        "headline": headline(found, runs),
        "ranking": ranking(found),
        "pictures": pictures,
        "table": ranking_table(found.aggregates, "The same in numbers", f"On {tasks}. {FEW_NOTE}"),
        "differences": comparison_table(found.comparisons, ""),
    }


def headline(found: GroupAnalysis, runs: Runs) -> str:
    """The best of those that learn from labels, and who is not resolved from it."""
    learned = [a for a in found.aggregates if a.arm.budget and not a.arm.is_control]
    if not learned:
        return "Nothing here learns from labels."
    best = learned[0]
    rivals = [c.second for c in found.comparisons if c.first == best.arm and not c.difference.resolved]
    others = [arm.name for arm in rivals if arm.budget and not arm.is_control]
    text = f"Of what learns from labels, {best.arm.name} reaches most: {with_interval(best.values['IQM'])}."
    if len(learned) == 1:
        return text
    return f"{text} " + (
        f"Not resolved from it: {', '.join(others)}." if others else "Everything else is resolved below it."
    )


def ranking(found: GroupAnalysis) -> list[tuple[str, str, str]]:
    """Name, value, and from whom of those below it an arm is not resolved; best first."""
    lines = []
    for a in found.aggregates:
        below = [c for c in found.comparisons if c.first == a.arm]
        mark = f" (fewer than {ENOUGH_SEEDS} seeds)" if a.few else ""
        lines.append((a.arm.name, with_interval(a.values["IQM"]) + mark, _below(below)))
    return lines


def _below(comparisons: list[Comparison]) -> str:
    if not comparisons:
        return ""
    open_ = [c.second.name for c in comparisons if not c.difference.resolved]
    fragile = [c.second.name for c in comparisons if c.difference.resolved and c.corrected >= ALPHA]
    if len(open_) == len(comparisons):
        return "not resolved from " + ("any below it" if len(open_) > 1 else open_[0])
    text = "above all below it" if not open_ else f"above the rest, not resolved from {', '.join(open_)}"
    return text + (f"; not after Holm: {', '.join(fragile)}" if fragile else "")


def multiplicity(analysis: Analysis) -> str:
    """Return how many comparisons were made, and how many of them are to be expected to be wrong."""
    total = len(analysis.comparisons)
    if not total:
        return "No two methods share a task on which scores are normalised, so nothing is compared."
    resolved = sum(c.difference.resolved for c in analysis.comparisons)
    kept = sum(c.difference.resolved and c.corrected < ALPHA for c in analysis.comparisons)
    chance = max(1, round(ALPHA * total))
    text = (
        f"{total} differences of IQMs were looked at; {resolved} are resolved: their 95 % bootstrap interval leaves "
        f"out 0. If no two methods differed, about {chance} of {total} would look resolved all the same, and more with "
        f"few seeds, whose intervals are too narrow. {kept} stand after Holm's correction of permutation p-values over "
        f"all {total}."
    )
    if total >= ALPHA * DRAWS:
        text += f" So many cannot pass it: {DRAWS:,} permutations give no p-value below {1 / (DRAWS + 1):.1g}."
    return text


def warnings(results: Results, runs: Runs, analysis: Analysis) -> list[str]:
    """Return what a reader must know before the numbers."""
    bench, notes = results.bench, list(results.notes)
    if bench.finished < bench.cells:
        notes.insert(0, f"{bench.finished} of {bench.cells} cells are finished; the rest is in no number on this page.")
    notes += [
        f"{name} has no scale: " + _why(env.low, env.high, env.high_method) + " It is in no aggregate."
        for name, env in bench.envs.items()
        if env.scale is None
    ]
    few = [
        f"{arm.full_name} on {task} ({len(cells)})"
        for arm, tasks in runs.cells.items()
        for task, cells in tasks.items()
        if len(cells) < ENOUGH_SEEDS
    ]
    if few:
        shown = ", ".join(few[:6]) + (f" and {len(few) - 6} more" if len(few) > 6 else "")
        notes.append(f"Fewer than {ENOUGH_SEEDS} seeds: {shown}. Such intervals are too narrow to go by.")
    notes += [
        f"{', '.join(_left_out(one, analysis))} lack some tasks and are compared on {', '.join(one.group.tasks)} only "
        f"({one.group.setting})."
        for one in analysis.groups
        if one.group.subset
    ]
    return notes + version_notes(results)


def _left_out(found: GroupAnalysis, analysis: Analysis) -> list[str]:
    earlier = {
        arm
        for one in analysis.groups[: analysis.groups.index(found)]
        if one.group.setting == found.group.setting
        for arm in one.group.arms
    }
    return [arm.name for arm in found.group.arms if arm not in earlier]


def _why(low: float | None, high: float | None, method: str) -> str:
    if low is None:
        return "the score of random actions is unknown."
    return f"{method} has not finished a run." if high is None else f"{method} is not above random actions."
