"""One's own runs as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pbrl.errors import UserError, one_line
from pbrl.reports.tables import BLANK, Table, number
from pbrl.use.run import Run

HEADER = ["run", "env", "method", "teacher", "seed", "steps", "labels", "return", "success", "status"]


def readable(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs in these folders that can be read, and a line about each that cannot."""
    tried = [_read(folder) for folder in folders]
    return [one for one in tried if isinstance(one, Run)], [one for one in tried if isinstance(one, str)]


def list_runs(runs: Sequence[Run]) -> Table:
    """Return a row for each run: what it was asked, how far it came, and the return of its last evaluation."""
    return Table("Runs", "", HEADER, [_row(run) for run in runs])


def _read(folder: Path) -> Run | str:
    """Read the run, or say what is wrong with it."""
    try:
        run = Run(folder)
        _row(run)
    except UserError as error:
        return one_line(error)
    return run


def _row(run: Run) -> list[str]:
    config, rows, blank = run.config, run.evaluations, BLANK[1]
    last = rows[-1] if rows else {}
    steps, success = last.get(run.step_name), last.get("success_rate")
    teacher = (config.get("teacher") or {}).get("name") or blank
    return [
        str(run.path),
        str(config["env"].get("name") or blank),
        str(config["method"].get("name") or blank),
        str(teacher),
        str(config.get("seed", blank)),
        f"{steps or 0:.0f} of {config['steps']}",
        blank if (labels := last.get("labels")) is None else f"{labels:.0f}",
        number(last.get("return_mean")),
        blank if success is None else f"{success:.0%}",
        run.status,
    ]
