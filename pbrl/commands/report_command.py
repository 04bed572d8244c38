"""`pbrl report`."""

from __future__ import annotations

from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError, one_line
from pbrl.files import no_folder

HELP = """usage: pbrl report DIR [with=FILE.csv,...] [out=FOLDER]

Of a bench: DIR/report/report.html, one page that needs no other file, beside the figures (PNG, SVG) and tables
(Markdown, CSV). It works while the bench runs, on what is finished by then. An earlier report is replaced.
Of a single run: DIR/report.html, made anew, as by pbrl eval DIR report=true.

  with=a.csv,b.csv  results of others, drawn beside ours and marked by the name of their file. Columns: env, method,
                    teacher, budget, seed and the task's score (score, or return or success by which the task goes);
                    the others of results.csv may be missing
  out=FOLDER        another folder for the report: a new one, or that of an earlier report

example: pbrl report results/bench/fast with=published/theirs.csv"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    parsed.check_keys(("with", "out"))
    folder = _folder(parsed.words)
    try:
        if (folder / "bench.json").is_file():
            return _bench(folder, parsed.values)
        return _run(folder, parsed.values)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or one_line(error)}") from error


def _folder(words: list[str]) -> Path:
    if len(words) != 1:
        given = f"{len(words)} given: {' '.join(words)}" if words else "none given"
        raise UserError(f"expected one folder, {given}; {HELP.splitlines()[0]}")
    folder = Path(words[0])
    if not folder.is_dir():
        raise UserError(f"{folder}: {no_folder(folder)}; valid is that of a bench or of a run")
    if not any((folder / name).is_file() for name in ("bench.json", "config.yaml")):
        raise UserError(f"{folder} is neither a bench (it has no bench.json) nor a run (it has no config.yaml)")
    return folder


def _bench(folder: Path, values: dict[str, str]) -> int:
    from pbrl.reports.bench_report import write_bench_report

    imports = [Path(name) for name in values["with"].split(",")] if "with" in values else []
    report = write_bench_report(folder, Path(values.get("out", folder / "report")), imports)
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
