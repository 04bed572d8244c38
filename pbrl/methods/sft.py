"""Supervised fine-tuning: clone everything, then only what was preferred."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pbrl.checks import share, whole
from pbrl.methods.bc import bc_loss, log_likelihood
from pbrl.methods.method import Metrics, Run
from pbrl.methods.offline import OfflineMethod, cloning
from pbrl.nets.networks import adam, descend
from pbrl.types import Segments


class SFT(OfflineMethod):
    """BC on all segments, then on the preferred side of each comparison; a tie counts on both sides (CPL's baseline).

    Where all pairs of scored segments count as labelled, the preferred ones are drawn as the better of random pairs.

    Args:
        bc_share, clone_updates: share of the run that clones all segments; or how many updates do, where it is given.
        batch_size: comparisons; the first stage takes twice as many segments, so that both cost the same.
        lr: of Adam, anew for the second stage.
    """

    accelerated = True
    stages = ("bc_updates",)
    chooses = True

    def __init__(
        self, *, bc_share: float, batch_size: int, lr: float, clone_updates: int | None = None, **common: Any
    ) -> None:
        super().__init__(**common)
        share(bc_share=bc_share)
        whole(1, batch_size=batch_size)
        if clone_updates is not None:
            whole(1, clone_updates=clone_updates)
        self.clone_updates = clone_updates
        self.bc_share, self.batch_size, self.lr = bc_share, batch_size, lr

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.bc_updates = cloning(self.steps, self.bc_share, self.clone_updates)
        self.optimizers["policy"] = adam(self.actor.rates(self.lr), self.lr)

    def update(self) -> Metrics:
        if self.updates == self.bc_updates:
            self.optimizers["policy"] = adam(self.actor.rates(self.lr), self.lr)
        if self.updates < self.bc_updates:
            loss = bc_loss(self.actor, self.data.sample_segments(2 * self.batch_size, self.rng))
            return {"train/bc_loss": descend(self.optimizers["policy"], loss)}
        comparisons = self.data.sample_pairs(self.batch_size, self.rng)
        both = Segments.cat([comparisons.left, comparisons.right])
        weight = torch.cat([1 - comparisons.prefers_right, comparisons.prefers_right])[:, None] * both.mask
        log_prob = self.actor.log_prob(both.obs[:, :-1], both.actions)
        return {"train/loss": descend(self.optimizers["policy"], -(log_prob * weight).sum() / weight.sum())}

    def score(self, segments: Segments) -> Tensor:
        return log_likelihood(self.actor, segments)
