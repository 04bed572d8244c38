"""From a config to the parts of an online run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from pbrl.agents.exploration import StateEntropy
from pbrl.agents.sb3 import PPOAgent, SACAgent
from pbrl.config import build, options
from pbrl.data.episodes import EpisodeStore
from pbrl.data.labels import LabelStore
from pbrl.errors import UserError
from pbrl.queries.schedule import SCHEDULES, session_size
from pbrl.teachers.factor_sum import FactorSumTeacher
from pbrl.teachers.hierarchy import HierarchyTeacher
from pbrl.teachers.human import HumanTeacher
from pbrl.teachers.levels import columns_of
from pbrl.teachers.replay import ReplayTeacher
from pbrl.training.evaluate import Evaluator
from pbrl.training.feedback import FeedbackLoop
from pbrl.training.people import PeopleFeedback
from pbrl.training.replay import ReplayFeedback
from pbrl.training.run_dir import RunDir
from pbrl.viewer.settings import viewer_section

STREAMS = ("agent", "evaluation", "reward", "fit", "teacher", "queries", "preferences")


OFFLINE_STREAMS = ("learner", "evaluation", "heldout")


@dataclass
class OnlineParts:
    agent: SACAgent | PPOAgent
    evaluator: Evaluator
    episodes: EpisodeStore
    feedback: FeedbackLoop | None
    explore: StateEntropy | None


def build_online(config: DictConfig, run: RunDir) -> OnlineParts:
    check(config)
    torch.set_num_threads(config.threads)
    seeds = dict(zip(STREAMS, seed_streams(config.seed, len(STREAMS)), strict=True))
    make_env = partial(build, config.env.make)
    learned = config.method.model is not None
    evaluator = Evaluator(make_env, config.evaluation.episodes, seeds["evaluation"])
    agent = build(
        config.agent,
        make_env=make_env,
        hide_reward=learned,
        steps=config.steps,
        seed=seeds["agent"],
        device=config.device,
        weights=_factor_weights(config, evaluator.factor_names),
    )
    if type(agent).__name__ not in config.method.agents:
        valid = " or ".join(config.method.agents)
        raise UserError(f"method={config.method.name} drives {valid}, and agent is {type(agent).__name__}")
    explore = build(config.method.explore) if config.method.explore is not None else None
    agent.set_intrinsic(explore)
    return OnlineParts(
        agent=agent,
        evaluator=evaluator,
        episodes=EpisodeStore(config.feedback.pool_episodes),
        feedback=_feedback(config, run, agent, evaluator.factor_names, seeds) if learned else None,
        explore=explore,
    )


def build_agent(config: DictConfig) -> SACAgent | PPOAgent:
    """The agent of a run without its training: for evaluation of saved weights."""
    small = cast(DictConfig, OmegaConf.merge(config.agent, {"n_envs": 1}))
    return build(
        small, make_env=partial(build, config.env.make), hide_reward=False, steps=1, seed=0, device=config.device
    )


def build_reward(config: DictConfig, observation_space: Any, action_space: Any, rng: torch.Generator) -> Any:
    return build(
        config.method.model,
        obs_size=observation_space.shape[0],
        action_size=action_space.shape[0],
        rng=rng,
    )


def seed_streams(seed: int, n: int) -> list[int]:
    """n independent seeds from the one of the run."""
    return [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(n)]


AT_LEAST = {  # whole numbers
    "steps": 1,
    "seed": 0,
    "threads": 1,
    "feedback.budget": 0,
    "feedback.per_session": 1,
    "feedback.first": 1,
    "feedback.every": 1,
    "feedback.segment_length": 2,
    "feedback.pool_episodes": 1,
    "feedback.candidates": 1,
    "evaluation.every": 1,
    "evaluation.episodes": 1,
    "log_every": 1,
    "checkpoint.every": 1,
    "checkpoint.keep": 1,
}
AT_LEAST_IF_GIVEN = {  # whole numbers of some agents and methods; null switches some of them off
    "agent.n_envs": 1,
    "agent.n_steps": 2,
    "agent.n_epochs": 1,
    "agent.batch_size": 1,
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
WITHIN = {  # numbers, ends included
    "feedback.heldout": (0, 0.9),
    "agent.lr": (0, 1),
    "agent.gamma": (0, 1),
    "agent.tau": (0, 1),
    "agent.gae_lambda": (0, 1),
    "method.model.lr": (0, 1),
    "method.fit.stop_accuracy": (0, 1),
}


def check(config: DictConfig) -> None:
    """Ranges that no constructor checks."""
    check_ranges(config, AT_LEAST, AT_LEAST_IF_GIVEN, WITHIN)
    choices = {"feedback.counts": ("asked", "answered", "decisive"), "feedback.schedule": SCHEDULES}
    for key, valid in choices.items():
        if (value := OmegaConf.select(config, key)) not in valid:
            raise UserError(f"{key}={value}: valid are {', '.join(valid)}")
    for key in ("data", "feedback.label", "feedback.pairs", "evaluation.window"):
        if (value := OmegaConf.select(config, key)) is not None:
            raise UserError(f"{key}={value}: method={config.method.name} learns online; leave {key}= out")
    for group in ("agent", "teacher", "queries"):
        if "_target_" not in config[group]:
            raise UserError(f"{group}={config[group].get('name')} is for offline methods; valid: {_valid(group)}")
    if config.teacher.name == "human" and config.method.model is None:
        raise UserError(f"teacher=human: method={config.method.name} asks nobody; valid is one that learns a reward")
    if config.device != "cpu":
        raise UserError(f"device={config.device}: valid is cpu so far")
    if config.method.model is not None:
        _check_labels(config)


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
    for key, (least, greatest) in within.items():
        value = OmegaConf.select(config, key)
        if value is not None and not (isinstance(value, (int, float)) and least <= value <= greatest):
            raise UserError(f"{key}={value}: expected a number from {least} to {greatest}")


def _check_labels(config: DictConfig) -> None:
    """What cannot go together in a run that learns from answers."""
    c, fit = config.feedback, config.method.fit
    if c.budget and c.first >= config.steps:
        raise UserError(f"feedback.first={c.first} is not before the end of the run; valid are 1 to {config.steps - 1}")
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


def _check_drawable(config: DictConfig) -> None:
    """People are shown clips, and those are drawn from stored states of the simulator."""
    env = build(config.env.make)
    drawable = env.has_wrapper_attr("has_state") and env.get_wrapper_attr("has_state")
    env.close()
    if not drawable:
        raise UserError(
            f"teacher=human: env={config.env.name} has no simulator state to draw clips from; MuJoCo tasks have"
        )


def _factor_weights(config: DictConfig, names: tuple[str, ...]) -> dict[str, float] | None:
    """Of the factors whose sum drives the agent, where the method has such a reward."""
    if "reward" not in config.method:
        return None
    weights: dict[str, float] = build(config.method.reward)
    columns_of(list(weights), names, "method.reward.weights")
    return weights


def _feedback(
    config: DictConfig, run: RunDir, agent: SACAgent | PPOAgent, factors: tuple[str, ...], seeds: dict[str, int]
) -> FeedbackLoop:
    rngs = {name: torch.Generator().manual_seed(seeds[name]) for name in STREAMS[2:]}
    spaces = agent.model.observation_space, agent.model.action_space
    teacher_config = OmegaConf.masked_copy(config.teacher, [k for k in config.teacher if k != "name"])
    teacher = build(teacher_config, rng=rngs["teacher"])
    if isinstance(teacher, (HierarchyTeacher, FactorSumTeacher)):
        teacher.use_factors(factors)
    loop: Any = FeedbackLoop
    if isinstance(teacher, HumanTeacher):
        viewer_section(config)  # what the viewer would refuse later
        _check_drawable(config)
        loop = partial(PeopleFeedback, overlap=config.viewer.overlap)
    elif isinstance(teacher, ReplayTeacher):
        loop = ReplayFeedback
    return loop(
        config=config.feedback,
        fit=dict(config.method.fit),
        steps=config.steps,
        model=build_reward(config, *spaces, rngs["reward"]),
        teacher=teacher,
        annotator=f"{'replay' if loop is ReplayFeedback else 'scripted'}:{config.teacher.name}",
        sampler=build(config.queries),
        sampler_name=config.queries._target_.rsplit(".", 1)[-1],
        labels=LabelStore(run.path),
        rngs=rngs,
    )
