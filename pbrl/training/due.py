"""When the log, an evaluation and a checkpoint are due."""

from __future__ import annotations

from typing import Any

from pbrl.methods.method import next_time


class Due:
    """Events that come again and again, each at its own distance in steps.

    every: the distance of each event. at: the step of its next time.
    """

    def __init__(self, every: dict[str, int]) -> None:
        self.every, self.at = every, dict(every)

    def __call__(self, event: str, step: int) -> bool:
        return step >= self.at[event]

    def advance(self, event: str, step: int) -> None:
        """Expect an event that has just been again, after this step."""
        self.at[event] = next_time(self.at[event], self.every[event], step)

    def state_dict(self) -> dict[str, Any]:
        return {"due": self.at, "every": self.every}

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        for event, every in self.every.items():  # some may have changed meanwhile
            same = every == state["every"][event]
            self.at[event] = state["due"][event] if same else next_time(every, every, step)
