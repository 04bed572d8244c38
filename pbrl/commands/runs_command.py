"""`pbrl runs`."""

from __future__ import annotations

import csv
from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import new_file
from pbrl.errors import UserError, one_line

HELP = """usage: pbrl runs [FOLDER ...] [env=NAME] [method=NAME] [status=finished] [out=FILE.csv]

Lists the runs in these folders, at any depth (default: runs), oldest first, and compares them: runs whose configs
differ by the seed alone are one arm, whose mean return has Student's 95 % interval; two arms of one environment are
told apart by a permutation test, corrected for the number of comparisons. `pbrl report FOLDER ...` makes a page of it.

  env= method= status=   only such runs
  out=FILE.csv           also writes the list as a table

example: pbrl runs runs/halfcheetah method=pebble"""

WIDEST = 10_000  # characters


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(("env", "method", "status", "out"))
    file = new_file(parsed, "out", Path()) if "out" in parsed.values else None
    from rich.console import Console

    from pbrl.use.compare import Runs
    from pbrl.use.listing import list_runs, readable
    from pbrl.use.run import run_folders

    found, problems = readable(run_folders([Path(word) for word in parsed.words or ["runs"]]))
    runs = [run for run in found if all(_value(run, k) == v for k, v in parsed.values.items() if k != "out")]
    if found and not runs:
        wanted = " ".join(f"{k}={v}" for k, v in parsed.values.items() if k != "out")
        raise UserError(f"{wanted}: none of the {len(found)} runs is such a one")
    listed, compared = list_runs(runs), Runs(runs)
    for table in (listed, compared.summary) if len(runs) > 1 and compared.arms else (listed,):
        drawn = table.in_terminal()
        Console(width=Console(width=WIDEST).measure(drawn).maximum).print(drawn)  # whole, also into a file
    for line in [*compared.words, *compared.notes, *(f"left out: {problem}" for problem in problems)]:
        print(line)
    if file is not None:
        try:
            with file.open("x", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([listed.header, *listed.rows])
        except OSError as error:
            raise UserError(f"out={file}: {error.strerror or one_line(error)}") from error
        print(f"written to {file}")
    return 0


def _value(run: object, key: str) -> object:
    """Return what a run has of what it can be chosen by."""
    from pbrl.use.run import Run

    assert isinstance(run, Run)
    return run.status if key == "status" else run.config[key].get("name")
