"""Steps of methods between their sessions, at every so many steps."""

from __future__ import annotations

from pbrl.methods.method import Metrics, Run, next_time
from pbrl.methods.pebble import Pebble


class BetweenSessions(Pebble):
    """Calls `between` at each step divisible by `between_every` after the first fit, while there is budget left.

    A session that falls on the same step comes first.
    """

    between_every: int

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.next_between = self.between_every

    def between(self) -> Metrics:
        raise NotImplementedError

    @property
    def is_between(self) -> bool:
        """Return whether the reward has learned from answers to this run's questions, and more are to come."""
        return self.updates > 0 and len(self.preferences) > 0 and not self.run.desk.exhausted

    def due(self) -> int | None:
        return min(self.next_session, self.next_between) if self.is_between else self.next_session

    def step(self) -> Metrics:
        begun = self.is_between  # nothing is between sessions at the first of them
        metrics = super().step() if self.run.step >= self.next_session else Metrics()
        if self.run.step >= self.next_between:
            if begun and self.is_between:
                metrics |= self.between()
            self.next_between = next_time(self.next_between, self.between_every, self.run.step)
        return metrics
