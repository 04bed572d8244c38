"""RUNE (Liang et al. 2022): PEBBLE with a bonus for what the members disagree on, which fades."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pbrl.checks import between, positive
from pbrl.methods.method import Metrics, Run
from pbrl.methods.pebble import Pebble
from pbrl.types import Steps


class Rune(Pebble):
    """Rewards are mean + beta std over the members; beta = bonus * (1/2)^(steps since the first session / half life).

    The released code counts (1 - rho)^t from step 0, through the steps without labels in which nothing reads it; with
    its rho of 1e-3 the bonus is gone before the first session. A half life after that session says what it does.

    Args:
        bonus: beta at the first session; 0.05 in the paper.
        half_life: environment steps in which it halves; 69,300 is rho = 1e-5.
        others: see `Pebble`; two members at least, or there is nothing to disagree.
    """

    learns_lists = True
    accelerated = True
    agents: ClassVar[tuple[str, ...]] = ("sac", "ppo")
    when = "sampled"  # the bonus changes with every step

    def __init__(self, *, bonus: float, half_life: float, **common: Any) -> None:
        super().__init__(**common)
        between(0, 10, bonus=bonus)
        positive(half_life=half_life)
        self.bonus, self.half_life = bonus, half_life

    def begin(self, run: Run) -> None:
        super().begin(run)
        if self.model.members < 2:
            raise ValueError(f"model.members={self.model.members}: expected a whole number of at least 2, who disagree")
        self.first_session = math.nan  # a reward that is taken over has its whole bonus until then

    @property
    def beta(self) -> float:
        if math.isnan(self.first_session):
            return self.bonus
        return self.bonus * 0.5 ** ((self.run.step - self.first_session) / self.half_life)

    def adopt(self, first: bool) -> None:
        if first or math.isnan(self.first_session):
            self.first_session = float(self.run.step)
        super().adopt(first)

    @torch.no_grad()
    def of_steps(self, steps: Steps) -> Tensor:
        rewards = self.model(steps.obs, steps.actions)  # (E, M)
        return self.scale * (self.objective.combine(self.model, rewards) + self.beta * rewards.std(0))

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"bonus_half_life": self.half_life}

    def metrics(self) -> Metrics:
        return super().metrics() | ({"reward/bonus_beta": self.beta} if self.updates else {})
