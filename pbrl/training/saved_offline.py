"""An offline run as it lies on the disk. Its data set is not needed, and may be elsewhere by now."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from pbrl.config import build
from pbrl.errors import UserError
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_run import SavedRun, read, saved_step
from pbrl.types import RewardFn

Weights = dict[str, torch.Tensor]


def load_offline_run(run: RunDir, config: DictConfig, checkpoint: Path | None) -> SavedRun:
    """checkpoint: the folder to read instead of policy.safetensors."""
    obs_shape, action_size = _sizes(config)
    file = checkpoint or run.offline_policy
    weights, step = read_weights(run, checkpoint)
    policies = {}
    for name in ("policy", "reference"):
        if own := part_of(weights, name):
            make = build(config.method.learner.policy, obs_shape=obs_shape, action_size=action_size)
            policies[name] = make(rng=torch.Generator())
            read(file, partial(policies[name].load_state_dict, own))
    if "policy" not in policies:
        raise UserError(f"{file} has no policy")
    return SavedRun(
        path=run.path,
        config=config,
        act=policies["policy"].act,
        obs_shape=obs_shape,
        action_size=action_size,
        reward=_reward(config, checkpoint or run.reward, part_of(weights, "model"), obs_shape[0], action_size),
        source=str(file.relative_to(run.path)),
        step=step,
        policy=policies["policy"],
        reference=policies.get("reference"),
    )


def _sizes(config: DictConfig) -> tuple[tuple[int, ...], int]:
    """Of an observation and of an action: of the environment, or as noted where there was none."""
    if config.env.make is None:
        return tuple(config.env.obs_shape), int(config.env.action_size)
    env = build(config.env.make)
    sizes = env.observation_space.shape, env.action_space.shape[0]
    env.close()
    return sizes


def read_weights(run: RunDir, checkpoint: Path | None) -> tuple[Weights, int]:
    """The learner's weights and after how many updates it had them."""
    from safetensors.torch import load_file

    if checkpoint is not None:
        state = Checkpoints(run.checkpoints, keep=1).load(checkpoint)
        return read(checkpoint, lambda: state["learner"]["weights"]), int(checkpoint.name)
    weights: Weights = read(run.offline_policy, lambda: load_file(str(run.offline_policy)))
    if run.reward.exists():
        reward = read(run.reward, lambda: load_file(str(run.reward)))
        weights |= {f"model.{name}": value for name, value in reward.items()}
    return weights, saved_step(run, "updates")


def _reward(config: DictConfig, file: Path, weights: Weights, obs_size: int, action_size: int) -> RewardFn | None:
    """The reward of single steps, where the method learned one; a transformer's needs the steps before."""
    if not weights:
        return None
    model: Any = build(config.method.learner.model, obs_size=obs_size, action_size=action_size)(rng=torch.Generator())
    read(file, partial(model.load_state_dict, weights))
    return getattr(model, "step_reward", None)


def part_of(weights: Weights, part: str) -> Weights:
    return {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
