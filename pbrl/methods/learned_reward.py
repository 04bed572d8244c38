"""Rewards learned from answers that pay an agent step by step: their scale, how good they are, what a run keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.feedback.fit import heldout_metrics
from pbrl.feedback.quality import correlation, true_accuracy
from pbrl.finite import REWARD_MODEL, require_finite
from pbrl.methods.method import Learned, Method, Metrics, of_part
from pbrl.types import Episode, Segments, Steps

RECENT_STEPS = 5000
NEEDED = ("members", "optimizer", "observe", "reward", "step_reward", "score", "update")  # of a model


class LearnedReward(Method):
    """The base of methods that reward each step by a model learned from answers.

    model: the reward model, once the run has begun. preferences: the answers it learns from.
    updates: gradient steps it has taken; 0: it has learned nothing, and pays nobody.
    scale: of what it pays.
    reward_std: of the learned reward over recent steps, to which it is scaled after each fit; None: as learned.
    """

    model: Any
    preferences: Any
    updates: int
    scale: float
    reward_std: float | None
    _make_model: Callable[..., Any]
    _fitted: bool

    def small_model(self) -> Any:
        return self.make_model((1,), 1, torch.Generator())

    def make_model(self, obs_shape: tuple[int, ...], action_size: int, rng: torch.Generator) -> Any:
        model = self._make_model(obs_size=obs_shape[0], action_size=action_size, rng=rng)
        if missing := [name for name in NEEDED if not hasattr(model, name)]:
            kind = type(model).__name__
            raise ValueError(f"model: {kind} cannot reward an agent step by step: it has no {' and no '.join(missing)}")
        self.objective.prepare(model)
        return model

    def of_steps(self, steps: Steps) -> Tensor:
        return torch.from_numpy(self.step_reward(steps.obs.numpy(), steps.actions.numpy()))

    def of_episode(self, episode: Episode) -> np.ndarray:
        return self.step_reward(episode.obs[:-1], episode.actions)

    def step_reward(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the mean member's reward (M,), scaled but not shifted: what an end is worth hangs on the offset."""
        return require_finite(self.scale * self.model.step_reward(obs, actions), REWARD_MODEL, "a reward")

    def score(self, segments: Segments) -> Tensor:
        """Return how good the mean member finds segments (N,)."""
        return self.objective.scores(self.model.score(segments), segments).mean(0)

    def learned_return(self, episode: Episode) -> float | None:
        return float(self.of_episode(episode).sum()) if self.updates else None

    @property
    def reward_trained(self) -> bool:
        return self._fitted or self.updates > 0

    def settle(self, temperature: float) -> None:
        """Bring the members to one level after a fit, where that matters, and the reward to its scale."""
        self.objective.settle(self.model, self.preferences.segments)
        if self.objective.calibrate:
            self.scale = 1 / temperature
        if self.reward_std is not None:
            self.scale = self.reward_std / max(float(self.recent_rewards()[0].std()), 1e-6)

    def heldout_figures(self) -> Metrics:
        """Return what the model makes of held-out answers, where there are any."""
        heldout = self.preferences.heldout if self.updates else None
        return {} if heldout is None else heldout_metrics(self.model, heldout, self.objective)

    @torch.no_grad()
    def quality(self) -> Metrics:
        """Return how well the reward agrees with the true one on recent episodes; nothing learns from it."""
        f, learned = self.run.feedback, self.recent_rewards()
        settings = {"length": f.segment_length, "pool": f.pool_episodes, "seed": self.run.desk.sessions}
        accuracy = true_accuracy(self.score, self.run.episodes, **settings)
        return {"true_accuracy": accuracy, "corr_true": correlation(*learned)}

    def recent_rewards(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rewards of the model and of the environment on recent steps; NotFinite where the model's is not."""
        obs, actions, true = self.run.episodes.recent_steps(RECENT_STEPS)
        return require_finite(self.model.step_reward(obs, actions), REWARD_MODEL, "a reward"), true

    def exported(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        return super().exported(state) if state["updates"] else {}  # before the first answer the model is noise

    def about_reward(self) -> dict[str, str]:
        return {"scale": str(self.scale), "updates": str(self.updates)}

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        if not (own := of_part(weights, "model")):
            return Learned()
        model = self.make_model(obs_shape, action_size, torch.Generator())
        model.load_state_dict(own)
        return Learned(reward=model.step_reward)
