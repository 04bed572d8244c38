"""`pbrl train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.commands.arguments import Arguments
from pbrl.commands.values import whole_number, yes_or_no
from pbrl.errors import UserError, typed
from pbrl.training.interrupt import exit_code

if TYPE_CHECKING:
    from omegaconf import DictConfig

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
    from pbrl.use.train import begin, train_new

    run = begin(config, ["pbrl", *sys.argv[1:]])
    print(f"run: {run.folder.path}")
    return _end(run, config, train_new(run, config))


def resume_run(path: Path, steps: int | None = None, fresh_episode: bool = False) -> int:
    """Go on with a run. steps: of the whole run, where it is to go on for longer than was planned."""
    from pbrl.config import load_config
    from pbrl.use.train import begin_again, train_to_end

    run = begin_again(path, steps, fresh_episode)
    print(f"run: {path}, from step {run.step}")
    config = load_config(path / "config.yaml")
    return _end(run, config, train_to_end(run, config))


def _read_resume(parsed: Arguments) -> tuple[Path, int | None, bool]:
    """Read RUN_DIR, and the few keys that may be given with it."""
    other = [key for key in parsed.values if key not in ("resume", "steps", "fresh_episode")] + parsed.words
    if other:
        valid = "steps=N, which extends it, and fresh_episode=true"
        raise UserError(f"{other[0]}: a run goes on with its own config; beside resume=RUN_DIR there are {valid}")
    steps = whole_number(parsed, "steps", 0, 1) if "steps" in parsed.values else None
    return Path(parsed.values["resume"]), steps, yes_or_no(parsed, "fresh_episode", False)


def _end(run: Run, config: DictConfig, finished: bool) -> int:
    """Say what came out; return the exit code."""
    from pbrl.use.train import make_report

    path = run.folder.path
    if not finished:
        print(f"stopped at step {run.step}; go on with: {typed('train', f'resume={path}')}")
        return exit_code()
    report = make_report(path) if config.get("report", True) else None
    print(f"{_score(run, config)} after {run.labels} labels{_kind(run)}; see {path}")
    if report is not None:
        print(f"report: {report.file}")
    return 0


def _score(run: Run, config: DictConfig) -> str:
    """Return, in words, the return, or without an environment how well held-out labels are foreseen."""
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


def _kind(run: Run) -> str:
    """Return what the labels of a data set follow: a method that learns from one kind may fail on another."""
    data = run.parts.data
    return "" if data is None else f" ({data.label if run.method.reads_labels else 'none read'})"
