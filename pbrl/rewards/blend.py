"""Behaviour-alignment rewards (Gupta et al. 2023): what a task pays, what a helper pays, and a learned blend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pbrl.checks import between, layers, positive
from pbrl.nets.networks import RunningNorm, StackedMLP


class Blend(nn.Module):
    """r(s) = bonus(s) + primary + weight(s) * helper; the plain sum until something was learned.

    Args:
        hidden: layers of the network that reads normalised observations.
        lr: of Adam.
        most: bounds of the bonus, and of what the weight may move from 1: Adam goes on where there is only noise left.
        penalty: of the mean squared bonus.
    """

    def __init__(
        self, *, obs_size: int, hidden: Sequence[int], lr: float, most: float, penalty: float, rng: torch.Generator
    ) -> None:
        super().__init__()
        layers(hidden=hidden)
        positive(lr=lr, most=most)
        between(0, 1e6, penalty=penalty)
        self.norm = RunningNorm(obs_size)
        self.net = StackedMLP(1, [obs_size, *hidden, 2], "tanh", rng)
        with torch.no_grad():
            self.net.weights[-1].zero_()
            self.net.biases[-1].zero_()
        self.most, self.penalty = most, penalty
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr)

    def parts(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return bonus and weight, (M,) each, at observations (M, O)."""
        bonus, change = self.most * self.net(self.norm(obs))[0].T.tanh()
        return bonus, 1 + change

    def rewards(self, obs: Tensor, primary: Tensor, helper: Tensor) -> Tensor:
        """Return the rewards (M,) at observations (M, O), of what task and helper paid (M,) each."""
        bonus, weight = self.parts(obs)
        return bonus + primary + weight * helper
