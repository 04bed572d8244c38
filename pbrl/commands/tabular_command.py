"""`pbrl tabular`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.commands.arguments import Arguments
from pbrl.commands.tabular_beds import BED_LINES, check_words, run_bed
from pbrl.commands.values import whole_number
from pbrl.errors import UserError, one_line

if TYPE_CHECKING:
    from pbrl.tabular.study import StudySettings
    from pbrl.tabular.study_files import StudyFiles

HELP = f"""usage: pbrl tabular [mdps=100] [sizes=3,10,30,100,300,1000,3000] [seed=0] [workers=1] [out=NAME.csv]

The test bed for preference models: labels that follow partial return or regret exactly, rewards learned from them under
either model, and how near to optimal the policies of these rewards are in worlds where everything is known. Writes one
row for each fit to NAME.csv, a table to NAME.md and a figure to NAME.png.

       pbrl tabular BED [seeds=5] [seed=0] [out=NAME.csv]

A small test bed of one system beside its controls, in seconds to minutes, with a row for each seed, case and arm:
{BED_LINES}

  mdps=           random worlds; with board=, data sets on that board
  sizes=          numbers of comparisons
  labels=         noiseless, stochastic, or both (default: noiseless,stochastic)
  board=          a JSON file or the name of a board that comes with pbrl, instead of random worlds
  seed=           of everything that is drawn
  iterations=     of Adam in each fit (default: 5000)
  learning_rate=  of Adam (default: 0.5)
  workers=        processes; the numbers do not depend on it
  out=            default: tabular.csv, tabular_2.csv, ...; nothing is overwritten
  resume=NAME.csv goes on with a study that was stopped, with its settings; workers= may be another

example: pbrl tabular mdps=10 sizes=10,100,1000 labels=noiseless"""
KEYS = ("mdps", "sizes", "labels", "board", "seed", "iterations", "learning_rate", "workers", "out", "resume")
SIZES = "3,10,30,100,300,1000,3000"


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP)
    if parsed.help:
        print(HELP)
        return 0
    if parsed.words:
        check_words(parsed)
        run_bed(parsed, args, _new_study(parsed, f"{parsed.words[0]}.csv"))
        return 0
    parsed.check_keys(KEYS)
    workers = whole_number(parsed, "workers", 1, 1)

    from pbrl.tabular.study_files import StudyFiles

    try:
        if "resume" in parsed.values:
            for key in parsed.values:
                if key not in ("resume", "workers"):
                    raise UserError(f"{key}= is settled by resume=; valid beside it is workers")
            files = StudyFiles(Path(parsed.values["resume"]))
            settings, command = files.read_settings()
        else:
            settings, command = read_settings(parsed), shlex.join(["pbrl", "tabular", *args])
            files = StudyFiles(_new_study(parsed))
            files.create(settings, command)
        _run(settings, command, files, workers)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror or one_line(error)}") from error
    return 0


def read_settings(parsed: Arguments) -> StudySettings:
    """The checked settings of a new study."""
    from pbrl.tabular.reward_fit import PUBLISHED
    from pbrl.tabular.study import NOISE, StudySettings, check_board

    labels = tuple(parsed.values.get("labels", ",".join(NOISE)).split(","))
    if not set(labels) <= set(NOISE) or len(set(labels)) < len(labels):
        raise UserError(f"labels={','.join(labels)}: valid are {', '.join(NOISE)} or both")
    board = parsed.values.get("board")
    if board is not None:
        check_board(board)  # before any file is made
    return StudySettings(
        mdps=whole_number(parsed, "mdps", 100, 1),
        sizes=_sizes(parsed.values.get("sizes", SIZES)),
        labels=labels,
        seed=whole_number(parsed, "seed", 0, 0),
        board=board,
        iterations=whole_number(parsed, "iterations", PUBLISHED.iterations, 1),
        learning_rate=_learning_rate(parsed.values.get("learning_rate", str(PUBLISHED.learning_rate))),
    )


def _run(settings: StudySettings, command: str, files: StudyFiles, workers: int) -> None:
    from pbrl.tabular.study import study
    from pbrl.tabular.study_report import draw, report

    rows = files.read_rows(settings)
    files.write(rows)  # without what a killed study left of a world
    if workers > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # of each worker: more would only wait for each other
    done = len(rows) // settings.rows_per_mdp
    for of_mdp in study(settings, done, workers):
        files.append(of_mdp)
        rows += of_mdp
        done += 1
        print(f"\r{done} of {settings.mdps}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    text = report(rows, settings, command)
    files.path.with_suffix(".md").write_text(text, encoding="utf-8")
    draw(rows, files.path.with_suffix(".png"))
    print(text)
    print(f"written to {', '.join(str(files.path.with_suffix(s)) for s in ('.csv', '.md', '.png'))}")


def _new_study(parsed: Arguments, default: str = "tabular.csv") -> Path:
    """The CSV to write: the one that was asked for, if it and its companions are free, else the next free default."""
    from pbrl.tabular.study_files import SUFFIXES

    def taken(path: Path) -> Path | None:
        beside = (path.with_suffix(suffix) for suffix in SUFFIXES)
        return next((p for p in beside if p.exists() or p.is_symlink()), None)

    text = parsed.values.get("out")
    if text is None:
        number, path = 1, Path(default)
        while taken(path):
            number += 1
            path = Path(default).with_stem(f"{Path(default).stem}_{number}")
        return path
    path = Path(text)
    if path.suffix != ".csv":
        raise UserError(f"out={text}: expected a name that ends with .csv")
    if not path.parent.is_dir():
        raise UserError(f"out={text}: there is no folder {path.parent}")
    if (there := taken(path)) is not None:
        raise UserError(f"out={text}: {there} exists and is not overwritten; choose another, or resume={text}")
    return path


def _sizes(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isascii() and word.isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"sizes={text}: expected whole numbers of at least 1, with commas between them")
    sizes = tuple(int(word) for word in words)
    if list(sizes) != sorted(set(sizes)):
        raise UserError(f"sizes={text}: expected each number once, in rising order")
    return sizes


def _learning_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 100:
        raise UserError(f"learning_rate={text}: expected a number above 0 and up to 100")
    return rate
