"""The report of a bench: a page, figures, and tables for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from markupsafe import Markup

from pbrl.bench.records import Results, read_bench
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.reports.bench_analysis import Analysis, analyse
from pbrl.reports.bench_arms import Arm, Runs, Setting
from pbrl.reports.bench_curves import Courses
from pbrl.reports.bench_figures import Places, group_pictures
from pbrl.reports.bench_page import MARK, bench_page, headline, multiplicity, overview_tables, warnings
from pbrl.reports.bench_reached import reached_table
from pbrl.reports.bench_report_curves import budget_pictures, efficiency_pictures, task_pictures
from pbrl.reports.bench_tables import (
    FEW_NOTE,
    comparisons_csv,
    per_task_csv,
    ranking_table,
    summary_csv,
    task_table,
)
from pbrl.reports.figures import Picture
from pbrl.reports.tables import Table

PAGE = "report.html"
FIGURES = "figures"


@dataclass(frozen=True)
class BenchReport:
    page: Path
    headlines: list[str]  # a line for each group of arms that was compared
    figures: int


def write_bench_report(folder: Path, out: Path, imports: Sequence[Path], reach: float = 0.9) -> BenchReport:
    """Write report.html, tables.md, CSVs and figures to `out`, where only an earlier report may be.

    reach: of the true reward's score, 0 being random actions; told is how soon runs get there.
    UserError for files that cannot be read, a bench without a finished run, and an `out` with other things in it.
    """
    _require_own(out)
    results = read_bench(folder, imports)
    runs = Runs(results)
    if not runs.cells:
        raise UserError(f"{folder} has no finished run with a score yet, so there is nothing to report")
    analysis, courses = analyse(results, runs), Courses(results.evaluations, runs)
    places = Places(analysis.groups, runs)
    of_groups = [
        [] if found.group.subset else group_pictures(found, runs, places) + efficiency_pictures(found, places, courses)
        for found in analysis.groups
    ]
    budgets, of_tasks = budget_pictures(analysis.groups, places), _tasks(runs, analysis, places, courses)
    inline = _draw(out / FIGURES, [*chain(*of_groups), *budgets, *chain(*(found for _, found in of_tasks.values()))])
    overview = [*overview_tables(results, runs, analysis), *filter(None, [reached_table(runs, courses, reach)])]
    texts = {
        "tables.md": _markdown(results, runs, analysis, [*overview, *(table for table, _ in of_tasks.values())]),
        "summary.csv": summary_csv(analysis),
        "comparisons.csv": comparisons_csv(analysis),
        "per_task.csv": per_task_csv(runs),
        PAGE: bench_page(results, runs, analysis, of_groups, budgets, overview, of_tasks, inline),
    }
    for name, text in texts.items():  # the page last: a folder that has it has everything else
        with replacing(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    headlines = [f"{found.group.setting}: {headline(found, runs)}" for found in analysis.groups]
    return BenchReport(out / PAGE, headlines, len(inline))


def _tasks(runs: Runs, analysis: Analysis, places: Places, courses: Courses) -> dict[str, tuple[Table, list[Picture]]]:
    """Arms of a task in the order of their ranking, those in none last."""
    rankings: dict[Setting, list[Arm]] = {}
    for setting in runs.settings():
        ranked = [a.arm for found in analysis.groups if found.group.setting == setting for a in found.aggregates]
        rankings[setting] = list(dict.fromkeys([*ranked, *runs.arms(setting)]))
    found_tasks = {}
    for task in runs.envs:
        arms = [arm for arm in dict.fromkeys(chain(*rankings.values())) if task in runs.cells[arm]]
        if arms:
            table = task_table(task, arms, runs, len(rankings) > 1)
            found_tasks[task] = (table, task_pictures(task, rankings, runs, places, courses))
    return found_tasks


def _markdown(results: Results, runs: Runs, analysis: Analysis, tables: Sequence[Table]) -> str:
    bench = results.bench
    commands, seeds = "\n".join(map(str, bench.commands)), ", ".join(map(str, bench.seeds))
    parts = [
        f"# {bench.name}\n\n{bench.about}\n\n```sh\n{commands}\n```\n",
        f"{bench.finished} of {bench.cells} cells finished, seeds {seeds}, code {bench.code}.\n",
        "".join(f"- {note}\n" for note in warnings(results, runs, analysis)),
        multiplicity(analysis) + "\n",
    ]
    for found in analysis.groups:
        note = f"On {', '.join(found.group.tasks)}. {headline(found, runs)} {FEW_NOTE}"
        parts.append(ranking_table(found.aggregates, str(found.group.setting), note).markdown())
    return "\n".join([*filter(None, parts), *(table.markdown() for table in tables)])


def _require_own(out: Path) -> None:
    page = out / PAGE
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")):
        raise UserError(f"{out} holds something else than a bench's report; valid is a new folder or that of a report")


def _draw(folder: Path, pictures: Sequence[Picture]) -> dict[str, Markup]:
    """Write the figures and remove those of an earlier report; return them by name, for the page."""
    folder.mkdir(parents=True, exist_ok=True)
    inline = {picture.name: picture.write(folder) for picture in pictures}
    for old in folder.iterdir():
        if old.suffix in (".png", ".svg") and old.stem not in inline:
            old.unlink()
    return inline
