"""Policies of the offline methods: an encoder, an MLP, and a Gaussian of fixed width around tanh of its output.

Or a choice of one of n, whose probabilities are the softmax of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pbrl.checks import layers
from pbrl.nets.devices import array
from pbrl.nets.encoders import ImageEncoder, random_shift
from pbrl.nets.networks import Dropout, RunningNorm, orthogonal_linear

SHIFT = 4  # pixels that images are moved by at most in training, as in DrQ
CHOICE = "one_of_n"  # a weight that only policies of choices have
ENCODER_LR = 1e-3  # at least: at 1e-4 an encoder reads positions from pictures worse than their mean would


class Policy(nn.Module):
    """N(tanh(MLP(obs)), 1/2 I): its log-density is minus the squared error, up to a constant that is left out.

    The width is fixed as in CPL's released code: its loss falls whenever all likelihoods rise, so a learned width
    would shrink to nothing. Random numbers (weights, dropout) come from `rng`.

    Args:
        obs_shape: (O,), or (H, W, C) for images, which go through an `ImageEncoder` first.
        action_size: A.
        hidden: sizes of the hidden ReLU layers.
        dropout: probability that a hidden unit is dropped in training.
        normalise: standardise vector observations by the statistics of what `observe` was given.
        choice: an action is one of A: 1 at what is chosen, 0 elsewhere.
    """

    def __init__(
        self,
        *,
        obs_shape: Sequence[int],
        action_size: int,
        hidden: Sequence[int],
        dropout: float,
        normalise: bool,
        rng: torch.Generator,
        choice: bool = False,
    ) -> None:
        super().__init__()
        layers(hidden=hidden)
        self.choice = choice
        if choice:
            self.register_buffer(CHOICE, torch.ones(()))  # so that saved weights say it
        self.obs_shape, self.action_size = tuple(obs_shape), action_size
        images = len(self.obs_shape) == 3
        self.encoder = ImageEncoder(self.obs_shape, rng) if images else None
        self.norm = RunningNorm(self.obs_shape[0]) if normalise and not images else None
        features = self.encoder.features if self.encoder is not None else self.obs_shape[0]
        sizes = [features, *hidden, action_size]
        self.layers = nn.ModuleList(orthogonal_linear(n_in, n_out, rng) for n_in, n_out in pairwise(sizes))
        self.dropout, self.rng = Dropout(dropout, rng), rng

    def observe(self, obs: np.ndarray) -> None:
        """Adds observations (M, O) to the input statistics."""
        if self.norm is not None:
            self.norm.observe(torch.from_numpy(obs))

    def forward(self, obs: Tensor) -> Tensor:
        """Return actions (..., A) in [-1, 1] of observations (..., *obs_shape); log-probabilities of a choice."""
        lead = obs.shape[: obs.ndim - len(self.obs_shape)]
        h = obs.reshape(-1, *self.obs_shape)
        if self.encoder is not None:
            h = self.encoder(self._shifted(h, lead) if self.training else h)
        elif self.norm is not None:
            h = self.norm(h)
        for layer in self.layers[:-1]:
            h = self.dropout(layer(h).relu_())
        h = self.layers[-1](h)
        return (h.log_softmax(-1) if self.choice else h.tanh()).view(*lead, -1)

    def _shifted(self, images: Tensor, lead: torch.Size) -> Tensor:
        """Augment images as in DrQ; all images (..., T) of one clip alike where there is a time."""
        clips = images.view(-1, lead[-1] if len(lead) > 1 else 1, *self.obs_shape)
        return random_shift(clips, SHIFT, self.rng).flatten(0, 1)

    def log_prob(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return minus the squared error (...), summed over action dimensions: (..., *obs_shape), (..., A) -> (...).

        Of a choice the logarithm of its probability.
        """
        if self.choice:
            return (self(obs) * actions).sum(-1)
        return -(self(obs) - actions).square().sum(-1)

    @torch.no_grad()
    def act(self, obs: np.ndarray) -> np.ndarray:
        """Return the mean actions (M, A) of observations (M, *obs_shape), without dropout; the likeliest choices."""
        training = self.training
        self.eval()
        there = next(self.parameters()).device
        actions = self(torch.from_numpy(np.ascontiguousarray(obs)).to(there))
        self.train(training)
        if self.choice:
            actions = F.one_hot(actions.argmax(-1), self.action_size).float()
        return array(actions)

    def rates(self, lr: float) -> list[dict[str, Any]]:
        """Group parameters for an optimiser, each with its rate: an encoder of pictures learns faster."""
        if self.encoder is None:
            return [{"params": list(self.parameters()), "lr": lr}]
        encoder = list(self.encoder.parameters())
        return [
            {"params": encoder, "lr": max(lr, ENCODER_LR)},
            {"params": list(self.layers.parameters()), "lr": lr},
        ]


@torch.no_grad()
def best_of(
    policy: Policy, reference: Policy, obs: np.ndarray, candidates: int, std: float, rng: torch.Generator
) -> np.ndarray:
    """Return the best (M, A) of several actions around the reference's, by log pi - log pi_reference.

    Where `policy` was learned relative to `reference`, that difference is its advantage; choosing among what the
    reference would do stays near the data where the learned mean may have left it (DeformPAM, Chen et al. 2024).
    """
    centre = torch.from_numpy(reference.act(obs))
    mean = torch.from_numpy(policy.act(obs))
    actions = (centre + std * torch.randn(candidates, *centre.shape, generator=rng)).clamp_(-1, 1)
    advantage = (actions - centre).square().sum(-1) - (actions - mean).square().sum(-1)  # (candidates, M)
    return actions[advantage.argmax(0), torch.arange(len(centre))].numpy()
