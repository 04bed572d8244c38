"""A small autoencoder whose code is learned from what there is to code, all of it anew when there is more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pbrl.nets.networks import adam, descend, linear

SMALLEST_SPREAD = 1e-6


class Autoencoder(nn.Module):
    """Codes rows (M, size) as (M, code); rows are standardised first, by mean and spread as they were at the last fit.

    Args:
        size: numbers of a row.
        code: numbers of its code.
        hidden: units of the one hidden layer on either side.
        lr: of Adam.
        rng: of the initial weights.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, size: int, *, code: int, hidden: int, lr: float, rng: torch.Generator) -> None:
        super().__init__()
        self.encoder = nn.Sequential(linear(size, hidden, rng), nn.Tanh(), linear(hidden, code, rng))
        self.decoder = nn.Sequential(linear(code, hidden, rng), nn.Tanh(), linear(hidden, size, rng))
        self.lr = lr
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))

    def fit(self, rows: Tensor, updates: int) -> float:
        """Make so many steps of Adam on all rows; return the mean squared error of the last."""
        self.mean.copy_(rows.mean(0))
        self.spread.copy_(rows.std(0, unbiased=False).clamp_min(SMALLEST_SPREAD))
        scaled, optimizer, error = self._scaled(rows), adam(self.parameters(), self.lr), 0.0
        for _ in range(updates):
            error = descend(optimizer, (self.decoder(self.encoder(scaled)) - scaled).square().mean())
        return error

    @torch.no_grad()
    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (M, code), and mean squared errors (M,) of what is decoded from them, in units of the spread."""
        scaled = self._scaled(rows)
        codes = self.encoder(scaled)
        return codes, (self.decoder(codes) - scaled).square().mean(1)

    def _scaled(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.spread
