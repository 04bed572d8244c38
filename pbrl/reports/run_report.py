"""`report.html`: one run on one page that needs nothing else, neither files beside it nor a network."""

from __future__ import annotations

import base64
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from omegaconf import OmegaConf

from pbrl.data.episodes import Episode
from pbrl.errors import UserError, one_line
from pbrl.feedback.quality import correlation
from pbrl.files import replacing
from pbrl.reading import read_object, read_text
from pbrl.reports import figures
from pbrl.reports.pages import Section, Tile, render
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
    """What the page shows."""

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
    """Measures what the run itself did not, and writes the page; whoever trains is not touched."""
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
    try:
        findings.clip = _clip(saved)
    except (
        Exception
    ) as error:  # simulators, drivers and encoders fail in their own ways; the figures are still worth having
        findings.notes.append(f"no clip: {one_line(error)}")
    return findings


def _rewards(saved: SavedRun, episodes: list[Episode]) -> figures.Steps:
    assert saved.reward is not None
    obs, actions, true_reward = steps_of(episodes)
    return figures.Steps(true_reward, saved.reward(obs, actions))


def _clip(saved: SavedRun) -> bytes:
    file = saved.path / "videos" / "report.mp4"
    film(file, saved.make_env, saved.act, seed=_seed(saved))
    return file.read_bytes()


def _page(saved: SavedRun, found: Findings) -> str:
    config, last = saved.config, _last(saved, found)
    env, labels = str(config.env.name) if saved.has_env else config.method.name, int(last["labels"] or 0)
    score = f"return {number(last['return_mean'])}" if found.evaluations else "not evaluated"
    score = score if saved.has_env else without_env(RunDir(saved.path))
    without = "without labels" if saved.offline else "on the true reward"
    learned = f"after {labels} comparisons" if _learns_from_labels(saved) else without
    facts = [config.method.name, *_who(saved), f"seed {config.seed}", f"{last[_axis(saved)]:,.0f} {_steps(saved)}"]
    if (read_summary(RunDir(saved.path)) or {}).get("status") != "finished":
        facts.append("not finished")
    return render(
        "run",
        title=f"{env}, {config.method.name}: {score}",
        headline=f"{env}: {score} {learned}",
        facts=" · ".join([*facts, _duration(last["wall_s"] or 0)]),
        tiles=_tiles(saved, found),
        policy=_policy(found),
        sections=_sections(saved, found),
        command=_read(saved.path / "command.txt"),
        settings=_read(saved.path / "config.yaml"),
        versions=_versions(saved.path / "versions.json"),
    )


def _tiles(saved: SavedRun, found: Findings) -> list[Tile]:
    last, tiles = _last(saved, found), []
    if found.evaluations:
        tiles += [
            Tile("Final return", number(last["return_mean"]), f"± {number(last['return_std'])} over episodes"),
            Tile("Random policy", number(found.random_return), "return, same starts"),
        ]
    if last["success_rate"] is not None:
        tiles.append(Tile("Success", f"{last['success_rate']:.0%}", "of the last evaluation's episodes"))
    if not _learns_from_labels(saved):
        return tiles
    tiles.append(Tile("Labels", f"{last['labels']:.0f}", _budget(saved)))
    if not math.isnan(found.correlation):
        tiles.append(Tile("Learned reward", f"r = {found.correlation:.2f}", "correlation with the true one"))
    summary = read_summary(RunDir(saved.path)) or {}
    if saved.offline:
        for key, split in (("reward_accuracy", "test"), ("validation_accuracy", "validation")):
            if summary.get(key) is not None:
                tiles.append(Tile("Accuracy", f"{summary[key]:.0%}", f"on the labels held out for {split}"))
        if (ceiling := summary.get("model_ceiling")) is not None:
            tiles.append(Tile("Model ceiling", f"{ceiling:.0%}", "of those labels agree with an expert's likelihood"))
    elif (accuracy := summary.get("reward_accuracy")) is not None:
        tiles.append(Tile("Reward accuracy", f"{accuracy:.0%}", "of random pairs ordered right"))
    return tiles


def _last(saved: SavedRun, found: Findings) -> dict[str, Any]:
    """The last evaluation; without any, how far the run came."""
    if found.evaluations:
        return found.evaluations[-1]
    summary = read_summary(RunDir(saved.path)) or {}
    counts = {name: summary.get(name) or 0 for name in ("labels", "wall_s")}
    return dict.fromkeys(EVALUATIONS) | counts | {_axis(saved): saved.step}


def _policy(found: Findings) -> Section:
    if found.clip is None:
        return Section("The policy", "; ".join(found.notes))
    video = Markup('<video src="data:video/mp4;base64,{}" controls loop muted autoplay playsinline></video>')
    video = video.format(base64.b64encode(found.clip).decode())
    return Section("The policy", "The start of its evaluation episodes, in real time.", video)


def _sections(saved: SavedRun, found: Findings) -> list[Section]:
    parts = _return_over(found, _axis(saved), _steps(saved), "The task's own return, in separate episodes.")
    if (why := (read_summary(RunDir(saved.path)) or {}).get("nothing_learned")) is not None:
        parts.append(Section("The answers", f"Nothing could be learned from them: {why}."))
    if saved.offline:
        return [*parts, *_reward_section(found)]
    if not saved.learns_from_answers:
        nothing = "None: this run learns from the true reward, without labels."
        return [*parts, Section("Learned reward", nothing)]
    parts += _return_over(found, "labels", "labels", "Labels are comparisons of two segments that were answered.")
    if saved.reward is None:
        return [*parts, Section("Learned reward", "None: no comparison was answered.")]
    parts += _reward_section(found)
    if found.sessions:
        text = "After each feedback session. The dotted line is chance."
        parts.append(Section("Accuracy of the learned reward", text, figures.accuracy_curve(found.sessions)))
    return parts


def _return_over(found: Findings, column: str, unit: str, text: str) -> list[Section]:
    if not found.evaluations:
        return []
    curve = figures.learning_curve(found.evaluations, column, unit, found.random_return)
    return [Section(f"Return over {unit}", text, curve)]


def _reward_section(found: Findings) -> list[Section]:
    if found.policy is None or found.random is None:
        return []
    where = (
        f"Correlation {found.correlation:.2f} over fresh steps: {len(found.policy.true):,} of the final policy and "
        f"{len(found.random.true):,} of random actions. For evaluation only, nothing learned from them."
    )
    return [Section("Learned and true reward", where, figures.reward_scatter(found.policy, found.random))]


def _learns_from_labels(saved: SavedRun) -> bool:
    if saved.offline:
        return bool((read_summary(RunDir(saved.path)) or {}).get("labels"))
    return saved.learns_from_answers


def _who(saved: SavedRun) -> list[str]:
    """Who acts and who answers."""
    config = saved.config
    if saved.offline:
        label = (read_summary(RunDir(saved.path)) or {}).get("label")
        return ["offline", f"{label} labels"]
    agent = type(saved.agent).__name__.removesuffix("Agent")
    return [agent, f"{config.teacher.name} teacher" if _learns_from_labels(saved) else "no teacher"]


def _budget(saved: SavedRun) -> str:
    budget = saved.config.feedback.budget
    return f"of a budget of {budget}" if budget is not None else "all of the data set"


def _axis(saved: SavedRun) -> str:
    """The column of evaluations.csv that counts the run's progress."""
    return "updates" if saved.offline else "env_steps"


def _steps(saved: SavedRun) -> str:
    return "gradient steps" if saved.offline else "environment steps"


def _versions(file: Path) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(read_object(file))) if os.path.lexists(file) else "unknown"


def _read(file: Path) -> str:
    return read_text(file).strip() if os.path.lexists(file) else "unknown"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
