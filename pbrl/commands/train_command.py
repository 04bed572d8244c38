"""`pbrl train`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import whole_number, yes_or_no
from pbrl.errors import EnvError, UserError, ViewerError, one_line, typed
from pbrl.storage import storing
from pbrl.training.interrupt import exit_code

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pbrl.reports.run_report import Report
    from pbrl.training.run import Run

HELP = """usage: pbrl train [key=value ...] [--config-dir DIR] [--cfg]
       pbrl train resume=RUN_DIR [steps=N]

  env=, agent=, method=, teacher=, queries=, experiment=   choose a YAML; `pbrl list` shows them
  steps=200000 seed=0 run_dir=PATH feedback.budget=500 ...  set a value
  data=DIR           what an offline method learns from: `pbrl collect` and `pbrl labels export` make such folders;
                     its environment is the run's, unless env= names another, or env=none evaluates nowhere
  resume=RUN_DIR     goes on where a run was stopped or killed, and ends as if it had not been; steps=N extends a run,
                     a finished one too
  init=RUN_DIR       a new run begins with the policy and the reward of another; docs/runs.md
  --cfg              print the resolved config and stop
  --config-dir DIR   also look for YAMLs in DIR/env, DIR/method, ...

example: pbrl train env=walker-walk method=pebble teacher=oracle feedback.budget=500 steps=200000 seed=0"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, flags=("--cfg",), options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    if "resume" in parsed.values:
        return resume_run(*_read_resume(parsed))
    from omegaconf import OmegaConf

    from pbrl.config import compose_config

    config = compose_config(parsed.overrides, parsed.options.get("--config-dir"), also=("resume",))
    if "--cfg" in parsed.flags:
        print(OmegaConf.to_yaml(config), end="")
        return 0
    return start_run(config)


def start_run(config: DictConfig) -> int:
    from pbrl.training.start import start

    run = start(config, ["pbrl", *sys.argv[1:]])
    print(f"run: {run.folder.path}")
    try:
        return _train(run, config)
    except (EnvError, ViewerError):
        if not run.step:  # as with other mistakes, a corrected command can use the name
            run.log.close()
            run.folder.discard()
        raise


def resume_run(path: Path, steps: int | None = None, fresh_episode: bool = False) -> int:
    """steps: of the whole run, where it is to go on for longer than was planned."""
    from pbrl.config import load_config
    from pbrl.training.start import resume

    config = load_config(path / "config.yaml")
    if steps is not None:
        config.steps = steps
    with storing(path, _room(path)):
        run = resume(path, config, fresh_episode)
    print(f"run: {path}, from step {run.step}")
    return _train(run, config)


def _read_resume(parsed: Arguments) -> tuple[Path, int | None, bool]:
    """RUN_DIR, and the few keys that may be given with it."""
    other = [key for key in parsed.values if key not in ("resume", "steps", "fresh_episode")] + parsed.words
    if other:
        valid = "steps=N, which extends it, and fresh_episode=true"
        raise UserError(f"{other[0]}: a run goes on with its own config; beside resume=RUN_DIR there are {valid}")
    steps = whole_number(parsed, "steps", 0, 1) if "steps" in parsed.values else None
    return Path(parsed.values["resume"]), steps, yes_or_no(parsed, "fresh_episode", False)


def _train(run: Run, config: DictConfig) -> int:
    path = run.folder.path
    with storing(path, _room(path)), viewer_beside(run, config):
        try:
            finished = run.train()
        except EnvError as error:
            raise EnvError(f"{error} (the run was at step {run.step}){_way_on(run)}") from error.__cause__
        finally:
            run.folder.unlock()  # whoever has this process may go on with the run
    if not finished:
        print(f"stopped at step {run.step}; go on with: {typed('train', f'resume={path}')}")
        return exit_code()
    report = make_report(path) if config.get("report", True) else None
    print(f"{_score(run, config)} after {run.labels} labels{_kind(run)}; see {path}")
    if report is not None:
        print(f"report: {report.file}")
    return 0


def _room(path: Path) -> str:
    """How to go on with a run whose disk was full."""
    return f"nothing is damaged; once there is room, go on with: {typed('train', f'resume={path}')}"


def _way_on(run: Run) -> str:
    """How to resume a run whose environment failed."""
    if not run.step:
        return ""
    last = run.checkpoints.last()
    where = "its start" if last is None else f"step {int(last.name)}"
    return f"; once that is mended, go on from {where} with: {typed('train', f'resume={run.folder.path}')}"


def _score(run: Run, config: DictConfig) -> str:
    """The return; without an environment, how well held-out labels are foreseen."""
    evaluation = run.last_evaluation
    if config.env.make is None:
        from pbrl.training.saved_run import without_env

        return f"env=none: {without_env(run.folder)}"
    if not evaluation:
        return "not evaluated (evaluation.every=null)"
    score = f"return {evaluation['return_mean']:.1f} ± {evaluation['return_std']:.1f}"
    if evaluation["success_rate"] is None:
        return score
    return f"{score}, success {evaluation['success_rate']:.0%} ({evaluation['success_at_end']:.0%} at the end)"


@contextmanager
def viewer_beside(run: Run, config: DictConfig) -> Iterator[None]:
    """Where people are the teacher, a viewer that is open as long as the training."""
    if not run.parts.desk.needs_people or not config.viewer.start:
        yield
        return
    from pbrl.viewer.serve import start_viewer, stop_viewer

    viewer = start_viewer(run.folder.path)
    try:
        yield
    finally:
        if viewer is not None:
            stop_viewer(viewer)


def _kind(run: Run) -> str:
    """What the labels of a data set follow: a method that learns from one kind may fail on another."""
    data = run.parts.data
    return "" if data is None else f" ({data.label if run.method.reads_labels else 'none read'})"


def make_report(path: Path) -> Report | None:
    """Writes report.html. The run is safe by now, so what goes wrong here is said in one line and ends nothing."""
    from pbrl.reports.run_report import write_report
    from pbrl.training.saved import load_run

    try:
        report = write_report(load_run(path))
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        again = f"try again with: {typed('eval', str(path), 'report=true')}"
        print(f"pbrl: no report: {kind}{one_line(error)}; {again}", file=sys.stderr)
        return None
    for note in report.notes:
        print(f"pbrl: the report has {note}", file=sys.stderr)
    return report
