"""PoLiCER (Heo et al. 2026): questions about what the policy would do now, and resets when values grow too large."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import between, positive, whole
from pbrl.errors import UserError
from pbrl.feedback.samplers import preference_probability
from pbrl.methods.between import BetweenSessions
from pbrl.methods.method import Metrics, Run
from pbrl.methods.qpa import Qpa
from pbrl.question_kinds import SegmentPair
from pbrl.types import Segments


class Policer(BetweenSessions, Qpa):
    """Asks about likely segments; a value above a threshold makes reward and critics begin anew, with more updates.

    Args:
        rank_power: segments are drawn in proportion to rank^-rank_power, the likeliest being rank 1; 0: uniformly.
        reset_above: the first threshold, of the largest mean value of a batch since the last reset; None: no resets.
        reset_raise: what a reset adds to the threshold.
        reset_decay: by which it multiplies what the next adds.
        reset_most: the highest threshold.
        most_updates: each reset adds one to the updates per step, up to these, until labels end.
        watch_every: environment steps from one look at the values to the next.
        watch_batch: stored observations of a look.
        others: as for `Qpa`.
    """

    sampler_name, uses_objective = "likelihood", True

    def __init__(
        self,
        *,
        rank_power: float,
        reset_above: float | None,
        reset_raise: float,
        reset_decay: float,
        reset_most: float,
        most_updates: int,
        watch_every: int,
        watch_batch: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        between(0, 10, rank_power=rank_power)
        between(0, 1, reset_decay=reset_decay)
        between(0, 1e6, reset_raise=reset_raise)
        positive(reset_most=reset_most, **({} if reset_above is None else {"reset_above": reset_above}))
        whole(1, most_updates=most_updates, watch_every=watch_every, watch_batch=watch_batch)
        self.rank_power, self.reset_above, self.reset_raise = rank_power, reset_above, reset_raise
        self.reset_decay, self.reset_most, self.most_updates = reset_decay, reset_most, most_updates
        self.between_every, self.watch_batch = watch_every, watch_batch

    def begin(self, run: Run) -> None:
        if run.sampler_name != "uniform":
            given = f"queries={run.sampler_name}"
            raise UserError(f"{given}: this method asks about what its policy would do now; set queries=uniform")
        super().begin(run)
        self.resets, self.update_times, self.times_now, self.largest = 0, 1, 1, 0.0
        self.threshold, self.raise_by = self.reset_above, self.reset_raise

    def choose(self, n: int) -> tuple[SegmentPair, float]:
        """Pairs of segments drawn by the likelihood of what was done in them, and the members' disagreement."""
        f, episodes, rng = self.run.feedback, self.run.episodes, self.run.rng("queries")
        candidates = episodes.draw(2 * f.candidates * n, f.segment_length, rng, f.pool_episodes)[:]
        weights = rank_weights(self.likelihood(candidates), self.rank_power)
        n = min(n, len(weights) // 2)
        rows = torch.multinomial(weights, 2 * n, replacement=False, generator=rng)
        rows = rows[torch.randperm(2 * n, generator=rng)]  # what was drawn first is likelier
        left, right = candidates[rows[:n]], candidates[rows[n:]]
        measured = preference_probability(self.model, left, right)
        return episodes.as_question(left, right), float(measured.std(0, unbiased=False).mean())

    def likelihood(self, segments: Segments) -> Tensor:
        """Return the mean log density (N,) of actions under the current policy, over steps and numbers of an action."""
        obs, actions = segments.obs[:, :-1].flatten(0, 1), segments.actions.flatten(0, 1)
        each = torch.from_numpy(self.run.agent.log_prob(obs.numpy(), actions.numpy())).view_as(segments.mask)
        return (each * segments.mask).sum(1) / (segments.mask.sum(1) * segments.actions.shape[-1])

    def between(self) -> Metrics:
        """Look at the values of what the policy would do."""
        if self.threshold is None:
            return {}
        stored = self.run.agent.stored_obs
        rows = torch.randint(len(stored), (self.watch_batch,), generator=self.run.rng("watch"))
        self.largest = max(self.largest, float(np.mean(self.run.agent.values(stored[rows.numpy()]))))
        return {}

    @property
    def must_reset(self) -> bool:
        """Return whether values grew too large; never before the first session, which resets the critics anyway."""
        return self.threshold is not None and self.largest > self.threshold

    def learn_model(self) -> Metrics:
        fitted = super().learn_model()
        if not self.must_reset:
            return fitted
        self.model.reset()
        again = super().learn_model()
        return again | {"updates": fitted["updates"] + again["updates"]}

    def adopt(self, first: bool) -> None:
        super().adopt(first)
        if self.must_reset:
            self.run.agent.reset_critic()
            self.run.agent.update(self.update_times)
            self.after_reset()
        # Once labels have ended, learn as without resets.
        self.times_now = 1 if self.run.desk.exhausted else self.update_times
        self.run.agent.set_update_times(self.times_now)

    def after_reset(self) -> None:
        """Make the next reset need larger values, and give each step one more update until then."""
        assert self.threshold is not None
        self.resets, self.largest = self.resets + 1, 0.0
        self.threshold = min(self.threshold + self.raise_by, self.reset_most)
        self.raise_by *= self.reset_decay
        self.update_times = min(self.update_times + 1, self.most_updates)

    def metrics(self) -> Metrics:
        watched = {} if self.threshold is None else {"reward/reset_threshold": self.threshold}
        counts = {
            "reward/resets": self.resets,
            "train/update_times": self.times_now,
            "train/largest_value": self.largest,
        }
        return super().metrics() | counts | watched

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.run.agent.set_update_times(self.times_now)


def rank_weights(scores: Tensor, power: float) -> Tensor:
    """Return probabilities (N,) in proportion to rank^-power; the highest score has rank 1."""
    rank = scores.argsort(descending=True, stable=True).argsort() + 1
    weights = rank.double() ** -power
    return weights / weights.sum()
