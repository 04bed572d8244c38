"""One page of several runs: a list, what their arms reach, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pbrl.files import replacing
from pbrl.reports.figures import as_svg
from pbrl.reports.pages import render
from pbrl.use.compare import Runs
from pbrl.use.listing import list_runs


def write_comparison(runs: Runs, file: Path, problems: Sequence[str] = ()) -> None:
    """Write the page; problems: lines about runs that could not be read."""

    def curve(env: str, number: int) -> Markup:
        return as_svg(runs.figure(env), f"arms{number}", f"Evaluation return against steps in {env}")

    envs = sorted({arm.env for arm in runs.arms})
    page = render(
        "compared",
        title=f"{len(runs.runs)} runs of {len(runs.arms)} arms",
        facts=" · ".join(envs) or "none was evaluated",
        arms=runs.summary,
        differences=runs.words,
        notes=[*runs.notes, *problems],
        envs=envs,
        curve=curve,
        listed=list_runs(runs.runs),
    )
    with replacing(file) as partial:
        partial.write_text(page, encoding="utf-8")
