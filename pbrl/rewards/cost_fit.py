"""The fit of a cost model to all that was said of safety, each time from the beginning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import between, positive, whole
from pbrl.losses import preference_accuracy
from pbrl.nets.networks import descend
from pbrl.rewards.cost import CostModel, blamed, contradicted, log_safe, safer_loss, step_loss, unsafe_loss
from pbrl.types import Segments

EVEN = float(np.log(0.5))  # log P(safe) of what is as likely unsafe


class Judged(NamedTuple):
    """Segments in the order in which they were asked about, each once."""

    segments: Segments  # (N,)
    unsafe: Tensor  # (N,) in [0, 1], the share of those who answered that called it unsafe


class Fitted(NamedTuple):
    loss: float  # mean of the last quarter
    accuracy: float  # on what was learned from
    updates: int
    unsafe: int = 0  # segments that most called unsafe
    forgotten: int = 0  # of these


@dataclass(frozen=True)
class CostFit:
    """Fits a cost model. Args as of `pbrl.methods.safe.Safe`, where they are explained."""

    updates: int
    batch_size: int
    spread: float
    radius: float | None
    witnesses: int

    def __post_init__(self) -> None:
        whole(1, updates=self.updates, batch_size=self.batch_size, witnesses=self.witnesses)
        between(0, 1e6, spread=self.spread)
        if self.radius is not None:
            positive(radius=self.radius)

    def of_unsafe(self, model: CostModel, judged: Judged, rng: torch.Generator) -> Fitted:
        """Fit twice where something is forgotten, so that it leaves nothing behind."""
        segments, unsafe = judged
        last, updates = self._fit_unsafe(model, judged, rng), self.updates
        forgotten = self._contradicted(model, segments, unsafe > 0.5)
        if forgotten.any():
            segments, unsafe = segments[~forgotten], unsafe[~forgotten]
            last, updates = self._fit_unsafe(model, Judged(segments, unsafe), rng), 2 * self.updates
        with torch.no_grad():
            right = (model.log_safe(segments) < EVEN) == (unsafe > 0.5)
        counts = int((judged.unsafe > 0.5).sum()), int(forgotten.sum())
        return Fitted(last, float(right.float().mean()), updates, *counts)

    def of_pairs(
        self, model: CostModel, left: Segments, right: Segments, prefers_right: Tensor, rng: torch.Generator
    ) -> Fitted:
        """Fit it to pairs. prefers_right: (N,), the probability that the right segment is the safer one."""

        def loss(rows: Tensor) -> Tensor:
            sides = left[rows], right[rows]
            ours, theirs = (model.log_safe(side) for side in sides)
            fitted = safer_loss(ours, theirs, prefers_right[rows])
            return fitted + sum(model.penalty(side) for side in sides)

        last = self._fit(model, loss, len(prefers_right), rng)
        with torch.no_grad():
            accuracy = preference_accuracy(model.log_safe(left), model.log_safe(right), prefers_right)
        return Fitted(last, float(accuracy), self.updates)

    def _fit_unsafe(self, model: CostModel, judged: Judged, rng: torch.Generator) -> float:
        def loss(rows: Tensor) -> Tensor:
            batch, unsafe = judged.segments[rows], judged.unsafe[rows]
            logits = model(batch.obs[:, :-1], batch.actions)
            whole = unsafe_loss(log_safe(logits, batch.mask), unsafe)
            return whole + self.spread * step_loss(logits, batch.mask, unsafe) + model.penalty(batch)

        return self._fit(model, loss, len(judged.segments), rng)

    def _fit(self, model: CostModel, loss: Callable[[Tensor], Tensor], n: int, rng: torch.Generator) -> float:
        """Fit the model from the beginning; return the mean loss of the last quarter of the updates."""
        model.reset()
        drawn = (torch.randint(n, (self.batch_size,), generator=rng) for _ in range(self.updates))
        losses = [descend(model.optimizer, loss(rows)) for rows in drawn]
        return float(np.mean(losses[-max(1, self.updates // 4) :]))

    def _contradicted(self, model: CostModel, segments: Segments, unsafe: Tensor) -> Tensor:
        if self.radius is None:
            return torch.zeros(len(segments), dtype=torch.bool)
        with torch.no_grad():
            logits = model(segments.obs[:, :-1], segments.actions)
        states, mask = model.norm(segments.obs[:, 1:]), segments.mask  # what a step leads to is what is unsafe
        return contradicted(states, mask, blamed(logits, mask), unsafe, self.radius, self.witnesses)
