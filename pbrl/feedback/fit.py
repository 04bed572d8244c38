"""Fitting a reward model to all answers, with a stopping rule."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch

from pbrl.checks import between, whole
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.finite import REWARD_MODEL, require_finite_metrics
from pbrl.rewards.objective import PLAIN, Objective, heldout_figures
from pbrl.types import Comparisons, RewardModel


@dataclass(frozen=True)
class Fit:
    """Trains on all answers for up to `max_epochs` epochs or `max_updates` gradient steps, whichever comes first.

    Args:
        batch_size: comparisons per member and gradient step.
        stop_accuracy: ends after an epoch in which the members ordered more than this share of the training answers
            right (0.97 in PEBBLE); None: never so.
        patience: ends after so many epochs without a lower held-out loss, and goes back to the best weights; needs
            held-out comparisons; None: never so.
        bootstrap: each member learns from a resample of its own.
    """

    batch_size: int
    max_epochs: int
    max_updates: int | None
    stop_accuracy: float | None
    patience: int | None
    bootstrap: bool

    def __post_init__(self) -> None:
        whole(1, batch_size=self.batch_size, max_epochs=self.max_epochs)
        whole(1, **{k: v for k in ("max_updates", "patience") if (v := getattr(self, k)) is not None})
        if self.stop_accuracy is not None:
            between(0, 1, stop_accuracy=self.stop_accuracy)

    def __call__(
        self, model: RewardModel, preferences: PreferenceDataset, rng: torch.Generator, objective: Objective = PLAIN
    ) -> dict[str, float]:
        """Fit the model; return the last epoch's `loss` and `accuracy`, and the number of gradient steps in `updates`.

        There are also `heldout_loss`, `heldout_accuracy` and so on where answers are held out, see `heldout_figures`.
        """
        heldout = preferences.heldout
        best, best_weights, waited, updates = math.inf, None, 0, 0
        epoch: dict[str, float] = {}
        for _ in range(self.max_epochs):
            batches, sizes = [], []
            for batch in preferences.batches(self.batch_size, model.members, self.bootstrap, rng):
                batches.append(objective.update(model, batch))
                require_finite_metrics(batches[-1], REWARD_MODEL)
                sizes.append(len(batch))
                updates += 1
                if updates == self.max_updates:
                    break
            if not batches:
                return {"updates": 0}
            epoch = _mean(batches, sizes)
            if self.patience is not None and heldout is not None:
                loss = objective.heldout_loss(model, heldout)
                if loss < best:
                    best, best_weights, waited = loss, copy.deepcopy(model.state_dict()), 0
                else:
                    waited += 1
            learned = self.stop_accuracy is not None and epoch["accuracy"] > self.stop_accuracy
            if learned or updates == self.max_updates or (self.patience is not None and waited >= self.patience):
                break
        if best_weights is not None:
            model.load_state_dict(best_weights)
        return (
            epoch | {"updates": updates} | (heldout_metrics(model, heldout, objective) if heldout is not None else {})
        )


def heldout_metrics(model: RewardModel, comparisons: Comparisons, objective: Objective) -> dict[str, float]:
    """Return what the mean member makes of comparisons it was not trained on."""
    figures = heldout_figures(objective.gain(model, comparisons), comparisons.prefers_right)
    return {f"heldout_{name}": value for name, value in figures.items()}


def _mean(rows: list[dict[str, float]], sizes: list[int]) -> dict[str, float]:
    """Mean of each figure over the rows' comparisons; a batch of ties alone has no accuracy and counts as right."""
    pairs = {k: [(r[k], n) for r, n in zip(rows, sizes, strict=True) if not math.isnan(r[k])] for k in rows[0]}
    return {k: sum(v * n for v, n in p) / sum(n for _, n in p) if p else 1.0 for k, p in pairs.items()}
