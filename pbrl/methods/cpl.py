"""Contrastive preference learning: a policy straight from comparisons, with no reward and no critic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pbrl.blocks import score_in_blocks
from pbrl.checks import between, one_of, share, whole
from pbrl.losses import (
    DIVERGENCES,
    cpl_loss,
    discounted_sum,
    divergence_score,
    ipo_loss,
    preference_accuracy,
    ranked_cpl_loss,
)
from pbrl.methods.bc import bc_loss
from pbrl.methods.early_stop import EarlyStop
from pbrl.methods.method import Metrics, Run
from pbrl.methods.offline import OfflineMethod, cloning, share_of
from pbrl.nets.devices import move, number
from pbrl.nets.networks import adam, descend
from pbrl.nets.policies import Policy
from pbrl.rewards.objective import heldout_figures
from pbrl.types import Segments


class CPL(OfflineMethod):
    """Learns a policy by a loss on comparisons: under the regret model and maximum entropy A* = alpha log pi.

    Score of a segment: sum_t gamma^t alpha log pi(a_t|s_t), minus that of the reference where there is one
    (Hejna et al. 2024). BC on all segments comes first. Labels should follow regret: with labels that follow the
    return the same loss can end below BC.

    Args:
        alpha: temperature; one knob with the width of the policy, which is fixed.
        bias: lambda, the weight of the losing segment. 1 is consistent where alpha fits the labels, less is robust.
        gamma: discount inside a segment.
        bc_weight: weight of the cloning loss on the compared segments in the second stage (CPL-BC).
        kl: score relative to the cloned policy (CPL-KL).
        divergence: from that policy, with `kl`: what a step scores by the ratio of both, see `divergence_score`.
        per_step: score the mean over a segment's real steps, so that a longer one is no better for being longer.
        margin: by how much the winning segment is to be ahead.
        ipo: None, or the gap of scores that `ipo_loss` asks for instead, with `kl`; it has no bias and no margin.
        chosen_weight: of the cloning loss on the preferred segments alone, in the second stage.
        bc_share, clone_updates: share of the run that clones all segments; or how many updates do, where it is given:
            cloning takes as long in a short run as in a long one.
        stop_after, check_every: the second stage ends, with the best weights, after so many looks in a row at which
            held-out answers (`feedback.heldout`) were predicted no better, one look each `check_every` updates; None:
            it goes on to the end of the run. With few answers the policy knows them by heart before that.
        lr, lr_factor, warmup_share: Adam's rate; in the second stage times lr_factor, after a linear warm-up of this
            share of the run.
        batch_size: comparisons; where all pairs of scored segments count as labelled, twice as many segments.
    """

    accelerated = True
    stop: EarlyStop | None = None
    stages = ("bc_updates", "warmup")
    chooses = True

    def __init__(
        self,
        *,
        alpha: float,
        bias: float,
        gamma: float,
        bc_weight: float,
        kl: bool,
        bc_share: float,
        lr: float,
        lr_factor: float,
        warmup_share: float,
        batch_size: int,
        clone_updates: int | None = None,
        stop_after: int | None = None,
        check_every: int = 100,
        divergence: str = "reverse_kl",  # as in runs that were made before there was a choice, like the next ones
        per_step: bool = False,
        margin: float = 0.0,
        ipo: float | None = None,
        chosen_weight: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if not 0 < bias <= 1:
            raise ValueError(f"bias={bias}: expected lambda in (0, 1]")
        share(bc_share=bc_share, warmup_share=warmup_share)
        if kl and clone_updates is None and not 0 < bc_share < 1:
            raise ValueError(f"bc_share={bc_share}: with kl, expected a share above 0 and below 1")
        whole(1, batch_size=batch_size, check_every=check_every)
        for name, count in (("clone_updates", clone_updates), ("stop_after", stop_after)):
            if count is not None:
                whole(1, **{name: count})
        self.clone_updates, self.stop_after, self.check_every = clone_updates, stop_after, check_every
        self.alpha, self.bias, self.gamma, self.bc_weight, self.kl = alpha, bias, gamma, bc_weight, kl
        self.bc_share, self.warmup_share = bc_share, warmup_share
        self.lr, self.lr_factor, self.batch_size = lr, lr_factor, batch_size
        self.divergence, self.per_step, self.margin, self.ipo = divergence, per_step, margin, ipo
        self.chosen_weight = chosen_weight
        self._check_variant()

    def _check_variant(self) -> None:
        one_of(DIVERGENCES, divergence=self.divergence)
        if self.divergence != "reverse_kl" and not self.kl:
            raise ValueError(f"divergence={self.divergence}: with kl=false there is no policy that it is from")
        between(0, 1e6, margin=self.margin, chosen_weight=self.chosen_weight)
        if self.ipo is None:
            return
        between(1e-6, 1e6, ipo=self.ipo)
        if self.margin or self.bias != 1 or not self.kl:
            what = "a gap relative to the cloned policy, with no margin and no bias"
            raise ValueError(f"ipo={self.ipo}: {what}; expected kl=true, margin=0 and bias=1")

    def begin(self, run: Run) -> None:
        super().begin(run)
        if self.data.scores is not None and (self.ipo is not None or self.chosen_weight):
            both = f"ipo={self.ipo} and chosen_weight={self.chosen_weight}"
            raise ValueError(f"{both} are of pairs; with feedback.pairs=dense expected null and 0")
        self.bc_updates = cloning(self.steps, self.bc_share, self.clone_updates)
        self.warmup = share_of(self.steps, self.warmup_share)
        self.reference: Policy | None = None
        if self.kl:
            self.reference = move(self.make_policy(torch.Generator()), run.device)
            self.reference.requires_grad_(False)
        self.optimizers["policy"] = adam(self.actor.rates(self.lr), self.lr)
        if self.stop_after is not None:
            if self.data.scores is not None:
                raise ValueError(
                    f"stop_after={self.stop_after} looks at held-out answers, and feedback.pairs=dense lists none; "
                    "expected null"
                )
            if self.data.validation is None:
                raise ValueError("stop_after looks at held-out answers, and there are none; set feedback.heldout=0.2")
            self.stop = EarlyStop(self.stop_after)

    def train(self, mode: bool = True) -> None:
        super().train(mode)
        if self.reference is not None:
            self.reference.eval()  # no dropout in what the policy is measured against

    def update(self) -> Metrics:
        if self.updates < self.bc_updates:
            loss = bc_loss(self.actor, self.data.sample_segments(2 * self.batch_size, self.rng))
            return {"train/bc_loss": descend(self.optimizers["policy"], loss)}
        if self.updates == self.bc_updates:
            self.optimizers["policy"] = adam(self.actor.rates(self.lr), self.lr)
            if self.reference is not None:
                self.reference.load_state_dict(self.actor.state_dict())
            self._look(self.updates)
        if self.stop is not None and self.stop.over:
            return {}
        self._set_lr()
        metrics = self._update_ranked() if self.data.scores is not None else self._update_pairs()
        self._look(self.updates + 1)
        return metrics

    def _look(self, updates: int) -> None:
        """Look at the held-out answers, where the second stage stops by them and a look is due."""
        ends = updates == self.steps
        if self.stop is None or not (ends or (updates - self.bc_updates) % self.check_every == 0):
            return
        held = self.data.validation
        assert held is not None  # as begin has found
        self.train(False)
        gain = score_in_blocks(self._score_of, held.right) - score_in_blocks(self._score_of, held.left)
        self.stop.look(self.actor, heldout_figures(gain, held.prefers_right)["loss"], updates)
        self.train()
        if ends:
            self.stop.restore(self.actor)

    def _update_pairs(self) -> dict[str, float]:
        comparisons = self.data.sample_pairs(self.batch_size, self.rng)
        both = Segments.cat([comparisons.left, comparisons.right])
        log_prob = self.actor.log_prob(both.obs[:, :-1], both.actions)
        left, right = self._score(log_prob, both).chunk(2)
        if self.ipo is None:
            loss = cpl_loss(left, right, comparisons.prefers_right, self.bias, self.margin)
        else:
            loss = ipo_loss(left, right, comparisons.prefers_right, self.ipo)
        loss = loss + self._bc(log_prob, both)
        if self.chosen_weight:
            chosen = torch.cat([1 - comparisons.prefers_right, comparisons.prefers_right])[:, None] * both.mask
            loss = loss - self.chosen_weight * (log_prob * chosen).sum() / chosen.sum()
        value = descend(self.optimizers["policy"], loss)
        accuracy = preference_accuracy(left.detach(), right.detach(), comparisons.prefers_right)
        return {"train/loss": value, "train/accuracy": number(accuracy)}

    def _update_ranked(self) -> dict[str, float]:
        """Update over all pairs of a batch."""
        segments, order = self.data.sample_scored(2 * self.batch_size, self.rng)
        log_prob = self.actor.log_prob(segments.obs[:, :-1], segments.actions)
        loss = ranked_cpl_loss(self._score(log_prob, segments), order, self.bias, self.margin)
        return {"train/loss": descend(self.optimizers["policy"], loss + self._bc(log_prob, segments))}

    def _score(self, log_prob: Tensor, segments: Segments) -> Tensor:
        """Map log pi (N, T) to the scores (N,) of segments."""
        if self.reference is not None:
            with torch.no_grad():
                reference = self.reference.log_prob(segments.obs[:, :-1], segments.actions)
            log_prob = divergence_score(log_prob - reference, self.divergence)
        score = self.alpha * discounted_sum(log_prob, segments.mask, self.gamma)
        return score / segments.mask.sum(1).clamp(min=1) if self.per_step else score

    def _bc(self, log_prob: Tensor, segments: Segments) -> Tensor:
        return -self.bc_weight * (log_prob * segments.mask).sum() / segments.mask.sum()

    def _set_lr(self) -> None:
        done = self.updates - self.bc_updates + 1
        warm = min(1.0, done / self.warmup) if self.warmup else 1.0
        for group, rate in zip(self.optimizers["policy"].param_groups, self.actor.rates(self.lr), strict=True):
            group["lr"] = rate["lr"] * self.lr_factor * warm

    @torch.no_grad()
    def score(self, segments: Segments) -> Tensor | None:
        if self.reference is not None and self.updates <= self.bc_updates:
            return None  # nothing to compare with yet
        return self._score_of(segments)

    @torch.no_grad()
    def _score_of(self, segments: Segments) -> Tensor:
        return self._score(self.actor.log_prob(segments.obs[:, :-1], segments.actions), segments)

    def facts(self) -> dict[str, Any]:
        return super().facts() | ({} if self.stop is None else {"best_update": self.stop.best_update})
