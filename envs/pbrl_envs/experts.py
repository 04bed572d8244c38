"""Scripted experts: controllers that solve a task, for data sets and for measuring what a step was worth."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from pbrl.errors import EnvError, UserError, one_line


class Expert(NamedTuple):
    """A task's own controller, without noise; it remembers nothing from one step to the next."""

    act: Callable[[np.ndarray], np.ndarray]  # observation (O,) -> action (A,) float32 in [-1, 1]
    own: tuple[int, ...] | None  # entries of the observation that are the robot's own; the others say where to go

    def elsewhere(self, obs: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return what the robot of `obs` would see in the layout of `other`: goal and objects lie as they do there."""
        mixed = other.copy()
        own = list(self.own or ())
        mixed[own] = obs[own]
        return mixed


METAWORLD_HAND = (*range(4), *range(18, 22))  # hand and gripper, now and one step ago


def find_expert(env: gym.Env) -> Expert | None:
    """Find the expert of an environment made here; None where nobody wrote one.

    A task of your own has one if its `unwrapped` object has a method `expert_action(obs)`; with a class attribute
    `expert_own`, the entries of the observation that are the robot's own, it can also pursue other goals.
    UserError where a task of Meta-World hides its goal, which its expert reads.
    """
    task: Any = env.unwrapped
    if len(env.observation_space.shape or ()) != 1:
        return None  # experts read numbers, not pictures of them
    if hasattr(task, "expert_action"):
        return Expert(_wrap(env, "expert_action"), getattr(task, "expert_own", None))
    if type(task).__module__.startswith("metaworld.envs."):
        return _metaworld_expert(env)
    return None


def find_naive(env: gym.Env) -> Expert | None:
    """The controller that ends where the expert does, but not in the way that people like; None where there is none.

    A task of your own has one if its `unwrapped` object has a method `naive_action(obs)`.
    """
    task: Any = env.unwrapped
    if len(env.observation_space.shape or ()) != 1 or not hasattr(task, "naive_action"):
        return None
    return Expert(_wrap(env, "naive_action"), getattr(task, "expert_own", None))


def _wrap(env: gym.Env, method: str) -> Callable[[np.ndarray], np.ndarray]:
    """Wrap a controller so that it shares nothing: it may write into what it sees, or return the same array again."""
    task: Any = env.unwrapped
    name, shape = f"{method}() of {type(task).__name__}", env.action_space.shape

    def act(obs: np.ndarray) -> np.ndarray:
        try:
            action = np.array(getattr(task, method)(np.array(obs)), np.float32)
        except Exception as error:
            raise EnvError(f"{name} raised {type(error).__name__}: {one_line(error)}") from error
        if action.shape != shape or not np.isfinite(action).all():
            raise EnvError(f"{name} gave {action}; expected {shape} finite numbers")
        return action

    return act


def time_limit(env: gym.Env) -> int | None:
    """Steps after which an episode is cut off; None where no limit is known."""
    for name in ("_max_episode_steps", "max_path_length"):  # Gymnasium's TimeLimit, Meta-World
        if env.has_wrapper_attr(name) and (limit := env.get_wrapper_attr(name)) is not None:
            return int(limit)
    return None


def _metaworld_expert(env: gym.Env) -> Expert:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    from metaworld.policies import ENV_POLICY_MAP

    task: Any = env.unwrapped
    name = {cls: name for name, cls in ALL_V3_ENVIRONMENTS.items()}[type(task)]
    if task._partially_observable:
        raise UserError(f"the expert of {name} reads the goal; set env.goal_observable=true")
    policies: Any = ENV_POLICY_MAP
    policy = policies[name]()
    warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high")  # at nearly every step

    def act(obs: np.ndarray) -> np.ndarray:
        # A copy: some of these policies write into what they are shown.
        return np.clip(policy.get_action(np.array(obs, np.float64)), -1, 1).astype(np.float32)

    return Expert(act, METAWORLD_HAND)
