"""`pbrl tune`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import required, whole_number
from pbrl.errors import UserError, choices, typed

if TYPE_CHECKING:
    from pbrl.bench.jobs import Executor
    from pbrl.bench.tune import Plan
    from pbrl.bench.tune_files import TuningFiles
    from pbrl.bench.tune_study import Study, Trial

HELP = """usage: pbrl tune space=NAME env=NAME out=FOLDER [key=value ...] [--config-dir DIR]

Tunes the few knobs of a method that matter, on seeds that no result reports. Each trial trains with one setting of the
knobs on all seeds; trial 0 is the defaults, the next ten are random, the others are proposed by TPE from what came of
those before. The same command goes on where it was stopped or killed; with larger trials= it adds some.

  space=           configs/tune/NAME.yaml, or the path of such a file: the method, its knobs and their ranges
  env=, steps=, feedback.budget=, data=, ...   as for pbrl train; a knob that is given stays at that value
  trials=20        of them all, with the defaults and with those of earlier times
  seeds=100,101    of each trial; 100 to 199, since results are reported on seeds below 100
  objective=       final_return, final_success, or area_return, area_success: the mean height of the evaluation curve
                   (default: what the space says)
  workers=         runs at the same time (default: as many as there are cores); one makes the proposals reproducible,
                   since with more they depend on which run ends first
  confirm=0        afterwards so many runs of the best trial and of the defaults on fresh seeds from 200, with intervals
  sampler_seed=0   of the proposals
  retries=1        further attempts of a run that crashed

FOLDER gets trials.csv, experiment/best.yaml (pbrl train --config-dir FOLDER experiment=best), confirm.csv, the runs in
trials/NUMBER/sSEED and confirm/NUMBER/sSEED, and journal.log, which Optuna can read.

example: pbrl tune space=pebble env=pendulum steps=5000 feedback.first=1000 feedback.every=1000 feedback.budget=100 \\
             trials=20 out=tuned/pendulum"""

KEYS = ("space", "out", "trials", "seeds", "objective", "workers", "confirm", "sampler_seed", "retries")
SET_HERE = {"seed": "seeds=", "run_dir": "out=", "resume": "out="}


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    name = required(parsed, "space", "what to tune, as space=pebble")
    out = Path(required(parsed, "out", "a folder, as out=tuned/pendulum"))
    trials, confirmations = whole_number(parsed, "trials", 20, 1), whole_number(parsed, "confirm", 0, 0)
    plan = read_plan(parsed, name)
    executor = _executor(parsed)

    from pbrl.bench.tune_files import TuningFiles
    from pbrl.bench.tune_study import Study

    files = TuningFiles(out, plan, shlex.join(["pbrl", "tune", *args]))
    study = Study(files.journal, plan.space.knobs, plan.defaults, plan.sampler_seed)
    print(f"{trials} trials of method={plan.config.method.name}, env={plan.config.env.name}: {plan.objective}")
    for knob in plan.space.knobs:
        print(f"  {knob.key}: {knob}")
    if not tune(plan, study, files, executor, trials):
        return _stopped(out)
    report(plan, study.trials(), files)
    return 0 if not confirmations else _confirm(plan, study.trials(), files, _executor(parsed), confirmations)


def read_plan(parsed: Arguments, name: str) -> Plan:
    """Return what the command line asks for; nothing has been written yet when it is refused."""
    from pbrl.bench.tune import Plan
    from pbrl.bench.tune_space import OBJECTIVES, defaults_of, load_space
    from pbrl.teachers.make import asks_people

    extra = parsed.options.get("--config-dir")
    space = load_space(name, extra)
    objective = parsed.values.get("objective", space.objective)
    if objective not in OBJECTIVES:
        raise UserError(f"objective={objective}: {choices(objective, OBJECTIVES)}")
    seeds, sampler_seed = read_seeds(parsed.values.get("seeds", "100,101")), whole_number(parsed, "sampler_seed", 0, 0)
    for key, instead in SET_HERE.items():
        if key in parsed.values:
            raise UserError(f"{key}= is not for pbrl tune, which has {instead}")
    given = [text for text in parsed.overrides if text.split("=")[0] not in KEYS]
    given = given if "method" in parsed.values else [f"method={space.method}", *given]
    space = space.without([text.split("=")[0].lstrip("+") for text in given])
    config, defaults = defaults_of(space, given, extra)
    if config.get("env") is None or config.env.make is None:
        raise UserError("pbrl tune compares returns, which take an environment: give env=NAME, or data=FOLDER of one")
    if asks_people(config.teacher):
        raise UserError(
            f"teacher={config.teacher.name}: nobody can answer for every trial; valid are the scripted teachers"
        )
    data = parsed.values.get("data")
    return Plan(
        space=space,
        objective=objective,
        overrides=tuple(text for text in given if not text.startswith("data=")),
        config=config,
        defaults=defaults,
        seeds=seeds,
        sampler_seed=sampler_seed,
        data=None if data is None else Path(data),
        config_dir=None if extra is None else Path(extra),
    )


def read_seeds(text: str) -> tuple[int, ...]:
    from pbrl.bench.tune import REPORTED, TUNING

    words = text.split(",")
    if not all(word.isascii() and word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise UserError(f"seeds={text}: expected different whole numbers with commas between, such as 100,101")
    seeds = tuple(int(word) for word in words)
    valid = f"valid are {TUNING[0]} to {TUNING[-1]}"
    for seed in seeds:
        if seed in REPORTED:
            why = "a result on a seed that chose its settings is flattered"
            raise UserError(f"seeds={text}: results report seeds {REPORTED[0]} to {REPORTED[-1]}, and {why}; {valid}")
        if seed not in TUNING:
            raise UserError(f"seeds={text}: seed {seed} is kept for confirm=; {valid}")
    return seeds


def tune(plan: Plan, study: Study, files: TuningFiles, executor: Executor, trials: int) -> bool:
    """Run the trials and write a line about each that ends; return False if Ctrl-C ended it early."""
    from rich.console import Console
    from rich.progress import Progress

    from pbrl.bench.tune import Tuning
    from pbrl.training.interrupt import StopOnInterrupt

    with Progress(console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as bar:
        done = sum(trial.state != "unfinished" for trial in study.trials())
        task = bar.add_task("trials", total=max(trials, done), completed=done)

        def ended(trial: Trial) -> None:
            files.write(study.trials())
            bar.advance(task)
            print(describe(plan, trial), flush=True)

        tuning = Tuning(plan, study, files.folder, executor, ended)
        with StopOnInterrupt(tuning.stop):
            complete = tuning.run(trials)
    files.write(study.trials())
    return complete


def describe(plan: Plan, trial: Trial) -> str:
    from pbrl.bench.tune_files import overrides_text

    result = f"failed, {trial.reason}"
    if trial.score is not None:
        each = ", ".join(f"{score:.4g}" for score in (trial.scores or {}).values())
        result = f"{trial.score:.4g} ({each}) in {trial.wall_s:.0f} s"
    return f"trial {trial.number}: {result}; {overrides_text(plan, trial)}"


def report(plan: Plan, trials: Sequence[Trial], files: TuningFiles) -> None:
    """Report what came of the trials; raise if all failed."""
    from pbrl.bench.tune_files import overrides_text
    from pbrl.bench.tune_study import best_of

    best, default = best_of(trials), trials[0]
    if best is None:
        raise UserError(f"all {len(trials)} trials failed, the first by {default.reason}; see {files.folder}/trials/0")
    seeds = ", ".join(map(str, plan.seeds))
    beaten = "failed" if default.score is None else f"{default.score:.4g}"
    failed = sum(trial.state == "failed" for trial in trials)
    print()
    if best is default:
        print(f"the defaults, {beaten} on seeds {seeds}, are the best of {len(trials)} trials ({failed} failed)")
        return
    print(f"the best of {len(trials)} trials ({failed} failed) is trial {best.number}:")
    print(f"  {plan.objective} {best.score:.4g}, the defaults {beaten}; means of seeds {seeds}")
    print(f"  {overrides_text(plan, best)}")
    print("The highest of many noisy scores is optimistic: confirm=5 compares the two on fresh seeds.")
    data = [] if plan.data is None else [f"data={plan.data}"]
    again = typed("train", "--config-dir", str(files.folder), "experiment=best", *data, "seed=0")
    print(f"{files.experiment}: {again}")


def _confirm(plan: Plan, trials: Sequence[Trial], files: TuningFiles, executor: Executor, seeds: int) -> int:
    from pbrl.bench.tune import Confirming
    from pbrl.bench.tune_confirm import describe_confirmation
    from pbrl.training.interrupt import StopOnInterrupt

    found = Confirming(plan, trials, files.folder, executor)
    if len(found.trials) == 1:
        print("confirm: there is nothing to compare the defaults with")
        return 0
    with StopOnInterrupt(found.stop):
        complete = found.run(seeds)
    files.write_confirmation(found)
    if not complete:
        return _stopped(files.folder)
    print("\n".join(["", *describe_confirmation(plan, found)]))
    return 1 if found.failed else 0


def _executor(parsed: Arguments) -> Executor:
    from pbrl.bench.executors.choose import make_executor

    options = {key: parsed.values[key] for key in ("workers",) if key in parsed.values}
    return make_executor("local", options, whole_number(parsed, "retries", 1, 0))


def _stopped(out: Path) -> int:
    from pbrl.training.interrupt import exit_code

    print(f"stopped; the same command goes on: see {out}")
    return exit_code()
