"""One training of ICPL (Yu et al. 2024): the reward is a program of the task's factors, as `pbrl icpl` proposes."""

from __future__ import annotations

from collections.abc import Mapping

from pbrl.methods.method import Method, Run
from pbrl.rewards.programs import RewardProgram


class Icpl(Method):
    """Gives the agent what a program makes of the factors of each step; no labels.

    Args:
        program: see `pbrl.rewards.programs`; it reads the factors of the task by name.
    """

    agents = ("sac", "ppo")
    reads_labels = False

    def __init__(self, *, program: str | None) -> None:
        if program is None:
            raise ValueError("program=None: give a reward program, as 'reward = -distance'; pbrl icpl proposes them")
        self.program = str(program)

    def begin(self, run: Run) -> None:
        super().begin(run)
        if not run.factor_names:
            raise ValueError(f"program={self.program}: env={run.env_name} names no factors for a program to read")
        self._compute = RewardProgram(self.program, run.factor_names)

    def given(self, reward: float, factors: Mapping[str, float]) -> float:
        return float(self._compute(factors))
