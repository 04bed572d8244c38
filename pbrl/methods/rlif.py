"""RLIF (Luo et al. 2024): somebody watches and takes over where it goes wrong, and that alone is the reward."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import required, whole
from pbrl.errors import UserError
from pbrl.feedback.settings import Feedback
from pbrl.methods.method import Method, Metrics, Run
from pbrl.teachers.interveners import Choose, Intervener, Judge, intervention_rewards
from pbrl.training.saved import load_run
from pbrl.training.saved_run import SavedRun
from pbrl.types import Episode, RewardSource, Steps
from pbrl_envs.experts import find_expert


class Rlif(Method):
    """Rewards -1 for the policy's step that an intervention follows, and 0 for all others, the expert's own included.

    The agent learns from the expert's steps as from its own.

    Args:
        intervener: makes who watches, from expert, judge and rng.
        judge: a finished run of agent=sac whose critics say what steps are worth; None: nobody needs them.
        expert: a run whose policy acts in interventions; None: the judge's, or without a judge the task's controller.
        demonstration_steps: at the start of the run, that the expert alone does.
    """

    agents = ("sac",)
    reads_labels = False
    _acts: Choose
    tags = 2  # whether the step was blamed, and whether the expert did it
    when = "stored"

    def __init__(
        self, *, intervener: Callable[..., Intervener], judge: str | None, expert: str | None, demonstration_steps: int
    ) -> None:
        required(intervener=intervener)
        whole(0, demonstration_steps=demonstration_steps)
        self._make_intervener, self.demonstration_steps = intervener, demonstration_steps
        self._judge, self._expert = judge, expert
        self._runs: dict[str, SavedRun] = {}

    def check(self, feedback: Feedback) -> None:
        for name, folder in (("judge", self._judge), ("expert", self._expert)):
            if folder is not None:
                self._runs[name] = _run_of(name, folder)
        judge = self._runs.get("judge")
        if judge is not None and (judge.agent is None or judge.agent.kind != "sac"):
            raise ValueError(f"judge={self._judge}: its critics say what steps are worth; expected a run of agent=sac")

    def begin(self, run: Run) -> None:
        super().begin(run)
        for name, saved in self._runs.items():
            ours, theirs = (run.obs_shape, run.action_size), (saved.obs_shape, saved.action_size)
            if ours != theirs:
                raise ValueError(f"{name}={saved.path}: it has observations and actions of {theirs}, this run {ours}")
        judge = judge_of(self._runs["judge"]) if "judge" in self._runs else None
        rng = np.random.default_rng(run.seed("intervener"))
        self.intervener = self._make_intervener(expert=lambda obs: self._acts(obs), judge=judge, rng=rng)
        self._acts = self._find_expert(judge)
        self.blamed_steps, self.expert_steps = 0, 0

    def behave(self, obs: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.run.step < self.demonstration_steps:
            actions, blamed, taken_over = self._acts(obs), np.zeros(len(obs), bool), np.ones(len(obs), bool)
        else:
            actions, blamed, taken_over = self.intervener.watch(obs, actions)
        self.blamed_steps += int(blamed.sum())
        self.expert_steps += int(taken_over.sum())
        return actions, np.stack([blamed, taken_over], 1).astype(np.float32)

    def reward(self) -> RewardSource:
        return self

    def of_steps(self, steps: Steps) -> Tensor:
        assert steps.tags is not None
        return torch.from_numpy(intervention_rewards(steps.tags[:, 0].numpy()))

    def of_episode(self, episode: Episode) -> np.ndarray:
        assert episode.tags is not None
        return intervention_rewards(episode.tags[:, 0])

    def learned_return(self, episode: Episode) -> float | None:
        return float(self.of_episode(episode).sum())

    def metrics(self) -> Metrics:
        """Return the interventions, and steps of the expert, so far."""
        return {"feedback/interventions": self.blamed_steps, "feedback/expert_steps": self.expert_steps}

    def _find_expert(self, judge: Judge | None) -> Choose:
        if "expert" in self._runs:
            return self._runs["expert"].act
        if judge is not None:
            return judge.reference
        env = self.run.make_env()
        if (own := find_expert(env)) is None:
            env.close()
            raise ValueError(f"expert=None: env={self.run.env_name} has no controller; give a run, whose policy acts")
        return lambda obs: np.stack([own.act(row) for row in obs])


def judge_of(saved: SavedRun) -> Judge:
    """Make a judge of the smaller of the run's two critics, and its policy."""
    critic = saved.agent.model.critic  # type: ignore[union-attr]

    @torch.no_grad()
    def value(obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        both = critic(*(torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (obs, actions)))
        return torch.cat(both, 1).amin(1).numpy()

    return Judge(value, saved.act)


def _run_of(name: str, folder: str) -> SavedRun:
    try:
        return load_run(Path(folder))
    except UserError as error:
        raise UserError(f"{name}={folder}: {error}") from None
