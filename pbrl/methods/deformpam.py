"""DeformPAM (Chen et al. 2024): of several actions of a cloned diffusion policy, the one that people would prefer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import one_of, positive, share, whole
from pbrl.losses import preference_accuracy
from pbrl.methods.method import Act, Learned, Metrics, Run, of_part
from pbrl.methods.offline import OfflineMethod, share_of
from pbrl.nets.diffusion import DiffusionPolicy
from pbrl.nets.networks import adam, descend
from pbrl.rewards.denoising import LOSSES, best_of_samples, implied_reward, preference_loss
from pbrl.types import Segments

DRAWN_FROM = 0  # seed of what a policy draws: each evaluation draws the same


class Chooser:
    """Acts by the best of several samples of the clone.

    Args:
        samples: of the clone for each observation; 1 is the clone itself.
        score_share, score_draws: see `best_of_samples`.
    """

    def __init__(
        self, tuned: DiffusionPolicy, clone: DiffusionPolicy, samples: int, score_share: float, score_draws: int
    ) -> None:
        self.tuned, self.clone, self.samples = tuned, clone, samples
        self._options: dict[str, Any] = {"share": score_share, "draws": score_draws}
        self._rng = torch.Generator().manual_seed(DRAWN_FROM)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions (M, A) of observations (M, O)."""
        self.tuned.eval()
        self.clone.eval()
        seen = torch.from_numpy(np.float32(obs))
        return best_of_samples(
            self.tuned, self.clone, seen, samples=self.samples, **self._options, rng=self._rng
        ).numpy()


class DeformPam(OfflineMethod):
    """Copies all episodes by a diffusion policy, then tunes another from there on comparisons by Diffusion-DPO.

    The tuned policy never acts. What it denoises better than the clone is what people prefer, and by this implied
    reward the best of several samples of the clone is done.

    Args:
        policy: makes a `DiffusionPolicy` from obs_size, action_size and rng.
        clone_share: of the run, that copies; 1: nothing is tuned, and the clone alone acts.
        batch_size: steps in a batch of the clone.
        pairs: comparisons in a batch of the second stage.
        steps_per_segment: of each compared segment, drawn anew for each batch.
        beta: of DPO, times the mean implied reward of a segment's steps.
        loss: "log_sigmoid", or "sigmoid" as in the released code.
        lr, tune_lr: of Adam in the two stages.
        samples: of the clone at each observation, of which one is chosen.
        score_share, score_draws: see `best_of_samples`.
    """

    stages = ("clone_updates",)
    exports: ClassVar[Mapping[str, str]] = {"policy": "tuned", "reference": "actor"}
    fits = ()

    def __init__(
        self,
        *,
        clone_share: float,
        batch_size: int,
        pairs: int,
        steps_per_segment: int,
        beta: float,
        loss: str,
        lr: float,
        tune_lr: float,
        samples: int,
        score_share: float,
        score_draws: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        share(clone_share=clone_share, score_share=score_share)
        positive(clone_share=clone_share, score_share=score_share, beta=beta, lr=lr, tune_lr=tune_lr)
        whole(1, batch_size=batch_size, pairs=pairs, steps_per_segment=steps_per_segment)
        whole(1, samples=samples, score_draws=score_draws)
        one_of(LOSSES, loss=loss)
        self.clone_share, self.batch_size, self.pairs = clone_share, batch_size, pairs
        self.steps_per_segment, self.beta, self.loss, self.lr, self.tune_lr = steps_per_segment, beta, loss, lr, tune_lr
        self.samples, self.score_share, self.score_draws = samples, score_share, score_draws

    def begin(self, run: Run) -> None:
        super().begin(run)
        if run.data.scores is not None:
            raise ValueError("feedback.pairs=dense: method=deformpam learns from listed comparisons; expected fixed")
        self.clone_updates, self.tuning = max(1, share_of(self.steps, self.clone_share)), False
        self.tuned = self.make_policy(run.rng("tuned"))  # which its dropout draws from
        self.optimizers["clone"] = adam(self.actor.parameters(), self.lr)
        self.optimizers["tuned"] = adam(self.tuned.parameters(), self.tune_lr)
        self._obs = torch.from_numpy(self.data.observations)
        self._actions = torch.from_numpy(np.concatenate([e.actions for e in self.data.episodes]))

    def make_policy(self, rng: torch.Generator) -> Any:
        make: Any = self._make_policy
        made: DiffusionPolicy = make(obs_size=self.require_vectors(), action_size=self.action_size, rng=rng)
        return made

    def update(self) -> Metrics:
        if not self.tuning and self.updates < self.clone_updates:
            rows = torch.randint(len(self._obs), (self.batch_size,), generator=self.rng)
            loss = self.clone.denoising_loss(self._obs[rows], self._actions[rows], self.rng)
            return {"train/bc_loss": descend(self.optimizers["clone"], loss)}
        if not self.tuning:
            self.tuning = True
            self.actor.eval()
            self.tuned.load_state_dict(self.actor.state_dict())
        asked = self.data.sample_pairs(self.pairs, self.rng)
        shape = (self.pairs, self.steps_per_segment)
        level = torch.randint(self.clone.levels, shape, generator=self.rng)
        noise = torch.randn(*shape, self.action_size, generator=self.rng)
        left, right = (self._implied(side, level, noise) for side in (asked.left, asked.right))
        loss = preference_loss(self.beta * (right - left), asked.prefers_right, self.loss)
        value = descend(self.optimizers["tuned"], loss)
        accuracy = preference_accuracy(left.detach(), right.detach(), asked.prefers_right)
        return {"train/loss": value, "train/accuracy": float(accuracy)}

    def train(self, mode: bool = True) -> None:
        super().train(mode)
        if self.tuning:
            self.actor.eval()  # no dropout in what the other is measured against

    @property
    def clone(self) -> DiffusionPolicy:
        """The policy that copies, under the name that it goes by here."""
        found: Any = self.actor
        return found

    def _implied(self, segments: Segments, level: Tensor, noise: Tensor) -> Tensor:
        """Return the mean implied reward (B,) of some real steps, at these levels (B, n) and noises (B, n, A)."""
        steps = torch.multinomial(segments.mask, level.shape[1], replacement=True, generator=self.rng)
        rows = torch.arange(len(segments))[:, None]
        obs, actions = segments.obs[rows, steps], segments.actions[rows, steps]
        return implied_reward(self.tuned, self.clone, obs, actions, level, noise).mean(1)

    def policy(self, context: Any = None) -> Act:
        return self._choosing(self.samples).act

    def _choosing(self, samples: int) -> Chooser:
        tuned = self.tuned if self.tuning else self.clone  # by which all samples are alike
        return Chooser(tuned, self.clone, samples, self.score_share, self.score_draws)

    def exported(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return weights to export; before the second stage the clone stands for the tuned policy, too."""
        if not state["tuning"]:
            state = {**state, "tuned": {name: value.clone() for name, value in state["actor"].items()}}
        return super().exported(state)

    @torch.no_grad()
    def score(self, segments: Segments) -> Tensor | None:
        """Return beta times the mean implied reward (N,) of real steps, at the levels by which samples are scored.

        None before the second stage.
        """
        if not self.tuning:
            return None
        rng = torch.Generator().manual_seed(DRAWN_FROM)
        total = torch.zeros(len(segments))
        for _ in range(self.score_draws):
            lowest = max(1, round(self.score_share * self.clone.levels))
            level = torch.randint(lowest, (), generator=rng).expand(segments.mask.shape)
            noise = torch.randn(segments.actions.shape[-1], generator=rng).expand(segments.actions.shape)
            reward = implied_reward(self.tuned, self.clone, segments.obs[:, :-1], segments.actions, level, noise)
            total += (reward * segments.mask).sum(1)
        return self.beta * total / (self.score_draws * segments.mask.sum(1).clamp(min=1))

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        self.obs_shape, self.action_size, self.tuning = obs_shape, action_size, True
        self.actor, self.tuned = self.make_policy(torch.Generator()), self.make_policy(torch.Generator())
        self.tuned.load_state_dict(of_part(weights, "policy"))
        self.actor.load_state_dict(of_part(weights, "reference"))
        chooser: Any = self._choosing(self.samples)
        return Learned(policy=chooser, choosing=self._choosing)
