"""Build a run from a config: the one place that knows both the keys and the objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import torch
from omegaconf import DictConfig, OmegaConf

from pbrl.agents.random_state import global_random_state, set_global_random_state
from pbrl.building import build, explaining, maker_of
from pbrl.collection.asked_frames import AskedFrames
from pbrl.collection.keep_frames import draw
from pbrl.data.episodes import EpisodeStore
from pbrl.data.offline import OfflineData
from pbrl.data.offline_sources import load_offline
from pbrl.errors import UserError
from pbrl.feedback.desk import Desk, Shape
from pbrl.labels.store import LabelStore
from pbrl.methods.method import Method
from pbrl.methods.method import Run as MethodRun
from pbrl.nets.precision import prepare_torch
from pbrl.teachers.make import desk_class, make_teacher
from pbrl.training.check import check, device_of, other_env, read_feedback, read_settings
from pbrl.training.environments import OneMore, evaluation_envs
from pbrl.training.evaluate import Evaluator
from pbrl.training.parts import Parts, stream_seed
from pbrl.training.resume import config_record
from pbrl.training.run import Run
from pbrl.training.run_dir import RunDir
from pbrl.viewer.settings import viewer_section
from pbrl.viewer.sources import clip_source
from pbrl_envs.experts import time_limit
from pbrl_envs.factors import factor_names


def build_run(config: DictConfig, folder: RunDir) -> Run:
    method = check(config)
    prepare_torch(config.threads)
    parts = _online(config, method, folder) if method.agents else _offline(config, method, folder)
    _check_annotators(method, parts)
    # Draws of a method from the global streams must not move the agent's.
    random = global_random_state()
    with explaining("method", config.method, ValueError):
        method.begin(cast("MethodRun", parts))  # what a method has no use for is None
    with explaining("method", {}, TypeError):
        method.state_dict()  # what no checkpoint can hold is told now
    set_global_random_state(random)
    if parts.agent is not None:
        _connect(parts)
    run = Run(read_settings(config), parts, folder, _names(config, method), config_record(config))
    if (logger := config.get("logger")) is not None and logger.get("_target_"):
        run.callbacks.several.append(build(logger))
    return run


def _check_annotators(method: Method, parts: Parts) -> None:
    """Raise UserError where nobody could be told from anybody."""
    if method.objective.annotators == "alike":
        return
    pairs = parts.data.pairs if parts.data is not None else None
    several = parts.desk.overlap if pairs is None else len(pairs.annotator.unique())
    if several < 2:
        people = "; people do with viewer.overlap=2" if parts.desk.needs_people else ""
        raise UserError(f"fit.annotators=dawid_skene needs pairs that two annotators answer, here one does{people}")


def build_agent(config: DictConfig) -> Any:
    """Build the agent of a run without its training: for evaluation of saved weights."""
    small: Any = OmegaConf.merge(config.agent, {"n_envs": 1})
    if "buffer_size" in small:
        small.buffer_size = None  # nothing is stored
    maker = maker_of(small, "agent")
    agent = maker.make(make_env=partial(build, config.env.make), steps=1, seed=0, device=config.device)
    agent.close()  # whoever runs episodes makes environments for them
    return agent


def _online(config: DictConfig, method: Method, folder: RunDir) -> Parts:
    make_one = partial(build, config.env.make)
    env = make_one()
    if drawn := _shows_people(config, method) and not _has_state(env):
        make_one = partial(make_one, render_mode="rgb_array")
        env = _drawing(env, make_one, config)
    make_env = OneMore(make_one, first=env, alone="agent.n_envs=1 evaluation.envs=1")
    viewer = viewer_section(config)
    size = (viewer.width, viewer.height)
    frames = AskedFrames(folder.path, make_env, viewer.max_fps, size) if drawn else None
    factors, feedback = factor_names(env), read_feedback(config)
    evaluator = _evaluator(config, make_env, env)
    make_agent = partial(
        maker_of(config.agent, "agent").make,
        given=method.given,
        steps=config.steps,
        device=str(device_of(config, method)),
    )
    shown = partial(_shown_task, config, method, make_env if frames is None else frames.make_env, factors)
    agent = make_agent(make_env=shown, seed=stream_seed(config.seed, "agent"))
    sampler = maker_of(config.queries, "queries") if "_target_" in config.queries else None
    parts = Parts(
        **_common(config, method, folder),
        desk=Desk(),
        obs_shape=env.observation_space.shape or (),
        action_size=(env.action_space.shape or (0,))[0],
        evaluator=evaluator,
        agent=agent,
        episodes=EpisodeStore(config.feedback.pool_episodes),
        feedback=feedback,
        sampler=sampler,
        sampler_name=sampler.target.__name__ if sampler is not None else "none",
        factor_names=factors,
        time_limit=time_limit(env),
        frames=frames,
        shared_env=evaluator is not None and evaluator.envs[0] is env,
    )
    parts.make_agent = partial(_another_agent, parts, make_agent, partial(build, config.env.make))
    if method.asks:
        parts.desk = _desk(config, parts, agent)
    return parts


def _shown_task(
    config: DictConfig, method: Method, make_env: Callable[[], gym.Env], factors: tuple[str, ...]
) -> gym.Env:
    task = make_env()
    with explaining("method", config.method, ValueError):
        return method.shown_task(task, factors)


def _offline(config: DictConfig, method: Method, folder: RunDir) -> Parts:
    parts = Parts(**_common(config, method, folder), desk=Desk(), obs_shape=(), action_size=0)
    data = load_data(config, parts.rng("heldout"), method)
    if method.reads_labels:
        parts.desk = Desk(data.labels, data.ties)  # counted here: on a device each would be waited for
    parts.data = data.to(parts.device)
    parts.obs_shape = tuple(parts.data.segments.obs.shape[2:])
    parts.action_size = parts.data.segments.actions.shape[-1]
    if config.evaluation.every is not None:
        evaluation = config.evaluation
        seed, envs = parts.seed("evaluation"), evaluation_envs(config)
        parts.evaluator = Evaluator(partial(build, config.env.make), evaluation.episodes, seed, envs)
        _check_spaces(parts.evaluator.envs[0], parts, config)
    return parts


def _common(config: DictConfig, method: Method, folder: RunDir) -> dict[str, Any]:
    return {
        "steps": config.steps,
        "run_seed": config.seed,
        "path": folder.path,
        "method": method,
        "env_name": config.env.name,
        "make_env": partial(build, config.env.make),
        "data_folder": Path(config.data) if config.data is not None else None,
        "labels_folder": Path(config.labels) if config.get("labels") is not None else None,
        "device": device_of(config, method),
    }


def _connect(parts: Parts) -> None:
    """Let the method drive the agent, by those of its hooks that it has."""
    agent: Any = parts.agent
    agent.set_reward(parts.method.reward())
    if type(parts.method).rows is not Method.rows:
        agent.set_rows(parts.method.rows)
    if parts.method.behaves or parts.method.measures:
        agent.set_behaviour(parts.method.behave, parts.method.tags)
    if parts.method.measures:
        agent.set_measures(parts.method.measure, parts.method.measures)


def _another_agent(parts: Parts, make_agent: Any, make_env: Any, **changes: Any) -> Any:
    """Make an agent of the same kind, in environments of its own, with a stream of its own for each."""
    number = sum(name.startswith("agent ") for name in parts.streams)
    seed = parts.seed(name := f"agent {number + 2}")
    parts.rng(name)  # counted
    return make_agent(**{"make_env": make_env, "seed": seed, **changes})


def _evaluator(config: DictConfig, make_env: OneMore, env: gym.Env) -> Evaluator | None:
    """Make the evaluator. env: the first of training, and the only one where there is none for evaluation."""
    c, seed = config.evaluation, stream_seed(config.seed, "evaluation")
    if c.every is None:
        return None
    if evaluation_envs(config) == 1:
        return Evaluator(lambda: env, c.episodes, seed, envs=1)
    return Evaluator(make_env.beside, c.episodes, seed, envs=evaluation_envs(config))


def _desk(config: DictConfig, parts: Parts, agent: Any) -> Desk:
    kind: Any = desk_class(config.teacher, parts.method.of_videos)
    rng = parts.rng(kind.stream)
    teacher = make_teacher(config.teacher, factor_names=parts.factor_names, rng=rng)
    if kind.needs_people:
        viewer_section(config)  # what the viewer would refuse later
    assert parts.feedback is not None
    desk: Desk = kind(
        teacher,
        name=config.teacher.name,
        feedback=parts.feedback,
        open_store=partial(LabelStore, parts.path),
        shape=Shape(parts.feedback.segment_length, parts.obs_shape[0], parts.action_size),
        overlap=config.viewer.overlap,
        asks=parts.method.asks,
        keep=None if parts.frames is None else parts.frames.keep,
        source=partial(clip_source, parts.path, config.env),
    )
    return desk


def _shows_people(config: DictConfig, method: Method) -> bool:
    """Return whether people are shown what the agent does."""
    desk = desk_class(config.teacher, method.of_videos)
    return bool(method.asks) and desk.needs_people and not desk.of_videos


def _has_state(env: gym.Env) -> bool:
    """Return whether its moments can be drawn again later, from a state of its simulator."""
    return env.has_wrapper_attr("has_state") and bool(env.get_wrapper_attr("has_state"))


def _drawing(env: gym.Env, make_env: Callable[[], gym.Env], config: DictConfig) -> gym.Env:
    """Return an environment whose pictures are kept as they happen; that it can draw is tried now, not in an hour."""
    env.close()
    try:
        env = make_env()
        env.reset(seed=0)
        draw(env)
    except UserError as error:
        why = f"env={config.env.name} has no simulator state to draw clips from, so its pictures must be kept"
        raise UserError(f"teacher={config.teacher.name}: {why}, and {error}") from error
    return env


def load_data(config: DictConfig, rng: torch.Generator, method: Method) -> OfflineData:
    c, labels = config.feedback, config.get("labels")
    loss: Any = method.objective.loss
    data = load_offline(
        Path(config.data),
        label=c.label,
        budget=c.budget,
        pairs=c.pairs,
        heldout=c.heldout,
        rng=rng,
        choices=method.chooses,
        labels=None if labels is None else Path(labels),
        reads_labels=method.reads_labels,
        lists=loss if loss.lists else None,
    )
    if data.lists is not None and c.shuffled:
        raise UserError("feedback.shuffled=true gives answers to other pairs, and these are about lists; leave it out")
    return data.shuffled(rng) if c.shuffled else data


def _check_spaces(env: gym.Env, parts: Parts, config: DictConfig) -> None:
    """Check that the environment is one that the data could be of, whichever it says."""
    obs, action = env.observation_space.shape or (), env.action_space.shape or ()
    if tuple(obs) != parts.obs_shape or tuple(action) != (parts.action_size,):
        found = f"observations {parts.obs_shape} and actions {(parts.action_size,)}"
        said, own = f"env={config.env.name} {tuple(obs)} and {tuple(action)}", other_env(config)
        hint = f"; leave env= out for {own}, which the data is of" if own else ""
        raise UserError(f"the data has {found}, {said}{hint}")


def _names(config: DictConfig, method: Method) -> dict[str, Any]:
    """Return what summary.json says of the config."""
    learns = maker_of(config.agent, "agent").target if method.agents else type(method)
    teacher = config.teacher.get("name") or "none" if method.agents else "none"
    pairs = {} if method.agents else {"pairs": config.feedback.pairs}
    return {"env": config.env.name, "method": config.method.name, "agent": learns.__name__, "teacher": teacher, **pairs}
