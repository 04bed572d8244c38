"""Preference-weighted cloning of whole segments: no critic, no reward of single steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pbrl.blocks import score_in_blocks
from pbrl.checks import required, share, whole
from pbrl.losses import preference_accuracy
from pbrl.methods.bc import bc_loss
from pbrl.methods.method import Metrics, Run
from pbrl.methods.offline import OfflineMethod, share_of
from pbrl.nets.devices import CPU, brought, number
from pbrl.nets.networks import adam, descend
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Segments


class PAWS(OfflineMethod):
    """Fits segment advantages to the comparisons, then clones segments with weight exp(advantage / lambda).

    lambda is such that the effective sample size (sum w)^2 / sum w^2 is a given share of the segments. The first phase
    keeps the weights of the best accuracy on held-out comparisons of the budget, where `feedback.heldout` leaves some
    (arXiv 2606.11982).

    Args:
        model: makes the segment scorer, a `PartialReturn`, from obs_size, action_size and rng.
        advantage_share: share of the run that fits it.
        check_every: updates between looks at the held-out comparisons.
        pairs: comparisons per update of the scorer, for each member.
        sample_share: effective sample size over the number of segments.
        batch_size: segments per update of the policy.
        lr: of the policy's Adam.
    """

    accelerated = True
    stages = ("advantage_updates",)

    fits = ("loss", "score", "annotators")

    def __init__(
        self,
        *,
        model: Callable[..., PartialReturn],
        advantage_share: float,
        check_every: int,
        pairs: int,
        sample_share: float,
        batch_size: int,
        lr: float,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if not 0 < sample_share <= 1:
            raise ValueError(f"sample_share={sample_share}: expected a share in (0, 1]")
        required(model=model)
        share(advantage_share=advantage_share)
        whole(1, check_every=check_every, pairs=pairs, batch_size=batch_size)
        self._make_model, self.advantage_share, self.lr = model, advantage_share, lr
        self.check_every, self.pairs = check_every, pairs
        self.sample_share, self.batch_size = sample_share, batch_size

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.model = self.make_model(self.require_vectors(), self.action_size, self.rng)
        self._answers = self.learn_answers()
        self.model.observe(self.data.observations)
        self.advantage_updates = share_of(self.steps, self.advantage_share)
        self.optimizers |= {"policy": adam(self.actor.parameters(), self.lr), "model": self.model.optimizer}
        self.best: dict[str, Any] = {"accuracy": -1.0, "weights": None}
        self._weights: Tensor | None = None  # (N,) sampling probabilities, once the second phase has begun

    def update(self) -> Metrics:
        if self.updates < self.advantage_updates:
            return self._update_model()
        if self._weights is None:
            if self.best["weights"] is not None:
                self.model.load_state_dict(self.best["weights"])
            self._weights = weights_of_share(
                brought(score_in_blocks(self.score, self.data.segments), CPU), self.sample_share
            )
        # Drawing segments by their weight is weighted cloning with less variance than weighing uniform draws.
        rows = torch.multinomial(self._weights, self.batch_size, replacement=True, generator=self.rng)
        segments = self.data.segments[rows]
        return {"train/loss": descend(self.optimizers["policy"], bc_loss(self.actor, segments))}

    def _update_model(self) -> dict[str, float]:
        comparisons = self._answers.sample_pairs(self.model.members * self.pairs, self.rng)
        learned = self.objective.update(self.model, comparisons) | self.objective.facts()
        metrics = {f"reward/{k}": v for k, v in learned.items()}
        held = self.data.validation
        due = (self.updates + 1) % self.check_every == 0 or self.updates + 1 == self.advantage_updates
        if held is not None and due:
            left, right = score_in_blocks(self.score, held.left), score_in_blocks(self.score, held.right)
            accuracy = number(preference_accuracy(left, right, held.prefers_right))
            if accuracy > self.best["accuracy"]:
                weights = {k: v.clone() for k, v in self.model.state_dict().items()}
                self.best = {"accuracy": accuracy, "weights": weights}
            metrics["reward/validation_accuracy"] = accuracy
        return metrics

    @torch.no_grad()
    def score(self, segments: Segments) -> Tensor:
        return self.objective.scores(self.model.score(segments), segments).mean(0)


def weights_of_share(advantage: Tensor, share: float) -> Tensor:
    """Return normalised exp(advantage / lambda) (N,), with lambda such that (sum w)^2 / sum w^2 = share * N.

    By bisection on log lambda; equal advantages have equal weights.
    """
    centred = (advantage - advantage.max()).double()
    if not (centred < 0).any():
        return torch.full_like(centred, 1 / len(centred))
    low, high = math.log(1e-6), math.log(1e6)
    for _ in range(100):
        middle = (low + high) / 2
        weights = (centred / math.exp(middle)).exp()
        size = weights.sum() ** 2 / weights.square().sum()
        low, high = (middle, high) if size < share * len(centred) else (low, middle)
    return weights / weights.sum()
