"""From a config to the parts of an online run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import gymnasium as gym
import torch
from omegaconf import DictConfig, OmegaConf

from pbrl.agents.exploration import StateEntropy
from pbrl.agents.sb3 import PPOAgent, SACAgent
from pbrl.config import build, build_teacher
from pbrl.data.episodes import EpisodeStore
from pbrl.errors import UserError
from pbrl.feedback.loop import FeedbackLoop
from pbrl.feedback.people import PeopleFeedback
from pbrl.feedback.replay import ReplayFeedback
from pbrl.labels.store import LabelStore
from pbrl.nets.precision import prepare_torch
from pbrl.seeds import seed_streams
from pbrl.teachers.factor_sum import FactorSumTeacher
from pbrl.teachers.hierarchy import HierarchyTeacher
from pbrl.teachers.human import HumanTeacher
from pbrl.teachers.levels import columns_of
from pbrl.teachers.replay import ReplayTeacher
from pbrl.teachers.triplet import TripletTeacher
from pbrl.training.check import check
from pbrl.training.environments import OneMore, evaluation_envs
from pbrl.training.evaluate import Evaluator
from pbrl.training.run_dir import RunDir
from pbrl.training.video_reward import LearnedVideoReward, learn_video_reward
from pbrl.viewer.settings import viewer_section
from pbrl_envs.experts import time_limit
from pbrl_envs.factors import factor_names

STREAMS = ("agent", "evaluation", "reward", "fit", "teacher", "queries", "preferences")  # video rewards: `reward`


OFFLINE_STREAMS = ("learner", "evaluation", "heldout")


@dataclass
class OnlineParts:
    agent: SACAgent | PPOAgent
    evaluator: Evaluator | None  # None: evaluation is off
    episodes: EpisodeStore
    feedback: FeedbackLoop | None
    explore: StateEntropy | None
    video: LearnedVideoReward | None

    @property
    def shared(self) -> bool:
        """Whether evaluation runs in an environment of training, between its episodes."""
        return self.evaluator is not None and self.evaluator.envs[0] is self.agent.recorders[0].env

    def close(self) -> None:
        """Lets go of the environments."""
        self.agent.close()
        if self.evaluator is not None and not self.shared:
            self.evaluator.close()


def build_online(config: DictConfig, run: RunDir) -> OnlineParts:
    check(config)
    prepare_torch(config.threads)
    seeds = dict(zip(STREAMS, seed_streams(config.seed, len(STREAMS)), strict=True))
    env = build(config.env.make)
    make_env = OneMore(partial(build, config.env.make), first=env, alone="agent.n_envs=1 evaluation.envs=1")
    factors, learned = factor_names(env), config.method.model is not None
    _check_first_episode(config, env)
    if learned:
        _check_questions(config, env)
    evaluator = _evaluator(config, make_env, env, seeds["evaluation"])
    video = learn_video_reward(config, run, seeds["reward"]) if "video" in config.method else None
    agent = build(
        config.agent,
        make_env=make_env,
        hide_reward=learned or video is not None,
        steps=config.steps,
        seed=seeds["agent"],
        device=config.device,
        weights=_factor_weights(config, factors),
    )
    explore = build(config.method.explore) if config.method.explore is not None else None
    if explore is not None:
        explore.stored = lambda: agent.stored_obs
    agent.set_reward(explore if video is None else video.reward)
    return OnlineParts(
        agent=agent,
        evaluator=evaluator,
        episodes=EpisodeStore(config.feedback.pool_episodes),
        feedback=_feedback(config, run, agent, factors, seeds) if learned else None,
        explore=explore,
        video=video,
    )


def build_agent(config: DictConfig) -> SACAgent | PPOAgent:
    """The agent of a run without its training: for evaluation of saved weights."""
    small = cast(DictConfig, OmegaConf.merge(config.agent, {"n_envs": 1}))
    if "buffer_size" in small:
        small.buffer_size = None  # nothing is stored
    agent: SACAgent | PPOAgent = build(
        small, make_env=partial(build, config.env.make), hide_reward=False, steps=1, seed=0, device=config.device
    )
    agent.close()  # whoever runs episodes makes environments for them
    return agent


def build_reward(config: DictConfig, observation_space: Any, action_space: Any, rng: torch.Generator) -> Any:
    return build(
        config.method.model,
        obs_size=observation_space.shape[0],
        action_size=action_space.shape[0],
        rng=rng,
    )


def _evaluator(config: DictConfig, make_env: OneMore, env: gym.Env, seed: int) -> Evaluator | None:
    """env: the first of training, and the only one where there is one for evaluation."""
    c = config.evaluation
    if c.every is None:
        return None
    if evaluation_envs(config) == 1:
        return Evaluator(lambda: env, c.episodes, seed, envs=1)
    return Evaluator(make_env.beside, c.episodes, seed, envs=evaluation_envs(config))


def _check_drawable(config: DictConfig, env: gym.Env) -> None:
    """People are shown clips, and those are drawn from stored states of the simulator."""
    if not (env.has_wrapper_attr("has_state") and env.get_wrapper_attr("has_state")):
        raise UserError(
            f"teacher=human: env={config.env.name} has no simulator state to draw clips from; MuJoCo tasks have"
        )


def _check_questions(config: DictConfig, env: gym.Env) -> None:
    """Whether episodes that last to their time limit give segments to ask about, in time."""
    limit, c = time_limit(env), config.feedback
    if limit is None or not c.budget or config.teacher.name == "replay":
        return
    if limit < c.segment_length:
        valid = f"valid are 1 to {limit} steps" if limit > 1 else "valid is 1 step"
        raise UserError(f"feedback.segment_length={c.segment_length}: episodes end after {limit} steps; {valid}")
    if (first := limit * config.agent.n_envs) >= config.steps:
        note = f"unless episodes end before their time limit, the first is over at step {first}"
        print(f"pbrl: steps={config.steps} may be too short for questions: {note}", file=sys.stderr)


def _check_first_episode(config: DictConfig, env: gym.Env) -> None:
    """Rewards of whole episodes are there when the first one is over."""
    limit, starts = time_limit(env), config.agent.get("learning_starts")
    if "video" in config.method and None not in (limit, starts) and starts < (steps := limit * config.agent.n_envs):
        why = f"method={config.method.name} rewards whole episodes"
        raise UserError(f"agent.learning_starts={starts}: {why}; expected at least the {steps} steps of the first")
    size = config.agent.get("buffer_size")
    if "video" in config.method and None not in (limit, size) and size < (steps := limit * config.agent.n_envs):
        why = f"method={config.method.name} rewards whole episodes"
        raise UserError(f"agent.buffer_size={size}: {why}; expected at least the {steps} steps of one, or null")


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
    teacher = build_teacher(config.teacher, rng=rngs["teacher"])
    if isinstance(teacher, TripletTeacher):
        raise UserError(f"teacher=triplet compares whole videos, and method={config.method.name} asks about segments")
    if isinstance(teacher, (HierarchyTeacher, FactorSumTeacher)):
        teacher.use_factors(factors)
    loop: Any = FeedbackLoop
    if isinstance(teacher, HumanTeacher):
        viewer_section(config)  # what the viewer would refuse later
        _check_drawable(config, agent.recorders[0])
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
        reward_std=config.method.get("reward_std"),
    )
