"""The policy of a run, in the environment's own units."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.training.saved_run import SavedRun
from pbrl.use.units import Units


class Policy:
    """Acts as a run has learned to, without noise; `pbrl.load_policy` makes one.

    observation_space, action_space: those of the environment, as it has them itself.
    step: at which it was saved: environment steps, or updates of an offline method.
    """

    def __init__(self, saved: SavedRun) -> None:
        self._units, self._act = Units.of_run(saved), saved.act
        self.observation_space: gym.Space[Any] = self._units.obs_space
        self.action_space: gym.Space[Any] = self._units.action_space
        self.step = saved.step

    def __call__(self, obs: Any) -> np.ndarray:
        """Return the action (A,) for one observation, or (M, A) for M of them, in the environment's units and type.

        obs: as the environment gives it, dictionaries included; of several, each part has M in front.
        Raises UserError where it is of another shape, or not finite.
        """
        rows, several = self._units.obs(obs)
        actions = self._units.own_actions(self._act(rows))
        return actions if several else actions[0]

    def predict(
        self, obs: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, None]:
        """Act as SB3's `predict` does, so that its tools take it; always without noise."""
        return self(obs), None
