"""Behaviour cloning: of everything, or of the episodes with the best true return."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import whole
from pbrl.data.offline import OfflineData
from pbrl.losses import discounted_sum
from pbrl.methods.method import Metrics, Run
from pbrl.methods.offline import OfflineMethod
from pbrl.nets.networks import adam, descend
from pbrl.nets.policies import Policy
from pbrl.types import Episode, Segments


class BC(OfflineMethod):
    """Minimises the squared error of actions on single steps of the data; reads no label.

    Args:
        top: share of training episodes to clone, by true return; 1 clones all and needs no true return. Below 1 it is
            an oracle ("%BC" in Hejna et al. 2024): no label tells a whole episode's return.
        batch_size: steps.
        lr: of Adam.
    """

    accelerated = True
    reads_labels = False
    chooses = True

    def __init__(self, *, top: float, batch_size: int, lr: float, **common: Any) -> None:
        super().__init__(**common)
        if not 0 < top <= 1:
            raise ValueError(f"top={top}: expected a share in (0, 1]")
        whole(1, batch_size=batch_size)
        self.top, self.batch_size, self.lr = top, batch_size, lr

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.optimizers["policy"] = adam(self.actor.rates(self.lr), self.lr)
        episodes = best_episodes(self.data, self.top)
        self._obs = torch.from_numpy(np.concatenate([e.obs[:-1] for e in episodes])).to(run.device)
        self._actions = torch.from_numpy(np.concatenate([e.actions for e in episodes])).to(run.device)

    def update(self) -> Metrics:
        rows = torch.randint(len(self._obs), (self.batch_size,), generator=self.rng)
        loss = -self.actor.log_prob(self._obs[rows], self._actions[rows]).mean()
        return {"train/bc_loss": descend(self.optimizers["policy"], loss)}

    def score(self, segments: Segments) -> Tensor:
        return log_likelihood(self.actor, segments)


def best_episodes(data: OfflineData, top: float) -> list[Episode]:
    """The share `top` of the training episodes with the highest true return, at least one.

    An episode that ended earns nothing more; one that was cut, as collecting cuts them after a success, is taken to go
    on as it went, or a quick success would count for less than a long failure.
    """
    if top == 1:
        return data.episodes
    longest = max(map(len, data.episodes))
    steps = [len(e) if e.terminated else longest for e in data.episodes]
    returns = np.array([e.true_reward.mean(dtype=np.float64) * n for e, n in zip(data.episodes, steps, strict=True)])
    if np.isnan(returns).any():
        raise ValueError("top below 1 ranks episodes by true return, which this data does not have")
    best = np.argsort(-returns, kind="stable")[: max(1, round(top * len(returns)))]
    return [data.episodes[i] for i in best]


def bc_loss(policy: Policy, segments: Segments) -> Tensor:
    """Mean squared error of the actions of real steps, summed over action dimensions."""
    log_prob = policy.log_prob(segments.obs[:, :-1], segments.actions)
    return -(log_prob * segments.mask).sum() / segments.mask.sum()


@torch.no_grad()
def log_likelihood(policy: Policy, segments: Segments) -> Tensor:
    """Return the sum (N,) of log pi over a segment: how likely the policy is to act so."""
    return discounted_sum(policy.log_prob(segments.obs[:, :-1], segments.actions), segments.mask, 1.0)
