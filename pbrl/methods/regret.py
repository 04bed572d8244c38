"""The regret preference model with deep networks: values come from the learner's own critic."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pbrl.agents.iql import IQL, Batch
from pbrl.checks import required, whole
from pbrl.data.offline import Transitions
from pbrl.methods.method import Metrics, Run
from pbrl.methods.offline import OfflineMethod
from pbrl.nets.devices import move
from pbrl.rewards.partial_return import PartialReturn
from pbrl.types import Segments


class Regret(OfflineMethod):
    """A reward whose negated regret explains the comparisons (Knox et al. 2024).

        sum_t r(s_t, a_t) + gamma V(s_{t+1}) - V(s_t)

    The sum of one-step advantages, 0 where all is done best; with gamma 1 it is sum r + V(s_T) - V(s_0). It has the
    critics' own discount, or a constant (1 - gamma) V per step would turn it back into a return.

    Each update is one step of the reward, with V of the critics held, and one step of IQL on the present reward; the
    two are solved together, since V belongs to the reward that is being learned. V starts near 0, where regret is the
    partial return.

    Args:
        model: makes the reward, a `PartialReturn`, from obs_size, action_size and rng.
        pairs: comparisons per update, for each member.
        batch_size: steps per update of IQL.
        iql: makes the critics, see `IQL`.
    """

    accelerated = True
    fits = ("loss", "annotators")

    def __init__(
        self,
        *,
        model: Callable[..., PartialReturn],
        pairs: int,
        batch_size: int,
        iql: Callable[..., IQL],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        required(model=model, iql=iql)
        whole(1, pairs=pairs, batch_size=batch_size)
        self.pairs, self.batch_size = pairs, batch_size
        self._make_model, self._make_iql = model, iql

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.model = self.make_model(self.require_vectors(), self.action_size, self.rng)
        self._answers = self.learn_answers()
        if getattr(self.model, "crop", None) is not None:
            raise ValueError("model.crop: regret needs both ends of a segment; expected null")
        self.model.observe(self.data.observations)
        self.iql = move(self._make_iql(policy=self.actor, policy_steps=self.steps, rng=self.rng), run.device)
        self.optimizers |= {"iql": self.iql.optimizer, "reward": self.model.optimizer}
        self._transitions: Transitions = self.data.transitions()

    def update(self) -> Metrics:
        comparisons = self._answers.sample_pairs(self.model.members * self.pairs, self.rng)
        left, right = (self._known(s) for s in (comparisons.left, comparisons.right))
        comparisons = dataclasses.replace(comparisons, left=left, right=right)
        gain = self.value_gain(right) - self.value_gain(left)
        metrics = self.objective.update(self.model, comparisons, gain) | self.objective.facts()
        rows = torch.randint(len(self._transitions.obs), (self.batch_size,), generator=self.rng)
        batch = Batch(*(column[rows] for column in self._transitions))
        with torch.no_grad():
            reward = self.model(batch.obs, batch.actions).mean(0)
        return {f"reward/{k}": v for k, v in metrics.items()} | self.iql.update(self.actor, batch, reward)

    @torch.no_grad()
    def value_gain(self, segments: Segments) -> Tensor:
        """Return the sum (N,) of gamma V(s_{t+1}) - V(s_t) over real steps; an end of the MDP has value 0."""
        n, nodes = segments.obs.shape[:2]
        value = self.iql.v(self.iql.norm(segments.obs.flatten(0, 1))).view(n, nodes)
        after = self.iql.gamma * (1 - segments.terminated) * value[:, 1:]
        return ((after - value[:, :-1]) * segments.mask).sum(1)

    @torch.no_grad()
    def score(self, segments: Segments) -> Tensor:
        segments = self._known(segments)
        return self.model.score(segments).mean(0) + self.value_gain(segments)

    def _known(self, segments: Segments) -> Segments:
        """Leave out the last step where its next observation is a copy: what stands there then is s_T."""
        return dataclasses.replace(segments, mask=self.data.known_next(segments))
