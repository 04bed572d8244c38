"""RIME (Cheng et al. 2024): PEBBLE that doubts answers, and whose reward begins with what exploring was paid."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pbrl.checks import required, share, whole
from pbrl.feedback.label_filter import LabelFilter, surprise
from pbrl.feedback.settings import Feedback
from pbrl.finite import REWARD_MODEL, require_finite_metrics
from pbrl.methods.method import Metrics, Run
from pbrl.methods.pebble import Pebble
from pbrl.nets.networks import descend
from pbrl.types import Comparisons, Segments

WARM_EVERY = 10  # environment steps: the steps of a warm start come in blocks, as many as if each had its own


class Rime(Pebble):
    """Filters the answers anew before each epoch of a fit, and warms the reward up before the first session.

    Args:
        label_filter: which answers are trusted, and which turned round.
        batch_size: comparisons per member and gradient step.
        min_epochs, max_epochs: of a fit.
        stop_accuracy: of what is learned from in an epoch, at which the fit ends.
        warmup_epochs: of the run, over which the reward's learning rate rises linearly.
        warm_updates: per environment step before the first session, towards the intrinsic reward, which is centred
            and divided by the largest size seen; 0: none.
        warm_batch: stored steps in each.
        others: as for `Pebble`; `fit` is None.
    """

    agents = ("sac", "ppo")
    uses_objective = fits_itself = True

    def __init__(
        self,
        *,
        label_filter: LabelFilter,
        batch_size: int,
        min_epochs: int,
        max_epochs: int,
        stop_accuracy: float,
        warmup_epochs: int,
        warm_updates: int,
        warm_batch: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        required(label_filter=label_filter)
        whole(1, batch_size=batch_size, min_epochs=min_epochs, warm_batch=warm_batch)
        whole(min_epochs, max_epochs=max_epochs)
        whole(0, warmup_epochs=warmup_epochs, warm_updates=warm_updates)
        share(stop_accuracy=stop_accuracy)
        self.label_filter, self.batch_size = label_filter, batch_size
        self.min_epochs, self.max_epochs, self.stop_accuracy = min_epochs, max_epochs, stop_accuracy
        self.warmup_epochs, self.warm_updates, self.warm_batch = warmup_epochs, warm_updates, warm_batch

    def check(self, feedback: Feedback) -> None:
        super().check(feedback)
        if self.warm_updates and self.explore is None:
            raise ValueError(f"warm_updates={self.warm_updates}: explore=null pays nothing that it could learn; set 0")

    def begin(self, run: Run) -> None:
        super().begin(run)
        if self.warm_updates and run.agent.kind != "sac":
            kept = f"agent={run.agent.kind} keeps no steps to learn from"
            raise ValueError(f"warm_updates={self.warm_updates}: {kept}; set 0")
        self._lr = self.optimizer.param_groups[0]["lr"]
        self.warmed, self.next_warm, self.largest = 0, WARM_EVERY, 0.0  # gradient steps; a step; of intrinsic rewards

    @property
    def is_warming(self) -> bool:
        return self.warm_updates > 0 and self.updates == 0

    def due(self) -> int | None:
        return min(self.next_session, self.next_warm) if self.is_warming else self.next_session

    def step(self) -> Metrics:
        if self.is_warming:
            self.warm_up()
        return super().step() if self.run.step >= self.next_session else {}

    def warm_up(self) -> None:
        """Make as many gradient steps as are due by now."""
        self.next_warm = self.run.step + WARM_EVERY
        agent: Any = self.run.agent
        if agent.buffer.settled == 0:
            return
        self.learn_scales()
        for _ in range(self.warm_updates * self.run.step - self.warmed):
            obs, actions, *_, rewards = agent.buffer.sample_arrays(self.warm_batch)
            target = self.warm_target(torch.from_numpy(rewards[:, 0]))
            made = self.model(torch.from_numpy(obs), torch.from_numpy(actions))  # (E, B)
            descend(self.optimizer, (made - target).square().mean(1).sum())
        self.warmed = self.warm_updates * self.run.step

    def warm_target(self, paid: Tensor) -> Tensor:
        """Scale intrinsic rewards (B,), distances over their spread, to [-1, 1]: centred, over the largest seen."""
        assert self.explore is not None
        seen = self.explore.distances
        centred = paid - float(seen.mean / seen.var.sqrt().clamp_min(1e-6))
        self.largest = max(self.largest, float(centred.abs().max()))
        return centred / max(self.largest, 1e-6)

    def learn_model(self) -> Metrics:
        told, rows = self.preferences.believed, self.preferences.train_rows
        if told is None or len(rows) == 0:
            return {"updates": 0}
        answered, updates, epoch = told[rows], 0, Metrics()
        for done in range(1, self.max_epochs + 1):
            surprises = surprise(self.member_scores, answered)
            chosen, bound = self.label_filter.choose(surprises), self.label_filter.bound
            if len(chosen.rows) == 0:  # nor would there be any in the next one
                break
            self.set_lr()
            turned = torch.where(chosen.flipped, 1 - answered.prefers_right, answered.prefers_right)
            epoch = self.learn_epoch(dataclasses.replace(answered, prefers_right=turned), chosen.rows)
            updates += math.ceil(len(chosen.rows) / self.batch_size)
            self.label_filter.note_learned(surprises[chosen.trusted])
            shares = {name: float(which.float().mean()) for name, which in chosen._asdict().items()}
            epoch |= {**shares, "filter_bound": bound}
            if done >= self.min_epochs and epoch["accuracy"] > self.stop_accuracy:
                break
        return {"updates": updates} | epoch

    def member_scores(self, segments: Segments) -> Tensor:
        """Return what answers compare, for each member (E, N)."""
        return self.objective.scores(self.model.score(segments), segments)

    def learn_epoch(self, told: Comparisons, rows: Tensor) -> Metrics:
        """Learn for an epoch; return mean loss and accuracy: one of ties alone has no accuracy and counts as right."""
        found = []
        for batch in self.batches(told, rows):
            found.append((len(batch), self.objective.update(self.model, batch)))
            require_finite_metrics(found[-1][1], REWARD_MODEL)
        decided = [(n, row["accuracy"]) for n, row in found if not math.isnan(row["accuracy"])]
        accuracy = sum(n * a for n, a in decided) / sum(n for n, _ in decided) if decided else 1.0
        loss = sum(n * row["loss"] for n, row in found) / sum(n for n, _ in found)
        return {"loss": loss, "accuracy": accuracy}

    def batches(self, told: Comparisons, rows: Tensor) -> Iterator[Comparisons]:
        """Batch these rows in an order of its own for each member, b consecutive ones for each in turn."""
        rng, members = self.run.rng("fit"), self.model.members
        drawn = torch.stack([rows[torch.randperm(len(rows), generator=rng)] for _ in range(members)])
        for part in drawn.split(self.batch_size, dim=1):
            yield told[part.flatten()]

    def set_lr(self) -> None:
        risen = min(1.0, (self.label_filter.epoch + 1) / self.warmup_epochs) if self.warmup_epochs else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr * risen

    def metrics(self) -> Metrics:
        return super().metrics() | ({"reward/warm_updates": self.warmed} if self.warm_updates else {})
