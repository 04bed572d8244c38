"""The number of environments that are alive at once: as many as a config asks for, and one where there is only one."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
from omegaconf import DictConfig, OmegaConf

from pbrl.errors import UserError

SIDE_BY_SIDE = 25  # episodes in one forward pass; each needs an environment of its own


def evaluation_envs(config: DictConfig) -> int:
    """Return how many environments evaluate side by side: one where evaluation is off, else by default several."""
    if config.evaluation.every is None:
        return 1
    return int(OmegaConf.select(config, "evaluation.envs", default=SIDE_BY_SIDE))


class OneMore:
    """Makes environments that are alive together; says what to do where only one can be.

    Args:
        first: alive already, and handed out first; `beside` leaves it to others. None: there is none yet.
        alone: what to set where there can be only one.
    """

    def __init__(self, make_env: Callable[[], gym.Env], first: gym.Env | None, alone: str) -> None:
        self.make_env, self.alone = make_env, alone
        self.waiting = [] if first is None else [first]
        self.alive = len(self.waiting)

    def __call__(self) -> gym.Env:
        return self.waiting.pop() if self.waiting else self.beside()

    def beside(self) -> gym.Env:
        """Make a new environment."""
        try:
            env = self.make_env()
        except UserError as error:
            if not self.alive:
                raise
            raise UserError(f"{error} (beside {self.alive} of it; if there can be only one: {self.alone})") from error
        self.alive += 1
        return env
