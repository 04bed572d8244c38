"""The rewards that a `RewardSource` gives to steps and episodes, refused unless there is one number for each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.finite import REWARD_MODEL, require_finite
from pbrl.nets.devices import array
from pbrl.types import Episode, RewardSource, Steps


def rewards_of_steps(source: RewardSource, steps: Steps) -> np.ndarray:
    """Return the rewards (M,) of M steps; UserError where the source returns another shape."""
    return _checked(array(source.of_steps(steps)), len(steps.obs), source, "of_steps")


def rewards_of_episode(source: RewardSource, episode: Episode, length: int) -> np.ndarray:
    """Return the rewards (length,) of the steps of an episode; UserError where the source returns another shape."""
    return _checked(np.asarray(source.of_episode(episode)), length, source, "of_episode")


def _checked(rewards: Any, count: int, source: RewardSource, what: str) -> np.ndarray:
    if rewards.shape != (count,):
        name = f"{type(source).__name__}.{what}"
        raise UserError(f"{name} returned rewards of shape {rewards.shape}; expected ({count},), one for each step")
    return require_finite(rewards, REWARD_MODEL, "a reward")
