"""SURF (Park et al. 2022): PEBBLE that also learns from crops of segments and from unlabelled pairs it is sure of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pbrl.checks import between, lengths, share, whole
from pbrl.feedback.crops import crop_loss, draw_crops, score_crops
from pbrl.feedback.settings import Feedback
from pbrl.methods.method import Metrics
from pbrl.methods.pebble import Pebble
from pbrl.nets.devices import number
from pbrl.nets.networks import descend
from pbrl.rewards.losses.loss import cross_entropy
from pbrl.types import Comparisons


class Surf(Pebble):
    """Crops both sides of each pair, and adds unlabelled pairs with the label that each member gives them itself.

        L = CE(crops of labelled) + weight * mean(1[confidence >= threshold] CE(crops of unlabelled, pseudo-label))

    The pseudo-label and its confidence max(p, 1 - p) come from the whole segments, by the same member. Crops lie inside
    the segments that were judged, where the released code stores segments with a margin of 5 steps on each side.

    Args:
        crop: shortest and longest, in steps.
        batch_size: labelled pairs per gradient step.
        unlabelled: unlabelled pairs per labelled one in a batch (mu).
        unlabelled_batch: unlabelled pairs in each gradient step instead, however few the labelled ones are.
        unlabelled_pairs: drawn anew in each session, per question of one, uniformly from recent episodes.
        threshold: confidence from which a pseudo-label counts (tau).
        weight: of the unlabelled term (lambda).
        passes: gradient steps of a session are ceil(passes * labels / batch_size).
        others: as for `Pebble`; `fit` is None.
    """

    agents: ClassVar[tuple[str, ...]] = ("sac", "ppo")

    accelerated = True
    uses_objective = fits_itself = True

    def __init__(
        self,
        *,
        crop: Sequence[int],
        batch_size: int,
        unlabelled: int,
        unlabelled_batch: int | None = None,
        unlabelled_pairs: int,
        threshold: float,
        weight: float,
        passes: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        whole(1, batch_size=batch_size, unlabelled=unlabelled, unlabelled_pairs=unlabelled_pairs, passes=passes)
        if unlabelled_batch is not None:
            whole(1, unlabelled_batch=unlabelled_batch)
        share(threshold=threshold)
        between(0, 100, weight=weight)
        self.crop, self.batch_size, self.passes = crop, batch_size, passes
        self.unlabelled, self.unlabelled_batch = unlabelled, unlabelled_batch
        self.unlabelled_pairs = unlabelled_pairs
        self.threshold, self.weight = threshold, weight

    def check(self, feedback: Feedback) -> None:
        super().check(feedback)
        lengths(feedback.segment_length, crop=self.crop)

    def learn_model(self) -> Metrics:
        rng, labels = self.run.rng("fit"), len(self.preferences.train_rows)
        updates = math.ceil(self.passes * labels / self.batch_size)
        if updates == 0:
            return {"updates": 0}
        pool = self.unlabelled_pool(self.unlabelled_pairs * self.run.feedback.per_session)
        rows: list[Metrics] = []
        while len(rows) < updates:
            for batch in self.preferences.batches(self.batch_size, self.model.members, False, rng):
                rows.append(self.update(batch, pool))
                if len(rows) == updates:
                    break
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        return {"updates": updates, **means}

    def unlabelled_pool(self, n: int) -> Comparisons:
        """Draw n random pairs of recent segments; their answers are not known and never read."""
        f = self.run.feedback
        left, right = self.run.episodes.sample_pairs(n, f.segment_length, self.run.rng("fit"), f.pool_episodes)
        return Comparisons(left, right, torch.full((n,), 0.5), torch.zeros(n, dtype=torch.long))

    def update(self, batch: Comparisons, pool: Comparisons) -> Metrics:
        rng, members = self.run.rng("fit"), self.model.members
        crops = draw_crops(len(batch), batch.left.steps, self.crop, 1, rng)
        loss, accuracy = crop_loss(self.model, batch, crops, self.objective)
        each = self.unlabelled_batch or self.unlabelled * len(batch) // members
        drawn = torch.randint(len(pool), (each * members,), generator=rng)
        own, used = self.unlabelled_loss(pool[drawn])
        value = descend(self.model.optimizer, loss + self.weight * own)
        return {"loss": value / members, "accuracy": 1.0 if math.isnan(accuracy) else accuracy, "pseudo_labels": used}

    def unlabelled_loss(self, pairs: Comparisons) -> tuple[Tensor, float]:
        """Return the sum over members of the mean loss on their pairs, and the share of pairs that they are sure of."""
        sides = (pairs.left, pairs.right)
        rewards = [self.model.own_rewards(side) for side in sides]  # (E, b, T)
        with torch.no_grad():
            left, right = (self.objective.scores(r.sum(-1), side) for r, side in zip(rewards, sides, strict=True))
            p = torch.sigmoid(right - left)  # (E, b)
            sure = (torch.maximum(p, 1 - p) >= self.threshold).float()
            target = (p > 0.5).float()
        crops = draw_crops(len(pairs), pairs.left.steps, self.crop, 1, self.run.rng("fit"))
        left, right = (
            score_crops(r, side, start, crops.length, self.objective)
            for r, side, start in zip(rewards, sides, (crops.left, crops.right), strict=True)
        )
        each = cross_entropy(right - left, target)
        return (sure * each).mean(1).sum(), number(sure.mean())
