"""`pbrl bench`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import number, required, whole_number, yes_or_no
from pbrl.errors import UserError, typed
from pbrl.files import no_folder
from pbrl.storage import storing

HELP = """usage: pbrl bench grid=NAME out=FOLDER [key=value ...] [--config-dir DIR]

Runs methods x environments x teachers x budgets x seeds, as many at once as the machine has cores, and writes
results.csv and curves.csv. The same command goes on where it was stopped or killed; a cell that is done is never run
again, unless its config or the code has changed. Then: pbrl report FOLDER

  grid=              a suite (pbrl list benches) or a YAML file of your own; docs/bench.md says what is in it
  out=               a new folder, or that of a bench to go on with
  only=              beginnings of names of cells, with commas between, as pendulum/pebble,pendulum/true_reward
  dry_run=true       lists the cells and how far each is, and stops
  probe_s=4          seconds that a run of each method is watched, to foresee how long all will take; 0: not at all
  retries=2          how often a run that failed or was killed is tried again
  any_code=true      what other code has finished counts as done
  executor=local     local, stack (SAC's updates of all runs made at once), ray or slurm; docs/speed.md has the keys of
                     stack, docs/bench-clusters.md those of the latter two
  workers=           runs at once of executor=local and stack; default: one per core
  --config-dir DIR   also look for YAMLs in DIR/env, DIR/method, DIR/bench, ...

example: pbrl bench grid=smoke out=runs/smoke"""

KEYS = ("grid", "out", "only", "dry_run", "probe_s", "retries", "any_code", "executor")


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    if parsed.words:
        raise UserError(f"unknown word {parsed.words[0]!r}: expected key=value")
    from pbrl.bench.bench_file import check_name
    from pbrl.bench.executors.choose import make_executor
    from pbrl.bench.plan import Composed, describe, make_plan
    from pbrl.bench.read_grid import load_grid

    extra_dir = _folder(parsed.options.get("--config-dir"))
    grid = load_grid(required(parsed, "grid", "a suite, as grid=smoke, or a YAML file"), extra_dir)
    out = Path(required(parsed, "out", "a folder, as out=runs/bench")).absolute()
    only = tuple(text for text in parsed.values.get("only", "").split(",") if text)
    chosen = grid.choose(only)
    any_code = yes_or_no(parsed, "any_code", False)
    probe_s, retries = number(parsed, "probe_s", 4, 0, 600), whole_number(parsed, "retries", 2, 0)
    own = {key: value for key, value in parsed.values.items() if key not in KEYS}
    executor = make_executor(parsed.values.get("executor", "local"), own, retries)
    if yes_or_no(parsed, "dry_run", False):
        check_name(out, grid.name)
        from pbrl.bench.runner import check_cells

        names, composed = {cell.name for cell in chosen}, Composed(extra_dir)
        planned = make_plan(grid, chosen, out, composed, any_code)
        wanted = [p for p in planned if p.cell.name in names]
        check_cells(planned, [p for p in wanted if p.state != "done"], composed, executor)
        print(*(f"{p.state:<6} {p.cell.name}" for p in wanted), *describe(grid, wanted), sep="\n")
        return 0
    from pbrl.bench.live import LiveTable, Spoken
    from pbrl.bench.runner import Options, run_bench

    options = Options(
        grid=grid,
        cells=chosen,
        out=out,
        extra_dir=extra_dir,
        any_code=any_code,
        probe_s=probe_s,
        command=shlex.join(["pbrl", "bench", *args]),
    )
    with storing(out, "once there is room, the same command goes on"):
        missing = run_bench(options, executor, LiveTable() if sys.stderr.isatty() else Spoken())
    done = f"{len(chosen) - missing} of {len(chosen)} cells finished"
    print(f"{done}; see {out / 'results.csv'}, and: {typed('report', str(out))}")
    return 0 if missing == 0 else 1


def _folder(text: str | None) -> Path | None:
    if text is not None and not Path(text).is_dir():
        raise UserError(f"--config-dir {text}: {no_folder(Path(text))}")
    return None if text is None else Path(text).resolve()
