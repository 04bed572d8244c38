"""From a config to the parts of an offline run, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from pbrl.data.env_of_data import VALID, data_meta
from pbrl.data.offline import OfflineData
from pbrl.data.offline_sources import PAIRS, load_offline
from pbrl.errors import UserError, choices
from pbrl.methods.learner import Learner
from pbrl.training.check import check_ranges

OF_OFFLINE = ("budget", "heldout", "label", "pairs", "shuffled")  # feedback.*


def check(config: DictConfig) -> None:
    """Ranges that no constructor checks, and choices that would be silently ignored."""
    name = config.method.name
    if config.data is None:
        raise UserError(
            f"method={name} learns from a data set: data=DIR, made by `pbrl collect` or `pbrl labels export`"
        )
    if config.get("env") is None:
        raise UserError(f"method={name} has no environment; {VALID}")
    at_least = {"steps": 1, "seed": 0, "threads": 1, "evaluation.episodes": 1, "evaluation.envs": 1}
    at_least |= {"evaluation.window": 1, "log_every": 1, "checkpoint.every": 1, "checkpoint.keep": 1}
    check_ranges(config, at_least, {"feedback.budget": 1, "evaluation.every": 1}, {"feedback.heldout": (0, 0.9)})
    for group, why in (("agent", "learns a policy of its own"), ("teacher", "asks nobody"), ("queries", "asks nobody")):
        if "_target_" in (config[group] or {}):
            raise UserError(f"method={name} {why}: it learns from a data set; leave {group}= out")
    for key, value in config.feedback.items():
        if value is not None and key not in OF_OFFLINE:
            raise UserError(f"feedback.{key}={value}: method={name} asks nobody; it takes {', '.join(OF_OFFLINE)}")
    if config.device != "cpu":
        raise UserError(f"device={config.device}: valid is cpu so far")
    if config.feedback.pairs not in PAIRS:
        raise UserError(f"feedback.pairs={config.feedback.pairs}: {choices(config.feedback.pairs, PAIRS)}")
    if config.feedback.shuffled and not config.method.get("reads_labels", True):
        raise UserError(f"feedback.shuffled=true: method={name} reads no labels; leave it out")


def load_data(config: DictConfig, rng: torch.Generator) -> OfflineData:
    c = config.feedback
    data = load_offline(
        Path(config.data),
        label=c.label,
        budget=c.budget,
        pairs=c.pairs,
        heldout=c.heldout,
        rng=rng,
        reads_labels=config.method.get("reads_labels", True),
    )
    return data.shuffled(rng) if c.shuffled else data


def check_spaces(env: Any, learner: Learner, config: DictConfig) -> None:
    """The environment is one that the data could be of, whichever it says."""
    obs, action = env.observation_space.shape, env.action_space.shape
    if tuple(obs) != tuple(learner.obs_shape) or tuple(action) != (learner.action_size,):
        found = f"observations {tuple(learner.obs_shape)} and actions {(learner.action_size,)}"
        said, own = f"env={config.env.name} {tuple(obs)} and {tuple(action)}", other_env(config)
        hint = f"; leave env= out for {own}, which the data is of" if own else ""
        raise UserError(f"the data has {found}, {said}{hint}")


def other_env(config: DictConfig) -> str | None:
    """The environment that the data says it is of, where the run was given another."""
    own: str | None = data_meta(Path(config.data))["env_name"]
    return own if own not in (None, config.env.name) and has_env(config) else None


def has_env(config: DictConfig) -> bool:
    """Whether the run evaluates anywhere; env=none has nothing to make."""
    return config.env.make is not None
