"""A reward for each user, from a few of their answers (VPL, Poddar et al. 2024)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pbrl.checks import between, layers, positive, whole
from pbrl.nets.networks import RunningNorm, descend, linear
from pbrl.types import Segments


class Answered(NamedTuple):
    """K answered pairs of each of U users; pair k of user u is row u K + k of the segments."""

    left: Segments  # U K
    right: Segments  # U K
    prefers_right: Tensor  # (U, K)


class Taste(NamedTuple):
    """A Gaussian over what a user likes."""

    mean: Tensor  # (U, Z)
    log_std: Tensor  # (U, Z)

    def sample(self, rng: torch.Generator) -> Tensor:
        return self.mean + self.log_std.exp() * torch.randn(self.mean.shape, generator=rng)

    def divergence(self) -> Tensor:
        """Return the KL divergence (U,) to N(0, I), with the factor 1/2 that the released code omits."""
        return 0.5 * (self.mean.square() + (2 * self.log_std).exp() - 1 - 2 * self.log_std).sum(-1)


class LatentUser(nn.Module):
    """r(s, a, z), and an encoder q(z | answers) of any number of answered pairs, in any order.

        L = -E_q log P(all answers of a user | z) + weight * KL(q || N(0, I))      sums over answers, mean over users

    Args:
        obs_size, action_size: O and A.
        latent: Z.
        hidden: width of each of the two hidden layers, of encoder and reward alike.
        kl_weight: of the KL term, at its largest: it rises linearly from 0 over the first half of each of four cycles.
        sample: draw z in training; False with kl_weight 0 conditions on the answers alone, as FSPO (Singh et al. 2025).
        prototypes: None, or K: z is a mixture of K learned points with weights from the answers, as PAL (Chen et al.
            2024); nothing is sampled then.
        lr: of Adam.
        rng: initial weights.
    """

    CYCLES = 4

    def __init__(
        self,
        *,
        obs_size: int,
        action_size: int,
        latent: int,
        hidden: int,
        kl_weight: float,
        sample: bool,
        prototypes: int | None,
        lr: float,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        whole(1, latent=latent)
        layers(hidden=[hidden])
        between(0, 1e6, kl_weight=kl_weight)
        positive(lr=lr)
        if prototypes is not None:
            whole(1, prototypes=prototypes)
        self.latent, self.kl_weight, self.sample = latent, kl_weight, sample
        self.norm = RunningNorm(obs_size)
        step = obs_size + action_size
        self.pair = _mlp(2 * step + 1, hidden, hidden, rng)
        self.taste = linear(hidden, prototypes or 2 * latent, rng)
        self.points = None if prototypes is None else nn.Parameter(torch.randn(prototypes, latent, generator=rng))
        self.rewards = _mlp(step + latent, hidden, 1, rng)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr)

    def observe(self, obs: np.ndarray) -> None:
        """Adds observations (M, O) to the input statistics."""
        self.norm.observe(torch.from_numpy(obs))

    def steps(self, segments: Segments) -> Tensor:
        """Return observations and actions of steps (N, T, O + A)."""
        return torch.cat([self.norm(segments.obs[:, :-1]), segments.actions], -1)

    def encode(self, answered: Answered, left: Tensor | None = None, right: Tensor | None = None) -> Taste:
        """Infer what users like from their answers. left, right: the steps of their segments, where they are known."""
        means = [
            _mean_step(self.steps(segments) if steps is None else steps, segments.mask)
            for steps, segments in ((left, answered.left), (right, answered.right))
        ]
        users, k = answered.prefers_right.shape
        sign = 2 * answered.prefers_right.reshape(-1, 1) - 1  # 0 where neither was preferred
        pairs = F.relu(self.pair(torch.cat([*means, sign], -1))).view(users, k, -1)
        found = self.taste(pairs.mean(1))
        if self.points is not None:
            mean = found.softmax(-1) @ self.points
            return Taste(mean, torch.full_like(mean, -torch.inf))
        mean, log_std = found.chunk(2, -1)
        return Taste(mean, log_std.clamp(-8, 3))

    def reward(self, steps: Tensor, z: Tensor) -> Tensor:
        """Return rewards (..., T) of steps (..., T, O + A) for tastes (..., Z)."""
        each = z[..., None, :].expand(*steps.shape[:-1], self.latent)
        return self.rewards(torch.cat([steps, each], -1))[..., 0]

    def step_reward(self, obs: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """Return rewards (M,) of observations (M, O), actions (M, A) and tastes (M, Z)."""
        return self.reward(torch.cat([self.norm(obs), actions], -1)[:, None], z)[:, 0]

    def score(self, segments: Segments, z: Tensor) -> Tensor:
        """Return sums (N,) over real steps, for tastes (N, Z) or one (Z,)."""
        return (self.reward(self.steps(segments), z.expand(len(segments), self.latent)) * segments.mask).sum(-1)

    def update(self, answered: Answered, context: int, progress: float, rng: torch.Generator) -> dict[str, float]:
        """Take one gradient step. context: answers of each user that z is inferred from, of the K that it must explain.

        progress: share of the training that is over.
        """
        users, k = answered.prefers_right.shape
        steps = [self.steps(side) for side in (answered.left, answered.right)]
        first = (torch.arange(users * k).view(users, k)[:, :context]).flatten()
        shown = Answered(answered.left[first], answered.right[first], answered.prefers_right[:, :context])
        taste = self.encode(shown, steps[0][first], steps[1][first])
        drawn = self.sample and self.points is None
        z = (taste.sample(rng) if drawn else taste.mean).repeat_interleave(k, 0)
        left, right = (
            (self.reward(side, z) * segments.mask).sum(-1).view(users, k)
            for side, segments in zip(steps, (answered.left, answered.right), strict=True)
        )
        target = answered.prefers_right
        loss = F.binary_cross_entropy_with_logits(right - left, target, reduction="none").sum(1).mean()
        divergence = taste.divergence().mean() if self.points is None else torch.zeros(())
        weight = self.kl_weight * min(2 * (progress * self.CYCLES % 1), 1.0)
        decided = target != 0.5
        right_ones = ((right > left) == (target > 0.5))[decided].float().mean()
        descend(self.optimizer, loss + weight * divergence)
        return {
            "loss": float(loss.detach()) / k,
            "accuracy": float(right_ones) if decided.any() else 1.0,
            "divergence": float(divergence.detach()),
        }


def _mean_step(steps: Tensor, mask: Tensor) -> Tensor:
    return (steps * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _mlp(n_in: int, hidden: int, n_out: int, rng: torch.Generator) -> nn.Sequential:
    widths = [linear(n_in, hidden, rng), nn.ReLU(), linear(hidden, hidden, rng), nn.ReLU(), linear(hidden, n_out, rng)]
    return nn.Sequential(*widths)
