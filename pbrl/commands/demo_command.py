"""`pbrl demo`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pbrl.commands.arguments import Arguments
from pbrl.errors import UserError

if TYPE_CHECKING:
    from pbrl.training.run import Run

HELP = """usage: pbrl demo [--human] [key=value ...] [--config-dir DIR]

The quick start, in about two minutes: a simulated cheetah learns to run from a few hundred comparisons
of short clips, answered by a scripted teacher. No reward function reaches the agent. Ends with a report.

  --human   you are the teacher: prints the address of a page on which to compare clips while the cheetah trains;
            after 30 answers the page shows what the reward has learned

Every key of `pbrl train` can be set: pbrl demo steps=50000 feedback.budget=500 run_dir=runs/my_first"""


def main(args: list[str]) -> int:
    parsed = Arguments(args, HELP, flags=("--human",), options=("--config-dir",))
    if parsed.help:
        print(HELP)
        return 0
    from pbrl.config import compose_config
    from pbrl.errors import typed

    experiment = "demo_human" if "--human" in parsed.flags else "demo"
    config = compose_config([f"experiment={experiment}", *parsed.overrides], parsed.options.get("--config-dir"))

    if config.evaluation.every is None:
        raise UserError("evaluation.every=null: the demo shows what evaluation measures; valid for pbrl train")

    from pbrl.training.interrupt import exit_code
    from pbrl.training.start import start
    from pbrl.use.train import make_report, open_viewer_beside

    run = start(config, ["pbrl", *sys.argv[1:]])
    path = run.folder.path
    person = run.parts.desk.needs_people
    teacher = f"{config.feedback.budget} comparisons by {'you' if person else f'the {config.teacher.name} teacher'}"
    source = teacher if run.method.asks else "its own reward"
    print(f"{config.env.name} from {source}, {config.steps} steps, in {path}", flush=True)
    with open_viewer_beside(run, config):
        finished = run.train()
    if not finished:
        print(f"stopped at step {run.step}; go on with: {typed('train', f'resume={path}')}")
        return exit_code()
    report = make_report(path) if config.report else None
    print(summary(run.last_evaluation, _random_return(run) if report is None else report.random_return))
    print(f"  see            {report.file if report is not None else path}")
    return 0


def summary(evaluation: dict[str, Any], random_return: float) -> str:
    last = evaluation
    success = "" if last["success_rate"] is None else f", success {last['success_rate']:.0%}"
    cost = f"{last['labels']} labels, {last['env_steps']} steps, {last['wall_s']:.0f} s"
    return (
        f"\n  random policy  return {random_return:.1f}"
        f"\n  this agent     return {last['return_mean']:.1f} ± {last['return_std']:.1f}{success}  ({cost})"
    )


def _random_return(run: Run) -> float:
    from pbrl.reports.run_report import random_episodes
    from pbrl.training.rollout import mean_return
    from pbrl.training.saved import load_run

    return mean_return(random_episodes(load_run(run.folder.path)))
