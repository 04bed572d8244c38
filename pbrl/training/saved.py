"""A run as it lies on the disk: its config, its policy and its reward. Nothing is unpickled, and no data is needed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from pbrl.building import build
from pbrl.config import explaining, load_config
from pbrl.errors import UserError
from pbrl.methods.method import Learned, Method
from pbrl.nets.precision import prepare_torch
from pbrl.training.build import build_agent
from pbrl.training.check import build_method
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_run import SavedRun, chosen_checkpoint, read, read_summary, saved_step

Weights = dict[str, Tensor]


def load_run(path: Path, checkpoint: str | None = None) -> SavedRun:
    """Load the newest policy of a run: of its end, or of the last checkpoint if it went on after that or was killed.

    checkpoint: "last" or a number of steps, to take that one.
    """
    run = RunDir(path)
    config = _run_config(run)
    with explaining(run.config):
        return _load_run(run, config, checkpoint)


def saved_weights(run: RunDir, method: Method, checkpoint: Path | None) -> tuple[Weights, Mapping[str, Any]]:
    """Return what the method exports, model.NAME, policy.NAME and so on; and what is known of how the model came about.

    checkpoint: the folder to read instead of the files of the end.
    """
    if checkpoint is not None:
        state = Checkpoints(run.checkpoints, keep=1).load(checkpoint)
        own = read(checkpoint, lambda: state["parts"]["method"])
        return read(checkpoint, lambda: method.exported(own)), own
    weights: Weights = {}
    if not method.agents or os.path.lexists(run.offline_policy):
        weights |= read(run.offline_policy, lambda: _tensors(run.offline_policy)[0])
    if (read_summary(run) or {}).get("reward_updates") if method.agents else os.path.lexists(run.reward):
        model, about = read(run.reward, lambda: _tensors(run.reward))
        return weights | {f"model.{name}": value for name, value in model.items()}, about
    return weights, {}


def _tensors(file: Path) -> tuple[Weights, dict[str, str]]:
    """Read a safetensors file, and what it says beside the tensors."""
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as content:
        return {name: content.get_tensor(name) for name in content.keys()}, content.metadata() or {}  # noqa: SIM118


def _load_run(run: RunDir, config: DictConfig, checkpoint: str | None) -> SavedRun:
    prepare_torch(config.threads)
    method, folder = build_method(config), chosen_checkpoint(run, checkpoint)
    weights, _ = saved_weights(run, method, folder)
    agent: Any = _agent(run, config, method, folder) if method.agents else None
    obs_shape, action_size = _sizes(config, agent)
    file = folder or (run.policy if method.agents else run.offline_policy)
    learned = Learned()
    if weights:
        with_it = folder or (run.offline_policy if os.path.lexists(run.offline_policy) else run.reward)
        learned = read(with_it, lambda: method.of_weights(weights, obs_shape, action_size))
    if agent is None and learned.policy is None:
        raise UserError(f"{file} has no policy")
    return SavedRun(
        path=run.path,
        config=config,
        act=partial(agent.act, deterministic=True) if learned.policy is None else learned.policy.act,
        obs_shape=obs_shape,
        action_size=action_size,
        reward=learned.reward,
        source=str(file.relative_to(run.path)),
        step=int(folder.name) if folder is not None else saved_step(run, "updates", "env_steps"),
        method=method,
        agent=agent,
        reference=learned.reference,
        choosing=learned.choosing,
        policy=learned.policy,
    )


def _run_config(run: RunDir) -> DictConfig:
    config = load_config(run.config)
    if missing := [k for k in ("env", "agent", "method", "threads", "device") if k not in config]:
        raise UserError(f"{run.config} is not the config of a run: it has no {missing[0]}")
    config.device = "cpu"  # weights do not care where they were trained, and a few actions are fastest here
    return config


def _agent(run: RunDir, config: DictConfig, method: Method, folder: Path | None) -> Any:
    """Load the agent with the weights of policy.zip, or of a checkpoint."""
    with warnings.catch_warnings():
        # PPO complains that its batches do not divide the rollouts of one environment; it will not train here.
        warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
        agent = build_agent(config)
    if folder is None:
        read(run.policy, lambda: agent.load_policy(str(run.policy)))
    else:
        state = Checkpoints(run.checkpoints, keep=1).load(folder)
        policy = read(folder, lambda: state["parts"]["agent"])
        (obs_size,) = agent.model.observation_space.shape
        own = partial(method.for_task, policy["parameters"], obs_size)
        read(folder, lambda: agent.set_policy(own(), policy["variables"]))
    return agent


def _sizes(config: DictConfig, agent: Any) -> tuple[tuple[int, ...], int]:
    """Return the sizes of an observation and of an action: of the environment, or as noted where there was none."""
    if agent is not None:
        return agent.model.observation_space.shape or (), agent.model.action_space.shape[0]
    if config.env.make is None:
        return tuple(config.env.obs_shape), int(config.env.action_size)
    env = build(config.env.make)
    sizes = env.observation_space.shape, env.action_space.shape[0]
    env.close()
    return sizes
