"""PPE, Proximal Policy Exploration (Zhu et al. 2025): QPA that explores and asks on both sides of what was asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.blocks import score_in_blocks
from pbrl.checks import between, one_of, required, share
from pbrl.errors import UserError
from pbrl.feedback.samplers import preference_probability
from pbrl.feedback.support import Support
from pbrl.methods.method import Metrics, Run
from pbrl.methods.qpa import Qpa
from pbrl.question_kinds import SegmentPair
from pbrl.types import Segments

INSIDE = 1 - 1e-6  # of the box of actions: the inverse of tanh is finite there
TINY = 1e-12


class Ppe(Qpa):
    """Changes QPA in two ways by a score of steps: 0 among those that were asked about, 1 far away.

    While there is budget left, the actor's mean moves a little towards larger scores, inside a ball of KL divergence.
    Both segments of a share of the pairs are drawn in proportion to the mean score of their steps, those of the others
    to 1 less it.

    Args:
        nudge: epsilon, the KL divergence of behaviour from the policy: sqrt(2 nudge) standard deviations; 0: none.
        outside: kappa, share of the pairs that lie outside.
        support: whose score, `morse` or `nearest`.
        morse, nearest: make it, from obs_size, action_size and rng.
        others: as for `Qpa`.
    """

    uses_objective = True  # as the `learn_model` of Qpa does

    def __init__(
        self,
        *,
        nudge: float,
        outside: float,
        support: str,
        morse: Callable[..., Support],
        nearest: Callable[..., Support],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        between(0, 1, nudge=nudge)
        share(outside=outside)
        makers = {"morse": morse, "nearest": nearest}
        one_of(tuple(makers), support=support)
        required(**{support: makers[support]})
        self.nudge, self.outside, self._make_support = nudge, outside, makers[support]

    def begin(self, run: Run) -> None:
        if run.sampler_name != "uniform":
            given = f"queries={run.sampler_name}"
            raise UserError(f"{given}: method=ppe draws its pairs by what was asked about; leave queries= out")
        super().begin(run)
        sizes = {"obs_size": run.obs_shape[0], "action_size": run.action_size}
        self.support = self._make_support(**sizes, rng=run.rng("support"))
        self.supported = False  # whether it has learned

    def learn_model(self) -> Metrics:
        learned = super().learn_model()
        if (asked := self.preferences.all) is None:
            return learned
        both = Segments.cat([asked.left, asked.right])
        real = both.mask > 0
        self.supported = True
        return learned | self.support.fit(both.obs[:, :-1][real], both.actions[real], self.run.rng("support"))

    @property
    def sampler_name(self) -> str:
        return "mixture" if self.supported else super().sampler_name

    def choose(self, n: int) -> tuple[SegmentPair, float]:
        """Pairs of both kinds, among random segments of the pool, and the members' disagreement on them."""
        if not self.supported:
            return super().choose(n)
        f, episodes, rng = self.run.feedback, self.run.episodes, self.run.rng("queries")
        pool = episodes.draw(2 * f.candidates * n, f.segment_length, rng, f.pool_episodes)
        rows = draw_mixture(score_in_blocks(self.distance, pool), n, self.outside, rng)
        left, right = pool[rows[:, 0]], pool[rows[:, 1]]
        measured = preference_probability(self.model, left, right).std(0, unbiased=False)
        return episodes.as_question(left, right), float(measured.mean())

    def distance(self, segments: Segments) -> Tensor:
        """Return the mean score (N,) over real steps."""
        obs, actions = segments.obs[:, :-1].flatten(0, 1), segments.actions.flatten(0, 1)
        scores = self.support(obs, actions).view_as(segments.mask)
        return (scores * segments.mask).sum(1) / segments.mask.sum(1).clamp(min=1)

    def behave(self, obs: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the drawn actions, as if the actor's mean were elsewhere: the noise stays what it was."""
        if not self.supported or self.nudge == 0 or self.run.desk.exhausted:
            return super().behave(obs, actions)
        seen = torch.from_numpy(np.asarray(obs, np.float32))
        moved = shift(self.support, seen, *self.run.agent.gaussian(obs), self.nudge)
        inner = torch.from_numpy(np.clip(actions, -INSIDE, INSIDE)).atanh()
        return (inner + moved).tanh().numpy(), None


def shift(support: Support, obs: Tensor, mean: Tensor, std: Tensor, divergence: float) -> Tensor:
    """Return sqrt(2 eps) Sigma g / sqrt(g' Sigma g) (M, A), g: gradient of the score at the mean, before the tanh.

    mean, std: (M, A) of the Gaussian before the tanh. divergence: eps. Where the score is flat it is 0.
    """
    mean = mean.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(support(obs, mean.tanh()).sum(), mean)
    along = std.square() * gradient
    length = (gradient * along).sum(-1, keepdim=True).sqrt()
    return torch.where(length > TINY, math.sqrt(2 * divergence) * along / length.clamp(min=TINY), 0.0)


def draw_mixture(distance: Tensor, n: int, outside: float, rng: torch.Generator) -> Tensor:
    """Rows (n, 2) of pairs of different candidates: a share drawn by their distance, the others by 1 less it.

    distance: (C,) in [0, 1]. A pair that the share splits is of either kind by chance.
    """
    far = int(outside * n + float(torch.rand((), generator=rng)))
    weights = torch.cat([distance.expand(far, -1), (1 - distance).expand(n - far, -1)])
    return torch.multinomial(weights.double().clamp(min=TINY), 2, generator=rng)
