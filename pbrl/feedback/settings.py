"""The `feedback` section of a config: how much is asked, when, and about what."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from pbrl.checks import between, one_of, whole
from pbrl.errors import UserError, is_name
from pbrl.feedback.schedule import SCHEDULES, session_size
from pbrl.types import OVERALL

COUNTS = ("asked", "answered", "decisive")


@dataclass(frozen=True)
class Feedback:
    """How much is asked and when; attributes have the meaning that configs/config.yaml gives them.

    counts: "asked" charges each question to the budget, also one that is skipped (as B-Pref does); "answered" charges
        only answers, "decisive" only those that are not "equal".
    """

    steps: int  # of the whole run, which schedules are drawn over
    budget: int
    per_session: int
    first: int
    every: int
    schedule: str
    segment_length: int
    pool_episodes: int
    candidates: int
    heldout: float
    counts: str
    criterion: str = OVERALL

    def __post_init__(self) -> None:
        whole(0, budget=self.budget)
        whole(1, per_session=self.per_session, first=self.first, every=self.every, segment_length=self.segment_length)
        whole(1, pool_episodes=self.pool_episodes, candidates=self.candidates)
        between(0, 0.9, heldout=self.heldout)
        one_of(COUNTS, counts=self.counts)
        one_of(SCHEDULES, schedule=self.schedule)
        if not is_name(self.criterion):
            raise ValueError(f"criterion={self.criterion!r}: expected a word, as safety")

    def session_size(self, step: int) -> int:
        """Return the number of questions of a session at this step."""
        return session_size(self.schedule, self.per_session, step, self.steps)

    def questions_in_time(self) -> int:
        """Return how much of the budget a run of this length comes to ask."""
        sizes = (self.session_size(step) for step in range(self.first, self.steps, self.every))
        return min(sum(sizes), self.budget)

    def require_sessions(self, round_steps: int) -> None:
        """Raise UserError where no session comes before the end. round_steps: those of an agent between questions."""
        if not self.budget:
            return
        if self.first >= self.steps:
            last = self.steps - 1
            raise UserError(f"feedback.first={self.first} is not before the end of the run; valid are 1 to {last}")
        if (first := -(-self.first // round_steps) * round_steps) >= self.steps:
            raise UserError(
                f"steps={self.steps} is too short for questions: rollouts have agent.n_steps x "
                f"agent.n_envs = {round_steps} steps, so the first come at step {first}; valid are more steps, or "
                "smaller rollouts"
            )

    def require_segments(self, time_limit: int | None, n_envs: int) -> None:
        """Refuse episodes that give no segments if they last to their time limit; warn where none ends in time."""
        if time_limit is None or not self.budget:
            return
        if time_limit < self.segment_length:
            valid = f"valid are 1 to {time_limit} steps" if time_limit > 1 else "valid is 1 step"
            asked = f"feedback.segment_length={self.segment_length}"
            raise UserError(f"{asked}: episodes end after {time_limit} steps; {valid}")
        if (first := time_limit * n_envs) >= self.steps:
            note = f"unless episodes end before their time limit, the first is over at step {first}"
            print(f"pbrl: steps={self.steps} may be too short for questions: {note}", file=sys.stderr)

    def require_pool(self, longest: int, starts: int) -> None:
        """Refuse a pool of episodes of at most so many steps, now with so many segments, that never gives two."""
        if not starts:
            valid = f"valid are 1 to {longest} steps" if longest > 1 else "valid is 1 step"
            raise UserError(f"feedback.segment_length={self.segment_length}: no episode is that long; {valid}")
        if self.pool_episodes == 1:
            raise UserError(
                f"feedback.pool_episodes=1: {longest} steps have one segment of {self.segment_length}, and a question "
                "compares two; give feedback.pool_episodes=2 or more, or a shorter feedback.segment_length"
            )
