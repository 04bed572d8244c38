"""Beginning a run, and going on with one."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from pbrl.errors import UserError
from pbrl.teachers.make import asks_people
from pbrl.training.build import build_run
from pbrl.training.check import build_method, check, has_env, other_data, other_env, read_feedback
from pbrl.training.checkpoint import restore_last
from pbrl.training.init import begin_with_another, check_init
from pbrl.training.resume import config_record, go_on, prove_resumable
from pbrl.training.run import Run
from pbrl.training.run_dir import RunDir


def start(config: DictConfig, command: list[str]) -> Run:
    """Begin a run in a folder of its own; a config that cannot be built leaves no folder behind."""
    if not check(config).agents and not has_env(config):
        config.evaluation.every = None
    check_init(config)
    folder = RunDir.create(config, command)
    folder.lock()
    with folder.discard_if_refused():
        run = build_run(config, folder)
        begin_with_another(run, config)
    if not has_env(config):  # what is made of the saved policy later has no other place to learn them from
        config.env.obs_shape, config.env.action_size = list(run.parts.obs_shape), run.parts.action_size
        folder.write_config(config)
        run.record = config_record(config)
    for note in _notes(run, config):
        print(f"pbrl: {note}", file=sys.stderr)
    return run


def resume(path: Path, config: DictConfig, fresh_episode: bool = False) -> Run:
    """Return the run in this folder, where its last checkpoint left it; from the start if it has none yet.

    fresh_episode: for environments that do not repeat themselves, see `SB3Agent.load_state_dict`.
    """
    folder = RunDir(path)
    folder.lock()
    try:
        return _resumed(folder, config, fresh_episode)
    except BaseException:
        folder.unlock()
        raise


def _resumed(folder: RunDir, config: DictConfig, fresh_episode: bool) -> Run:
    prove_resumable(folder, config)
    if fresh_episode and not build_method(config).agents:
        raise UserError(f"fresh_episode=true: method={config.method.name} has no episodes to leave; leave it out")
    run = build_run(config, folder)
    run.fresh_episode = fresh_episode
    if run.checkpoints.last() is None:
        begin_with_another(run, config)
    restore_last(run, folder.path)
    go_on(folder, config)
    return run


def _notes(run: Run, config: DictConfig) -> list[str]:
    """Return what the user may not have meant."""
    notes, method = [], run.method
    if method.agents:
        people = method.asks and asks_people(config.teacher)  # they are asked as they answer
        asks_on_the_way = method.asks and method.in_sessions and not method.needs_data
        feedback = read_feedback(config)
        if asks_on_the_way and not people and (asked := feedback.questions_in_time()) < feedback.budget:
            notes.append(f"{config.steps} steps have time for {asked} of {feedback.budget} questions")
        agent = run.parts.agent
        if agent is not None and agent.round_steps > agent.n_envs and (over := -config.steps % agent.round_steps):
            rounds = f"agent.n_steps x agent.n_envs = {agent.round_steps} steps"
            notes.append(f"rollouts have {rounds}: this run takes {config.steps + over}, not {config.steps}")
        return notes
    if (own := other_env(config)) is not None:
        notes.append(f"data={config.data} is of env={own}, and is evaluated in env={config.env.name}, as you said")
    if (about := other_data(config)) is not None:
        other = f"data={config.data} is another data set, as you said"
        notes.append(f"labels={config.labels} are about {about}, and {other}")
    data = run.parts.data
    if not has_env(config) and method.reads_labels and data is not None and (data.test or data.validation) is None:
        notes.append("nothing is held out to measure by; feedback.heldout=0.1 would keep a tenth of the labels for it")
    return notes
