"""`report.html`: one run on one page that needs nothing else, neither files beside it nor a network."""

from __future__ import annotations

import base64
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from pbrl.data.episodes import Episode
from pbrl.errors import UserError, one_line
from pbrl.feedback.quality import correlation
from pbrl.files import replacing
from pbrl.reading import read_object, read_text
from pbrl.reports import figures
from pbrl.reports.pages import render
from pbrl.reports.tables import number
from pbrl.reports.video import film
from pbrl.training.log import EVALUATIONS, read_evaluations, read_table
from pbrl.training.parts import stream_seed
from pbrl.training.rollout import mean_return, random_policy, steps_of
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_run import SavedRun, read_summary, without_env

FILE_NAME = "report.html"


@dataclass(frozen=True)
class Report:
    file: Path
    random_return: float
    notes: list[str]  # what is missing in it, and why


@dataclass
class Findings:
    """The content of the page."""

    evaluations: figures.Rows  # of evaluations.csv
    sessions: figures.Rows  # the rows of progress.csv that follow a feedback session
    random_return: float
    policy: figures.Steps | None  # None: no learned reward to compare
    random: figures.Steps | None
    clip: bytes | None
    notes: list[str] = field(default_factory=list)

    @property
    def correlation(self) -> float:
        """Return the correlation of learned and true reward over the steps of both policies; NaN if there is none."""
        if self.policy is None or self.random is None:
            return math.nan
        return correlation(*(np.concatenate(pair) for pair in zip(self.policy, self.random, strict=True)))


def write_report(saved: SavedRun) -> Report:
    """Measure what the run itself did not, and write the page; whoever trains is not touched."""
    findings = _measure(saved)
    page = _page(saved, findings)
    file = saved.path / FILE_NAME
    with replacing(file) as partial:
        partial.write_text(page, encoding="utf-8")
    return Report(file, findings.random_return, findings.notes)


def random_episodes(saved: SavedRun) -> list[Episode]:
    """Uniform actions in the episodes that the run was evaluated on, so that the two returns compare."""
    policy = random_policy(saved.action_size, _seed(saved))
    return saved.roll_out(policy, saved.config.evaluation.episodes, _seed(saved))


def _seed(saved: SavedRun) -> int:
    """Return the seed of the run's own evaluations."""
    return stream_seed(saved.config.seed, "evaluation")


NUMBERS = ("return_mean", "return_std")  # of every evaluation
SHOWN = (*NUMBERS, "success_rate", "labels", "wall_s")


def _measure(saved: SavedRun) -> Findings:
    evaluations = read_evaluations(saved.path / "evaluations.csv")
    sessions = [r for r in read_table(saved.path / "progress.csv") if r.get("reward/true_accuracy") is not None]
    if saved.config.evaluation.every is None:
        off = "evaluation is off (evaluation.every=null), and a report runs nothing either"
        off = off if saved.has_env else "the run has no environment (env=none)"
        return Findings(evaluations, sessions, math.nan, policy=None, random=None, clip=None, notes=[f"no clip: {off}"])
    if not evaluations:
        raise UserError(f"{saved.path} has no evaluation yet, so there is nothing to report")
    if missing := {_axis(saved), *SHOWN} - evaluations[-1].keys():
        raise UserError(f"{saved.path / 'evaluations.csv'} has no column {min(missing)}")
    if unknown := [key for key in (_axis(saved), *NUMBERS) if any(row[key] is None for row in evaluations)]:
        raise UserError(f"{saved.path / 'evaluations.csv'} has rows without {unknown[0]}")
    random = random_episodes(saved)
    findings = Findings(evaluations, sessions, mean_return(random), policy=None, random=None, clip=None)
    if saved.reward is not None:
        policy = saved.roll_out(saved.act, saved.config.evaluation.episodes, _seed(saved))
        findings.policy, findings.random = (_rewards(saved, e) for e in (policy, random))
    file = saved.path / "videos" / "report.mp4"
    try:
        film(file, saved.make_env, saved.act, seed=_seed(saved))
        findings.clip = file.read_bytes()
    except Exception as error:  # simulators, drivers and encoders fail in their own ways; figures are still worth it
        findings.notes.append(f"no clip: {one_line(error)}")
    return findings


def _rewards(saved: SavedRun, episodes: list[Episode]) -> figures.Steps:
    assert saved.reward is not None
    obs, actions, true_reward = steps_of(episodes)
    return figures.Steps(true_reward, saved.reward(obs, actions))


def _page(saved: SavedRun, found: Findings) -> str:
    config, summary = saved.config, read_summary(RunDir(saved.path)) or {}
    last, axis = _last(saved, found, summary), _axis(saved)
    learns = bool(summary.get("labels")) if saved.offline else saved.learns_from_answers
    env, labels = str(config.env.name) if saved.has_env else config.method.name, int(last["labels"] or 0)
    score = f"return {number(last['return_mean'])}" if found.evaluations else "not evaluated"
    score = score if saved.has_env else without_env(RunDir(saved.path))
    without = "without labels" if saved.offline else "on the true reward"
    steps = "gradient steps" if saved.offline else "environment steps"
    agent = "offline" if saved.offline else type(saved.agent).__name__.removesuffix("Agent")
    teacher = f"{config.teacher.name} teacher" if learns else "no teacher"
    who = [agent, f"{summary.get('label')} labels" if saved.offline else teacher]
    facts = [config.method.name, *who, f"seed {config.seed}", f"{last[axis]:,.0f} {steps}"]
    if summary.get("status") != "finished":
        facts.append("not finished")
    return render(
        "run",
        title=f"{env}, {config.method.name}: {score}",
        headline=f"{env}: {score} " + (f"after {labels} comparisons" if learns else without),
        facts=" · ".join([*facts, _duration(last["wall_s"] or 0)]),
        found=found,
        last=last,
        summary=summary,
        offline=saved.offline,
        learns=learns,
        has_reward=saved.reward is not None,
        correlation=None if math.isnan(found.correlation) else found.correlation,
        budget=config.feedback.budget,
        axis=axis,
        steps=steps,
        clip=None if found.clip is None else base64.b64encode(found.clip).decode(),
        curve=lambda x, label: figures.learning_curve(found.evaluations, x, label, found.random_return),
        scatter=figures.reward_scatter,
        accuracy_curve=figures.accuracy_curve,
        command=_read(saved.path / "command.txt"),
        settings=_read(saved.path / "config.yaml"),
        versions=_versions(saved.path / "versions.json"),
    )


def _last(saved: SavedRun, found: Findings, summary: dict[str, Any]) -> dict[str, Any]:
    """The last evaluation; without any, how far the run came."""
    if found.evaluations:
        return found.evaluations[-1]
    counts = {name: summary.get(name) or 0 for name in ("labels", "wall_s")}
    return dict.fromkeys(EVALUATIONS) | counts | {_axis(saved): saved.step}


def _axis(saved: SavedRun) -> str:
    """The column of evaluations.csv that counts the run's progress."""
    return "updates" if saved.offline else "env_steps"


def _versions(file: Path) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(read_object(file))) if os.path.lexists(file) else "unknown"


def _read(file: Path) -> str:
    return read_text(file).strip() if os.path.lexists(file) else "unknown"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
