"""Checks of a config before a folder is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from pbrl.building import build, explaining, maker_of
from pbrl.checks import between, whole
from pbrl.config import compose_any, options
from pbrl.data.env_of_data import VALID, data_meta
from pbrl.data.offline_sources import PAIRS
from pbrl.errors import UserError, choices
from pbrl.feedback.samplers import CHECKS
from pbrl.feedback.settings import Feedback
from pbrl.methods.method import Method
from pbrl.nets.devices import CPU, chosen_device
from pbrl.nets.late_compiler import import_compiler_late
from pbrl.question_kinds import SegmentPair
from pbrl.rewards.objective import Objective
from pbrl.teachers.make import asks_people, desk_class, teacher_class
from pbrl.training.environments import SIDE_BY_SIDE
from pbrl.training.settings import Checkpoint, Evaluation, Settings

OF_OFFLINE = ("budget", "heldout", "label", "pairs", "shuffled")  # feedback.* of methods without an agent
OF_ONLINE = ("label", "pairs", "shuffled")  # feedback.* that only they have
SECTIONS = {
    "method": "name",
    "fit": "score",
    "feedback": "budget",
    "evaluation": "every",
    "checkpoint": "every",
}  # and a key of each


def check(config: DictConfig) -> Method:
    """Refuse what can be refused before a folder is made; return the method, which has not begun."""
    import_compiler_late()  # a check may build a model with its optimizer
    for name, key in SECTIONS.items():
        if not isinstance(config.get(name, config.method), DictConfig):  # runs of an older pbrl have no fit
            raise UserError(f"{name}={config[name]}: expected settings, as {name}.{key}=...")
    method = build_method(config)
    read_settings(config)
    device_of(config, method)
    (_check_online if method.agents else _check_offline)(config, method)
    method.check_objective(config.feedback.heldout)
    if method.needs_data and not method.agents and config.data is None:
        made = "data=DIR, made by `pbrl collect` or `pbrl labels export`"
        raise UserError(f"method={config.method.name} learns from a data set: {made}")
    return method


def build_method(config: DictConfig) -> Method:
    """Build the method of a config; UserError where a part lacks what makes it."""
    node = config.method
    if "labelling" in config:
        raise UserError("this folder is a labelling project and holds no run; it goes on with: pbrl label out=FOLDER")
    if "_target_" not in node:
        raise UserError(f"method={node.get('name')} is of an older pbrl, or its YAML has no method._target_")
    method: Method = build(node)
    if (fit := config.get("fit")) is not None:
        objective: Objective = build(fit)
        if objective.changed:
            method.learn_by(objective)
    return method


def read_settings(config: DictConfig) -> Settings:
    c = config
    with explaining("evaluation", c.evaluation):
        evaluation = Evaluation(**{"envs": SIDE_BY_SIDE, **_plain(c.evaluation)})
    with explaining("checkpoint", c.checkpoint):
        checkpoint = Checkpoint(**_plain(c.checkpoint))
    with _as_user_errors():
        clips = bool((c.get("tensorboard") or {}).get("clips", False))
        if clips and (evaluation.every is None or evaluation.envs == 1):
            raise UserError("tensorboard.clips=true films evaluations in an environment of its own; leave it out here")
        return Settings(
            c.steps, c.seed, c.threads, c.log_every, evaluation, checkpoint, clips, bool(c.get("report", True))
        )


def read_feedback(config: DictConfig) -> Feedback:
    given = {k: v for k, v in config.feedback.items() if k not in OF_ONLINE}
    with explaining("feedback", given):
        return Feedback(steps=config.steps, **given)


def _plain(section: DictConfig) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(section, resolve=True)
    return {str(name): value for name, value in found.items()}


@contextmanager
def _as_user_errors() -> Iterator[None]:
    """Turn what a constructor says of the keys at the top of a config into a UserError that says the same."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def device_of(config: DictConfig, method: Method) -> torch.device:
    """Return where networks learn; auto is the CPU for methods that learn there alone."""
    device = chosen_device(config.device)
    if device.type == "cpu" or vars(type(method)).get("accelerated", False):
        return device
    if config.device == "auto":
        return CPU
    raise UserError(f"device={config.device}: method={config.method.name} learns on the CPU alone; leave device= out")


def other_env(config: DictConfig) -> str | None:
    """Return the environment that the data says it is of, where the run was given another."""
    own: str | None = data_meta(Path(config.data))["env_name"]
    return own if own not in (None, config.env.name) and has_env(config) else None


def other_data(config: DictConfig) -> str | None:
    """Return where the data set lies that the labels say they are about, where the run was given another."""
    if config.get("labels") is None:
        return None
    about = data_meta(Path(config.labels)).get("data")
    if not isinstance(about, dict) or about.get("sha256") in (None, data_meta(Path(config.data))["sha256"]):
        return None
    return str(about.get("path"))


def has_env(config: DictConfig) -> bool:
    """Return whether the run evaluates anywhere; env=none has nothing to make."""
    return config.env.make is not None


def _check_online(config: DictConfig, method: Method) -> None:
    name = config.method.name
    if config.get("env") is None:
        raise UserError(f"method={name} acts in an environment: give data=FOLDER of one, or env=NAME")
    if config.env.make is None:
        raise UserError(f"env=none: method={name} acts in an environment; give env=NAME")
    for key in (*(f"feedback.{key}" for key in OF_ONLINE), *(() if method.needs_data else ("data", "labels"))):
        if (value := OmegaConf.select(config, key)) is not None:
            raise UserError(f"{key}={value}: method={name} learns online; leave {key}= out")
    wanted = ("agent", "teacher", "queries") if SegmentPair in method.asks or not method.asks else ("agent", "teacher")
    for group in wanted:
        if "_target_" not in config[group]:
            valid = ", ".join(option for option in options(group) if option != "none")
            raise UserError(f"{group}={config[group].get('name')} is for offline methods; valid: {valid}")
    if (kind := maker_of(config.agent, "agent").target.kind) not in method.agents:
        raise UserError(f"method={name} drives {' or '.join(method.agents)}, and agent is {kind}")
    check_asked(config, method)
    _check_sampler(config)
    agent, feedback = maker_of(config.agent, "agent"), read_feedback(config)
    with explaining("agent", agent.settings):
        agent.target.check(**agent.settings)
    with explaining("method", config.method, ValueError):
        method.check(feedback)


def check_asked(config: DictConfig, method: Method) -> None:
    """Check that the teacher can answer what the method asks."""
    name = config.teacher.name
    if not method.asks:
        if asks_people(config.teacher):
            raise UserError(
                f"teacher={name}: method={config.method.name} asks nobody; valid is one that learns a reward"
            )
        return
    kinds = _kinds_of(config.teacher, method)
    if missing := [asked.kind for asked in method.asks if asked not in kinds]:
        answers, asks = ", ".join(kind.kind for kind in kinds), f"method={config.method.name} asks {missing[0]}"
        raise UserError(f"teacher={name} answers questions of kind {answers}, and {asks}; {_valid_teachers(method)}")
    if method.of_videos != desk_class(config.teacher, method.of_videos).of_videos:
        about = "recorded videos" if method.of_videos else "what its agent does"
        raise UserError(
            f"teacher={name} cannot be asked by method={config.method.name}, about {about}; {_valid_teachers(method)}"
        )


def _check_sampler(config: DictConfig) -> None:
    sampler = maker_of(config.queries, "queries") if "_target_" in config.queries else None
    if sampler is not None and (settings_check := CHECKS.get(sampler.target.__name__)) is not None:
        with explaining("queries", sampler.settings):
            settings_check(**sampler.settings)


def _kinds_of(teacher: DictConfig, method: Method) -> tuple[Any, ...]:
    """Return the kinds of questions that it answers to this method, itself or at its desk."""
    return teacher_class(teacher).kinds or desk_class(teacher, method.of_videos).kinds


def _valid_teachers(method: Method) -> str:
    """Name the teachers among our YAMLs that answer its questions."""
    nodes = {name: compose_any([f"teacher={name}"]).teacher for name in options("teacher") if name != "none"}
    able = {name: node for name, node in nodes.items() if set(method.asks) <= set(_kinds_of(node, method))}
    found = [name for name, node in able.items() if desk_class(node, method.of_videos).of_videos == method.of_videos]
    return f"valid are {', '.join(found) or 'none here'}"


def _check_offline(config: DictConfig, method: Method) -> None:
    name = config.method.name
    if config.data is not None and config.get("env") is None:
        raise UserError(f"method={name} has no environment; {VALID}")
    for group, why in (("agent", "learns a policy of its own"), ("teacher", "asks nobody"), ("queries", "asks nobody")):
        if "_target_" in (config[group] or {}):
            raise UserError(f"method={name} {why}: it learns from a data set; leave {group}= out")
    for key, value in config.feedback.items():
        if value is not None and key not in OF_OFFLINE:
            raise UserError(f"feedback.{key}={value}: method={name} asks nobody; it takes {', '.join(OF_OFFLINE)}")
    with explaining("feedback", config.feedback):
        between(0, 0.9, heldout=config.feedback.heldout)
        if config.feedback.budget is not None:
            whole(1, budget=config.feedback.budget)
    with explaining("evaluation", config.evaluation):
        whole(1, window=config.evaluation.window)
    if config.feedback.pairs not in PAIRS:
        raise UserError(f"feedback.pairs={config.feedback.pairs}: {choices(config.feedback.pairs, PAIRS)}")
    if config.feedback.shuffled and not method.reads_labels:
        raise UserError(f"feedback.shuffled=true: method={name} reads no labels; leave it out")
    if (labels := config.get("labels")) is not None and (config.data is None or not method.reads_labels):
        why = "goes with data=DATASET" if config.data is None else f"method={name} reads no labels; leave it out"
        raise UserError(f"labels={labels}: {why}")
