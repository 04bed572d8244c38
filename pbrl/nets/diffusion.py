"""A small diffusion policy: noise, taken away step by step, becomes an action (Chi et al. 2023, Ho et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from pbrl.checks import layers, whole
from pbrl.nets.networks import Dropout, RunningNorm, linear

WAVES = 8  # sines, and as many cosines, by which a network knows how noisy its input is


class DiffusionPolicy(nn.Module):
    """Predicts the noise e in sqrt(a_t) action + sqrt(1 - a_t) e, given the observation and the noise level t.

    Levels are 0 (nearly clean) to `levels` - 1 (nearly noise), on the cosine schedule of Nichol & Dhariwal (2021).
    Actions are in [-1, 1].

    Args:
        obs_size, action_size: O and A.
        hidden: widths of the hidden layers.
        levels: of noise.
        dropout: probability that a hidden unit is dropped in training.
        normalise: standardise observations by the statistics of what `observe` was given.
        rng: initial weights and dropout.
    """

    kept: Tensor  # (levels,) a_t, the share of the action's variance that is left

    def __init__(
        self,
        *,
        obs_size: int,
        action_size: int,
        hidden: Sequence[int],
        levels: int,
        dropout: float,
        normalise: bool,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        layers(hidden=hidden)
        whole(2, levels=levels)
        self.obs_size, self.action_size, self.levels = obs_size, action_size, levels
        self.norm = RunningNorm(obs_size) if normalise else None
        sizes = [action_size + obs_size + 2 * WAVES, *hidden, action_size]
        self.net = nn.Sequential()
        for n_in, n_out in pairwise(sizes[:-1]):
            self.net.extend([linear(n_in, n_out, rng), nn.SiLU(), Dropout(dropout, rng)])
        self.net.append(linear(sizes[-2], sizes[-1], rng))
        self.register_buffer("kept", _cosine_schedule(levels), persistent=False)

    def observe(self, obs: np.ndarray) -> None:
        """Adds observations (M, O) to the input statistics."""
        if self.norm is not None:
            self.norm.observe(torch.from_numpy(obs))

    def forward(self, noisy: Tensor, level: Tensor, obs: Tensor) -> Tensor:
        """Return the noise (..., A) in noisy actions (..., A) of levels (...) at observations (..., O)."""
        seen = obs if self.norm is None else self.norm(obs.reshape(-1, self.obs_size)).view(obs.shape)
        noise: Tensor = self.net(torch.cat([noisy, seen, _waves(level / self.levels)], -1))
        return noise

    def add_noise(self, actions: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        kept = self.kept[level][..., None]
        return kept.sqrt() * actions + (1 - kept).sqrt() * noise

    def errors(self, obs: Tensor, actions: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Return the squared error (...) of the predicted noise, mean over the action's numbers."""
        predicted = self(self.add_noise(actions, level, noise), level, obs)
        return (predicted - noise).square().mean(-1)

    def denoising_loss(self, obs: Tensor, actions: Tensor, rng: torch.Generator) -> Tensor:
        """Return the mean error on actions (B, A) at levels and with noise drawn anew; Ho et al. 2020, eq. 14."""
        level = torch.randint(self.levels, actions.shape[:-1], generator=rng)
        return self.errors(obs, actions, level, torch.randn(actions.shape, generator=rng)).mean()

    @torch.no_grad()
    def sample(self, obs: Tensor, rng: torch.Generator) -> Tensor:
        """Draw an action (M, A) for each observation (M, O), from noise of its own; all levels in turn, as DDPM."""
        x = torch.randn(len(obs), self.action_size, generator=rng)
        for t in range(self.levels - 1, -1, -1):
            level = torch.full((len(obs),), t)
            a, before = self.kept[t], self.kept[t - 1] if t else torch.ones(())
            clean = ((x - (1 - a).sqrt() * self(x, level, obs)) / a.sqrt()).clamp(-1, 1)
            step = 1 - a / before  # beta_t
            mean = (before.sqrt() * step * clean + (a / before).sqrt() * (1 - before) * x) / (1 - a)
            spread = (step * (1 - before) / (1 - a)).sqrt()
            x = mean + spread * torch.randn(x.shape, generator=rng) if t else mean
        return x


def _cosine_schedule(levels: int) -> Tensor:
    t = (torch.arange(levels + 1, dtype=torch.double) / levels + 0.008) / 1.008
    share = (t * torch.pi / 2).cos().square()
    steps = (1 - share[1:] / share[:-1]).clamp(max=0.999)
    return (1 - steps).cumprod(0).float()


def _waves(share: Tensor) -> Tensor:
    """Return sines and cosines (..., 2 WAVES) of numbers (...) in [0, 1]."""
    angles = share[..., None] * torch.pi * 2.0 ** torch.arange(WAVES)
    return torch.cat([angles.sin(), angles.cos()], -1)
