"""Fitting a reward model to all answers, with a stopping rule."""

from __future__ import annotations

import copy
import math

import torch

from pbrl.blocks import score_in_blocks
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.finite import REWARD_MODEL, require_finite_metrics
from pbrl.losses import bradley_terry_loss, preference_accuracy
from pbrl.types import Comparisons, RewardModel


def fit_reward(
    model: RewardModel,
    preferences: PreferenceDataset,
    *,
    members: int,
    batch_size: int,
    max_epochs: int,
    max_updates: int | None,
    stop_accuracy: float | None,
    patience: int | None,
    bootstrap: bool,
    rng: torch.Generator,
) -> dict[str, float]:
    """Trains for up to `max_epochs` epochs or `max_updates` gradient steps, whichever comes first.

    stop_accuracy: ends after an epoch in which the members ordered more than this share of the training answers right
        (0.97 in PEBBLE).
    patience: ends after so many epochs without a lower held-out loss, and goes back to the best weights; needs
        held-out comparisons.
    Returns the last epoch's `loss` and `accuracy`, the number of gradient steps in `updates`, and `heldout_accuracy`.
    """
    heldout = preferences.heldout
    best, best_weights, waited, updates = math.inf, None, 0, 0
    epoch: dict[str, float] = {}
    for _ in range(max_epochs):
        batches, sizes = [], []
        for batch in preferences.batches(batch_size, members, bootstrap, rng):
            batches.append(model.update(batch))
            require_finite_metrics(batches[-1], REWARD_MODEL)
            sizes.append(len(batch))
            updates += 1
            if updates == max_updates:
                break
        if not batches:
            return {"updates": 0}
        epoch = _mean(batches, sizes)
        if patience is not None and heldout is not None:
            loss = heldout_metrics(model, heldout)["heldout_loss"]
            if loss < best:
                best, best_weights, waited = loss, copy.deepcopy(model.state_dict()), 0
            else:
                waited += 1
        learned = stop_accuracy is not None and epoch["accuracy"] > stop_accuracy
        if learned or updates == max_updates or (patience is not None and waited >= patience):
            break
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return epoch | {"updates": updates} | (heldout_metrics(model, heldout) if heldout is not None else {})


def heldout_metrics(model: RewardModel, comparisons: Comparisons) -> dict[str, float]:
    """Loss and accuracy of the mean member on comparisons it was not trained on."""
    sides = (comparisons.left, comparisons.right)
    left, right = (score_in_blocks(model.score, side).mean(0, keepdim=True) for side in sides)
    return {
        "heldout_loss": float(bradley_terry_loss(left, right, comparisons.prefers_right)),
        "heldout_accuracy": float(preference_accuracy(left, right, comparisons.prefers_right)),
    }


def _mean(rows: list[dict[str, float]], sizes: list[int]) -> dict[str, float]:
    """Mean of each figure over the rows' comparisons; a batch of ties alone has no accuracy and counts as right."""
    pairs = {k: [(r[k], n) for r, n in zip(rows, sizes, strict=True) if not math.isnan(r[k])] for k in rows[0]}
    return {k: sum(v * n for v, n in p) / sum(n for _, n in p) if p else 1.0 for k, p in pairs.items()}
