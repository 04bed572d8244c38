"""A run as it lies on the disk: its config, its policy and its reward. Nothing is unpickled."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig

from pbrl.agents.sb3 import PPOAgent, SACAgent
from pbrl.config import explained, load_config
from pbrl.errors import UserError
from pbrl.nets.precision import prepare_torch
from pbrl.training.build import build_agent, build_reward
from pbrl.training.checkpoint import Checkpoints
from pbrl.training.run_dir import RunDir
from pbrl.training.saved_offline import load_offline_run
from pbrl.training.saved_run import SavedRun, chosen_checkpoint, read, read_summary, saved_step
from pbrl.types import RewardFn, RewardModel


def load_run(path: Path, checkpoint: str | None = None) -> SavedRun:
    """The newest policy of a run: that of its end, or of the last checkpoint if it went on after that or was killed.

    checkpoint: "last" or a number of steps, to take that one.
    """
    run = RunDir(path)
    config = _run_config(run)
    with explained(run.config):
        return _load_run(run, config, checkpoint)


def _load_run(run: RunDir, config: DictConfig, checkpoint: str | None) -> SavedRun:
    path = run.path
    prepare_torch(config.threads)
    if "learner" in config.method:
        return load_offline_run(run, config, chosen_checkpoint(run, checkpoint))
    agent = _untrained(config)
    folder = chosen_checkpoint(run, checkpoint)
    if folder is None:
        reward = _from_files(run, config, agent)
        source, step = run.policy.name, saved_step(run, "env_steps")
    else:
        reward = _from_checkpoint(run, config, agent, folder)
        source, step = str(folder.relative_to(path)), int(folder.name)
    obs_shape, action_shape = (s.shape or () for s in (agent.model.observation_space, agent.model.action_space))
    act = partial(agent.act, deterministic=True)
    return SavedRun(path, config, act, obs_shape, action_shape[0], reward, source, step, agent)


def _run_config(run: RunDir) -> DictConfig:
    config = load_config(run.config)
    if missing := [k for k in ("env", "agent", "method", "threads", "device") if k not in config]:
        raise UserError(f"{run.config} is not the config of a run: it has no {missing[0]}")
    if not torch.cuda.is_available():
        config.device = "cpu"  # weights do not care where they were trained
    return config


def _untrained(config: DictConfig) -> SACAgent | PPOAgent:
    with warnings.catch_warnings():
        # PPO complains that its batches do not divide the rollouts of one environment; it will not train here.
        warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
        return build_agent(config)


def _from_files(run: RunDir, config: DictConfig, agent: SACAgent | PPOAgent) -> RewardFn | None:
    """Loads policy.zip into the agent; returns the reward beside it."""
    from safetensors.torch import load_file

    read(run.policy, lambda: agent.load_policy(str(run.policy)))
    if config.method.model is None or not (read_summary(run) or {}).get("reward_updates"):
        return None
    model = _untrained_reward(config, agent)
    read(run.reward, lambda: model.load_state_dict(load_file(str(run.reward))))
    return model.step_reward


def _from_checkpoint(run: RunDir, config: DictConfig, agent: SACAgent | PPOAgent, folder: Path) -> RewardFn | None:
    state = Checkpoints(run.checkpoints, keep=1).load(folder)
    policy, feedback = read(folder, lambda: (state["agent"], state["feedback"]))
    read(folder, lambda: agent.set_policy(policy["parameters"], policy["variables"]))
    if feedback is None or not read(folder, lambda: feedback["updates"]):
        return None
    model = _untrained_reward(config, agent)
    read(folder, lambda: model.load_state_dict(feedback["model"]))
    return model.step_reward


def _untrained_reward(config: DictConfig, agent: SACAgent | PPOAgent) -> RewardModel:
    return build_reward(config, agent.model.observation_space, agent.model.action_space, torch.Generator())
