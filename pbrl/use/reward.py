"""The learned reward of a run, in the environment's own units."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.errors import UserError
from pbrl.training.saved_run import SavedRun
from pbrl.use.units import Units


class Reward:
    """The learned reward of a run, per step; `pbrl.load_reward` makes one.

    observation_space, action_space: those of the environment, as it has them itself.
    scale: what the model's reward is multiplied by, as it was for the agent that it drove.
    """

    def __init__(self, saved: SavedRun, scale: float = 1.0) -> None:
        if saved.reward is None:
            raise UserError(f"{saved.path} has no learned reward of single steps{_why(saved)}")
        self._units, self._reward, self._saved, self.scale = Units.of_run(saved), saved.reward, saved, scale
        self.observation_space: gym.Space[Any] = self._units.obs_space
        self.action_space: gym.Space[Any] = self._units.action_space

    def __call__(self, obs: Any, actions: Any) -> Any:
        """Return the reward, a float, of acting so at one observation; (M,) float32 of M observations and actions.

        obs: before the step, as the environment gives it, dictionaries included; of several, each part has M in front.
        actions: (A,) or (M, A) in the environment's units; what lies outside its box counts as its end.
        Raises UserError where either is of another shape, or not finite.
        """
        rows, several = self._units.obs(obs)
        rewards = self.scale * self._reward(rows, self._units.unit_actions(actions, len(rows)))
        return rewards.astype(np.float32) if several else float(rewards[0])

    def on(self, device: Any) -> Any:
        """Return the same for tensors on a device: a module of obs (M, O), flat, and actions (M, A) to rewards (M,)."""
        from pbrl.export.graphs import RewardGraph

        box: Any = self.action_space
        return RewardGraph(self._saved, self.scale, box).to(device).requires_grad_(False)

    def check_spaces(self, obs_space: gym.Space[Any], action_space: gym.Space[Any], what: str) -> None:
        """Raise UserError where these are not the spaces that the reward was learned in."""
        self._units.require_same(obs_space, action_space, what)


def _why(saved: SavedRun) -> str:
    method = saved.config.method.name
    if saved.learns_from_answers and "source" in vars(saved) and not saved.reward:
        if type(saved.method).__module__.startswith("pbrl."):
            return f": method={method} had no answers yet, or learns no such reward"
        hooks = f"{type(saved.method).__name__} lacks a hook: of_weights, or facts with reward_updates"
        return f": method={method} had no answers yet, or {hooks}"
    return f": method={method} learns none, or one that needs more than a step"
