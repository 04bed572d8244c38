"""RLIF from people: what they said while they watched a policy act is there from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pbrl.errors import UserError
from pbrl.feedback.settings import Feedback
from pbrl.methods.method import Metrics, Run
from pbrl.methods.rlif import Rlif
from pbrl.teachers.interveners import Choose, Judge
from pbrl.teachers.stored_interventions import watched_episodes
from pbrl.types import Episode


class RlifPeople(Rlif):
    """`Rlif` with the steps of watched episodes in the replay buffer before the first one of the agent.

    Args:
        interventions: what `pbrl watch` kept: its folder, or a label set of kind=intervention.
        numbers: those of `Rlif`.
    """

    def __init__(self, *, interventions: str | None, **numbers: Any) -> None:
        super().__init__(**numbers)
        self._interventions = interventions
        self._watched: list[Episode] = []

    def check(self, feedback: Feedback) -> None:
        super().check(feedback)
        if self._interventions is None:
            raise ValueError("interventions=None: this method needs what people said; pbrl watch keeps that")
        try:
            self._watched = watched_episodes(Path(self._interventions))
        except UserError as error:
            raise UserError(f"interventions={self._interventions}: {error}") from None

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.remembered = 0  # steps of people's episodes
        ours = run.obs_shape, run.action_size
        theirs = self._watched[0].obs.shape[1:], self._watched[0].actions.shape[1]
        if ours != theirs:
            raise ValueError(
                f"interventions={self._interventions}: observations and actions of {theirs}, this run has {ours}"
            )
        if run.agent.n_envs > 1:
            raise ValueError(f"interventions={self._interventions}: expected agent.n_envs=1")

    def step(self) -> Metrics:
        if not self.remembered:
            agent: Any = self.run.agent
            for episode in self._watched:
                agent.remember(episode)
                assert episode.tags is not None
                self.blamed_steps += int(episode.tags[:, 0].sum())
                self.expert_steps += int(episode.tags[:, 1].sum())
            self.remembered = sum(map(len, self._watched))
        return super().step()

    def why_nothing(self) -> str | None:
        if not self.remembered or self.blamed_steps:
            return None
        return f"{len(self._watched)} episodes were watched, and nobody stepped in"

    def _find_expert(self, judge: Judge | None) -> Choose:
        """Return who acts in interventions: the agent, as there is nobody else, unless there are demonstrations."""
        if self.demonstration_steps:
            return super()._find_expert(judge)
        return lambda obs: self.run.agent.act(obs, deterministic=True)
