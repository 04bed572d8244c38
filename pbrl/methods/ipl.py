"""Inverse preference learning: the reward that a Q function implies is the one that is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pbrl.agents.iql import IQL, Batch, effective_share
from pbrl.checks import required, whole
from pbrl.data.offline import Transitions
from pbrl.losses import bradley_terry_loss, expectile_square, preference_accuracy
from pbrl.methods.method import Metrics, Run
from pbrl.methods.offline import OfflineMethod
from pbrl.nets.devices import move, number
from pbrl.types import Segments


class IPL(OfflineMethod):
    """r_Q(s, a, s') = Q(s, a) - gamma V(s') explains the comparisons; no reward network (Hejna & Sadigh 2023).

        Q    cross-entropy of sum r_Q over the segments, plus regulariser * E[r_Q^2], through Q alone
        V    expectile regression of min_k Q'_k(s, a); pi as in IQL

    The square, V and pi are averaged over compared and other steps separately and then equally, so that a large
    unlabelled set does not drown the labels.

    Args:
        regulariser: weight of the implied reward's square (chi^2 in the paper).
        pairs: comparisons per update.
        batch_size: other steps per update.
        iql: makes the critics, see `IQL`.
    """

    accelerated = True

    def __init__(
        self, *, regulariser: float, pairs: int, batch_size: int, iql: Callable[..., IQL], **common: Any
    ) -> None:
        super().__init__(**common)
        required(iql=iql)
        whole(1, pairs=pairs, batch_size=batch_size)
        self.regulariser, self.pairs, self.batch_size = regulariser, pairs, batch_size
        self._make_iql = iql

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.iql = move(self._make_iql(policy=self.actor, policy_steps=self.steps, rng=self.rng), run.device)
        self.optimizers["iql"] = self.iql.optimizer
        self._transitions: Transitions = self.data.transitions()

    def update(self) -> Metrics:
        comparisons = self.data.sample_pairs(self.pairs, self.rng)
        both = Segments.cat([comparisons.left, comparisons.right])
        rows = torch.randint(len(self._transitions.obs), (self.batch_size,), generator=self.rng)
        known = self.data.known_next(both)
        batch, weight = _joined(both, known, Batch(*(column[rows] for column in self._transitions)))
        reward = self.implied_reward(batch)  # (2, M)
        left, right = (reward[:, : known.numel()].view(2, *known.shape) * known).sum(-1).chunk(2, dim=1)
        preference = 2 * bradley_terry_loss(left, right, comparisons.prefers_right)  # each Q as if it were alone
        square = (reward.square() * weight).sum()
        with torch.no_grad():
            q_slow = self.iql.slow_q(batch)
        error = q_slow - self.iql.v(self.iql.norm(batch.obs))[0, :, 0]
        v_loss = (expectile_square(error, self.iql.expectile) * weight).sum()
        leaning = self.iql.weights(error.detach(), weight)
        policy_loss = -(leaning * self.actor.log_prob(batch.obs, batch.actions) * weight).sum()
        self.iql.step(preference + self.regulariser * square + v_loss + policy_loss)
        accuracy = preference_accuracy(left.detach().mean(0), right.detach().mean(0), comparisons.prefers_right)
        return {
            "train/loss": number(preference) / 2,
            "train/accuracy": number(accuracy),
            "train/reward_square": number(square) / 2,
            "train/v_loss": number(v_loss),
            "train/actor_loss": number(policy_loss),
            "train/q_mean": number(q_slow.mean()),
            "train/effective_share": number(effective_share(leaning, weight)),
        }

    def implied_reward(self, batch: Batch) -> Tensor:
        """Return Q_k(s, a) - gamma (1 - d) V(s') (2, M), with V held."""
        q = self.iql.q(torch.cat([self.iql.norm(batch.obs), batch.actions], 1))[..., 0]
        with torch.no_grad():
            next_v = self.iql.v(self.iql.norm(batch.next_obs))[0, :, 0]
        return q - self.iql.gamma * (1 - batch.terminated) * next_v

    @torch.no_grad()
    def score(self, segments: Segments) -> Tensor:
        known = self.data.known_next(segments)
        reward = self.implied_reward(_steps(segments)).mean(0)
        return (reward.view_as(known) * known).sum(-1)


def _steps(segments: Segments) -> Batch:
    """All steps of segments, padding too, one after another."""
    return Batch(
        obs=segments.obs[:, :-1].flatten(0, 1),
        actions=segments.actions.flatten(0, 1),
        next_obs=segments.obs[:, 1:].flatten(0, 1),
        terminated=segments.terminated.flatten(),
    )


def _joined(segments: Segments, known: Tensor, others: Batch) -> tuple[Batch, Tensor]:
    """Steps of segments and others, and weights (M,) that give each of the two groups one half."""
    batch = Batch(*(torch.cat(pair) for pair in zip(_steps(segments), others, strict=True)))
    n = len(others.obs)
    return batch, torch.cat([known.flatten() / (2 * known.sum()), torch.full((n,), 1 / (2 * n), device=known.device)])
