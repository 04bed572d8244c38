"""`pbrl report`."""

from __future__ import annotations

import os
from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import new_file, number
from pbrl.errors import UserError, one_line
from pbrl.files import no_folder

HELP = """usage: pbrl report DIR [with=FILE.csv,...] [reach=0.9] [out=FOLDER]
       pbrl report DIR DIR ... [out=FILE.html]

Of a bench: DIR/report/report.html, one page that needs no other file, beside the figures (PNG, SVG) and tables
(Markdown, CSV). It works while the bench runs, on what is finished by then. An earlier report is replaced.
Of a single run: DIR/report.html, made anew, as by pbrl eval DIR report=true.
Of several runs, or of folders with runs in them: comparison.html here, a page with their list, their curves and what is
known of their differences, as pbrl runs says it.

  with=a.csv,b.csv  results of others, drawn beside ours and marked by the name of their file. Columns: env, method,
                    teacher, budget, seed and the task's score (score, or return or success by which the task goes);
                    the others of results.csv may be missing
  reach=0.9         the share of the true reward's score, 0 being random actions, of which the page says how many labels
                    and steps it took
  out=              of a bench: another folder, a new one or that of an earlier report; of several runs: a new file

example: pbrl report results/bench/fast with=published/theirs.csv"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(("with", "reach", "out"))
    folders = _folders(parsed.words)
    try:
        if len(folders) == 1 and os.path.lexists(folders[0] / "bench.json"):
            return _bench(folders[0], parsed)
        if len(folders) == 1 and os.path.lexists(folders[0] / "config.yaml"):
            return _run(folders[0], parsed.values)
        return _several(folders, parsed)
    except OSError as error:
        raise UserError(f"{error.filename or folders[0]}: {error.strerror or one_line(error)}") from error


def _folders(words: list[str]) -> list[Path]:
    if not words:
        raise UserError(f"expected a folder, none given; {HELP.splitlines()[0]}")
    for folder in map(Path, words):
        if not folder.is_dir():
            raise UserError(f"{folder}: {no_folder(folder)}; valid is that of a bench, of a run or of several runs")
        if len(words) > 1 and (folder / "bench.json").is_file():
            raise UserError(f"{folder} is a bench, which has a report of its own; valid beside others are runs")
    return list(map(Path, words))


def _several(folders: list[Path], parsed: Arguments) -> int:
    """Write a page that compares runs."""
    for key in ("with", "reach"):
        if key in parsed.values:
            raise UserError(f"{key}= is for benches; leave it out")
    from pbrl.reports.compared_page import write_comparison
    from pbrl.use.compare import Runs
    from pbrl.use.listing import readable
    from pbrl.use.run import run_folders

    file = new_file(parsed, "out", Path("comparison.html"))
    runs, problems = readable(run_folders(folders))
    compared = Runs(runs)
    write_comparison(compared, file, problems)
    print("\n".join([*compared.words, *compared.notes, *problems, f"report: {file}"]))
    return 0


def _bench(folder: Path, parsed: Arguments) -> int:
    from pbrl.reports.bench_report import write_bench_report

    values, reach = parsed.values, number(parsed, "reach", 0.9, 0.01, 10)
    imports = [Path(name) for name in values["with"].split(",")] if "with" in values else []
    report = write_bench_report(folder, Path(values.get("out", folder / "report")), imports, reach)
    print(
        "\n".join([*report.headlines, f"report: {report.page}, with {report.figures} figures and the tables beside it"])
    )
    return 0


def _run(folder: Path, values: dict[str, str]) -> int:
    if values:
        raise UserError(f"{next(iter(values))}= is for benches; {folder} is a run")
    from pbrl.reports.run_report import write_report
    from pbrl.training.saved import load_run

    report = write_report(load_run(folder))
    print("\n".join([f"report: {report.file}", *report.notes]))
    return 0
