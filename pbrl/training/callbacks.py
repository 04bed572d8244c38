"""Listeners of a run while it trains: loggers, and callbacks of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pbrl.errors import UserError


class RunNow(Protocol):
    """The run that trains, as a callback sees it."""

    method: Any  # a `pbrl.methods.method.Method`; its `model` is the reward model, where it has one
    agent: Any  # a `pbrl.agents.agent.Agent`; None where the method is offline
    names: dict[str, Any]  # of env, method, agent and teacher
    record: dict[str, Any]  # the config, each value by its dotted key
    folder: Any  # its `path` is where the run writes
    evaluations: list[dict[str, Any]]  # rows of evaluations.csv so far

    @property
    def step(self) -> int: ...  # environment steps so far; updates of an offline method

    @property
    def labels(self) -> int: ...  # answers so far


class Callback:
    """Is told of a run while it trains. Derive from it and write what you need; every method here does nothing.

    What a callback keeps is not saved with the run. What it raises ends the run, as an error in an environment does.
    """

    def on_start(self, run: RunNow) -> None:
        """Called once, before the first step, or before the first one after a resume."""

    def on_round(self, run: RunNow) -> bool | None:
        """Called after at most 100 environment steps, or after each update offline; False stops and saves the run."""

    def on_log(self, run: RunNow, metrics: Mapping[str, float]) -> None:
        """Called with each row of progress.csv, by SB3's names."""

    def on_evaluation(self, run: RunNow, row: Mapping[str, Any]) -> None:
        """Called with each row of evaluations.csv."""

    def on_end(self, run: RunNow) -> None:
        """Called once everything is saved, also where the run was stopped early."""


def checked_callbacks(given: Any) -> list[Callback]:
    """Return these as a list; UserError where one of them is not an object of a class derived from `Callback`."""
    several = list(given) if isinstance(given, Sequence) else [given]
    if wrong := [one for one in several if not isinstance(one, Callback)]:
        raise UserError(f"callbacks={wrong[0]!r:.60}: expected a list of objects derived from pbrl.Callback")
    return several


class Callbacks:
    """Several callbacks in their order."""

    def __init__(self, several: Sequence[Callback] = ()) -> None:
        self.several = list(several)

    def on_start(self, run: RunNow) -> None:
        for one in self.several:
            one.on_start(run)

    def on_round(self, run: RunNow) -> bool:
        """Return whether all of them want to go on."""
        wanted = [one.on_round(run) is not False for one in self.several]  # each is told
        return all(wanted)

    def on_log(self, run: RunNow, metrics: Mapping[str, float]) -> None:
        for one in self.several:
            one.on_log(run, metrics)

    def on_evaluation(self, run: RunNow, row: Mapping[str, Any]) -> None:
        for one in self.several:
            one.on_evaluation(run, row)

    def on_end(self, run: RunNow) -> None:
        for one in self.several:
            one.on_end(run)
