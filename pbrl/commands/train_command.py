"""`pbrl train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError, one_line

if TYPE_CHECKING:
    from pbrl.training.report import Report

HELP = """usage: pbrl train [key=value ...] [--config-dir DIR] [--cfg]
       pbrl train resume=RUN_DIR

  env=, agent=, method=, teacher=, queries=, experiment=   choose a YAML; `pbrl list` shows them
  steps=200000 seed=0 run_dir=PATH feedback.budget=500 ...  set a value
  --cfg              print the resolved config and stop
  --config-dir DIR   also look for YAMLs in DIR/env, DIR/method, ...

example: pbrl train env=walker-walk method=pebble teacher=oracle feedback.budget=500 steps=200000 seed=0"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, flags=("--cfg",), options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    if (folder := parsed.values.get("resume")) is not None:
        if len(parsed.values) > 1 or parsed.words:
            raise UserError("resume=RUN_DIR takes no other keys: a run goes on with its own config")
        return resume_run(Path(folder))
    from omegaconf import OmegaConf

    from pbrl.config import compose_config

    config = compose_config(parsed.overrides, parsed.options.get("--config-dir"))
    if "--cfg" in parsed.flags:
        print(OmegaConf.to_yaml(config), end="")
        return 0
    return start_run(config)


def start_run(config) -> int:  # type: ignore[no-untyped-def]
    from pbrl.training.online import start

    run = start(config, ["pbrl", *sys.argv[1:]])
    print(f"run: {run.run.path}")
    return _train(run)


def resume_run(path: Path) -> int:
    from pbrl.config import load_config
    from pbrl.training.online import resume

    config = load_config(path / "config.yaml")
    if (path / "summary.json").exists() and _status(path) == "finished":
        raise UserError(f"resume={path}: this run has finished; see {path / 'summary.json'}")
    run = resume(path, config)
    print(f"run: {path}, from step {run.parts.agent.env_steps}")
    return _train(run)


def _train(run) -> int:  # type: ignore[no-untyped-def]
    finished = run.train()
    path = run.run.path
    if not finished:
        print(f"stopped at step {run.parts.agent.env_steps}; go on with: pbrl train resume={path}")
        return 130
    last = run.last_evaluation
    print(f"return {last['return_mean']:.1f} ± {last['return_std']:.1f} after {last['labels']} labels; see {path}")
    if run.config.get("report", True) and (report := make_report(path)) is not None:
        print(f"report: {report.file}")
    return 0


def make_report(path: Path) -> Report | None:
    """Writes report.html. The run is safe by now, so what goes wrong here is said in one line and ends nothing."""
    from pbrl.training.report import write_report
    from pbrl.training.saved import load_run

    try:
        report = write_report(load_run(path))
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        again = f"try again with: pbrl eval {path} report=true"
        print(f"pbrl: no report: {kind}{one_line(error)}; {again}", file=sys.stderr)
        return None
    for note in report.notes:
        print(f"pbrl: the report has {note}", file=sys.stderr)
    return report


def _status(path: Path) -> str | None:
    import json

    try:
        return json.loads((path / "summary.json").read_text())["status"]
    except (ValueError, KeyError):
        return None
