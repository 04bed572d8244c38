"""One page of several runs: a list, what their arms reach, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pbrl.files import replacing
from pbrl.reports.figures import as_svg
from pbrl.reports.pages import Section, render
from pbrl.use.compare import Runs
from pbrl.use.listing import list_runs

HOW = (
    "Runs whose configs differ by the seed alone are one arm. Mean return of their last evaluations, with Student's "
    "95 % interval over runs."
)
LINES = "Thin lines are runs, thick ones the mean of an arm where all its runs have an evaluation."


def write_comparison(runs: Runs, file: Path, problems: Sequence[str] = ()) -> None:
    """Writes the page; problems: lines about runs that could not be read."""
    envs = sorted({arm.env for arm in runs.arms})
    curves = [
        Section(f"Return over steps: {env}" if len(envs) > 1 else "Return over steps", LINES, _curve(runs, env, i))
        for i, env in enumerate(envs)
    ]
    page = render(
        "compared",
        title=f"{len(runs.runs)} runs of {len(runs.arms)} arms",
        facts=" · ".join(envs) or "none was evaluated",
        arms=runs.summary,
        how=HOW,
        differences=runs.words,
        notes=[*runs.notes, *problems],
        curves=curves,
        listed=list_runs(runs.runs),
    )
    with replacing(file) as partial:
        partial.write_text(page, encoding="utf-8")


def _curve(runs: Runs, env: str, number: int) -> Markup:
    return as_svg(runs.figure(env), f"arms{number}", f"Evaluation return against steps in {env}")
