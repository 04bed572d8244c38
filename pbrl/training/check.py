"""What of a config is refused before anything is built: ranges that no constructor checks, and what cannot go along."""

from __future__ import annotations

from collections.abc import Mapping

from omegaconf import DictConfig, ListConfig, OmegaConf

from pbrl.config import options
from pbrl.errors import UserError, choices
from pbrl.feedback.schedule import SCHEDULES, session_size

AT_LEAST = {  # whole numbers
    "steps": 1,
    "seed": 0,
    "threads": 1,
    "feedback.budget": 0,
    "feedback.per_session": 1,
    "feedback.first": 1,
    "feedback.every": 1,
    "feedback.segment_length": 1,
    "feedback.pool_episodes": 1,
    "feedback.candidates": 1,
    "evaluation.episodes": 1,
    "evaluation.envs": 1,
    "log_every": 1,
    "checkpoint.every": 1,
    "checkpoint.keep": 1,
}
AT_LEAST_IF_GIVEN = {  # whole numbers of some agents and methods; null switches some of them off
    "evaluation.every": 1,
    "agent.n_envs": 1,
    "agent.n_steps": 2,
    "agent.n_epochs": 1,
    "agent.batch_size": 1,
    "agent.buffer_size": 1,
    "agent.learning_starts": 0,
    "agent.gradient_steps": 1,
    "agent.target_update_interval": 1,
    "method.model.members": 1,
    "method.fit.batch_size": 1,
    "method.fit.max_epochs": 1,
    "method.fit.max_updates": 1,
    "method.fit.patience": 1,
    "method.explore.k": 1,
    "method.explore.reference": 1,
    "method.critic_updates": 0,
}
OF_VIDEOS = {"feedback.budget": 1, "method.video.size": 1, "method.video.frames": 2, "method.video.stride": 1}
MOST_THREADS = 1024  # torch ends the process where the system gives no more
WIDEST = 65_536  # units of a layer
WITHIN = {  # numbers, ends included
    "feedback.heldout": (0, 0.9),
    "method.video.heldout": (0.01, 0.9),
    "method.video.scale": (1e-6, 1e6),
    "agent.lr": (0, 1),
    "agent.gamma": (0, 1),
    "agent.tau": (0, 1),
    "agent.gae_lambda": (0, 1),
    "method.model.lr": (0, 1),
    "method.fit.stop_accuracy": (0, 1),
    "method.reward_std": (1e-6, 1e6),
}


def check(config: DictConfig) -> None:
    """Ranges that no constructor checks."""
    if config.get("env") is None:
        raise UserError(f"method={config.method.name} acts in an environment: give data=FOLDER of one, or env=NAME")
    if config.env.make is None:
        raise UserError(f"env=none: method={config.method.name} acts in an environment; give env=NAME")
    _check_parts(config)
    check_ranges(config, AT_LEAST, AT_LEAST_IF_GIVEN, WITHIN)
    if "video" in config.method:
        _check_video(config)
    words = {"feedback.counts": ("asked", "answered", "decisive"), "feedback.schedule": SCHEDULES}
    for key, valid in words.items():
        if (value := OmegaConf.select(config, key)) not in valid:
            raise UserError(f"{key}={value}: {choices(value, valid)}")
    unread = ("feedback.label", "feedback.pairs", "feedback.shuffled", "evaluation.window")
    for key in (*unread, *(() if "video" in config.method else ("data",))):
        if (value := OmegaConf.select(config, key)) is not None:
            raise UserError(f"{key}={value}: method={config.method.name} learns online; leave {key}= out")
    for group in ("agent", "teacher", *(() if "video" in config.method else ("queries",))):
        if "_target_" not in config[group]:
            raise UserError(f"{group}={config[group].get('name')} is for offline methods; valid: {_valid(group)}")
    agent = config.agent._target_.rsplit(".", 1)[-1]
    if agent not in config.method.agents:
        raise UserError(f"method={config.method.name} drives {' or '.join(config.method.agents)}, and agent is {agent}")
    if config.teacher.name == "human" and config.method.model is None and "video" not in config.method:
        raise UserError(f"teacher=human: method={config.method.name} asks nobody; valid is one that learns a reward")
    if config.device != "cpu":
        raise UserError(f"device={config.device}: valid is cpu so far")
    if config.method.model is not None:
        _check_labels(config)


def _check_parts(config: DictConfig) -> None:
    """An experiment may set numbers of a part that another method, chosen beside it, does not have."""
    for part, marks in (("model", "_target_"), ("fit", "batch_size"), ("explore", "_target_")):
        given = config.method.get(part)
        if given is not None and marks not in given:
            keys = ", ".join(f"method.{part}.{key}" for key in given)
            raise UserError(f"{keys}: method={config.method.name} has no {part}; choose another experiment or method")


def _check_video(config: DictConfig) -> None:
    """Before anything is drawn, which takes a while."""
    video = config.method.video
    if video.learned is not None and config.data is not None:
        raise UserError(f"method.video.learned={video.learned} needs no data; leave data={config.data} out")
    check_ranges(config, OF_VIDEOS | ({"method.video.demos": 1} if "demos" in video else {}), {}, {})
    if video.features is not None and not isinstance(video.features, ListConfig):
        raise UserError(
            f"method.video.features={video.features}: expected names of factors, such as [distance, effort]"
        )
    for key in ("method.video.heldout", "method.video.scale"):
        if OmegaConf.select(config, key) is None:
            raise UserError(f"{key}=None: expected a number from {WITHIN[key][0]} to {WITHIN[key][1]}")


def _valid(group: str) -> str:
    return ", ".join(name for name in options(group) if name != "none")


def check_ranges(
    config: DictConfig,
    at_least: Mapping[str, int],
    at_least_if_given: Mapping[str, int],
    within: Mapping[str, tuple[float, float]],
) -> None:
    """Keys of whole numbers with their least value, the second kind may be null; and keys of numbers between two."""
    for key, low in {**at_least, **at_least_if_given}.items():
        value = OmegaConf.select(config, key)
        if value is None and key in at_least_if_given:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise UserError(f"{key}={value}: expected a whole number of at least {low}")
    _check_layers(config, "")
    for key, (least, greatest) in {**within, "threads": (1, MOST_THREADS)}.items():
        value = OmegaConf.select(config, key)
        if value is not None and not (isinstance(value, (int, float)) and least <= value <= greatest):
            raise UserError(f"{key}={value}: expected a number from {least} to {greatest}")


def _check_layers(node: DictConfig, prefix: str) -> None:
    """Widths of networks, wherever there are some."""
    for name, value in node.items():
        if isinstance(value, DictConfig):
            _check_layers(value, f"{prefix}{name!s}.")
        elif name == "hidden" and isinstance(value, ListConfig):
            for width in value:
                if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= WIDEST:
                    raise UserError(f"{prefix}hidden={list(value)}: expected whole numbers from 1 to {WIDEST}")


def _check_labels(config: DictConfig) -> None:
    """What cannot go together in a run that learns from answers."""
    c, fit = config.feedback, config.method.fit
    if c.budget and c.first >= config.steps:
        raise UserError(f"feedback.first={c.first} is not before the end of the run; valid are 1 to {config.steps - 1}")
    rollout = config.agent.get("n_steps", 1) * config.agent.n_envs  # questions are asked between rollouts
    if c.budget and (first := -(-c.first // rollout) * rollout) >= config.steps:
        raise UserError(
            f"steps={config.steps} is too short for questions: rollouts have agent.n_steps x agent.n_envs = {rollout} "
            f"steps, so the first come at step {first}; valid are more steps, or smaller rollouts"
        )
    if fit.patience is not None and c.heldout == 0:
        raise UserError(f"method.fit.patience={fit.patience} watches held-out answers; set feedback.heldout, as to 0.1")
    crop = config.method.model.get("crop")
    if crop is not None and crop[-1] > c.segment_length:
        raise UserError(f"method.model.crop={list(crop)} exceeds feedback.segment_length={c.segment_length}")


def questions_in_time(config: DictConfig) -> int:
    """How much of the budget a run of this length comes to ask."""
    c, asked = config.feedback, 0
    for step in range(c.first, config.steps, c.every):
        asked += session_size(c.schedule, c.per_session, step, config.steps)
    return min(asked, c.budget)
