"""One policy for several groups: weights that lean to the one that is served worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SMOOTHING = 0.01  # what a new utility counts beside those before


class GroupWeights:
    """Weights w ~ exp(-sharpness * U), with U the utilities of the last hundred updates or so.

    A policy that maximises sum_g w_g U_g meanwhile approaches the one whose worst group is served best (MaxMin-RLHF,
    Chakraborty et al. 2024), which no fixed weights give where groups differ in size. Smoothing and a finite sharpness
    keep the two from chasing each other round in a circle; the least utility that is reached is then a soft one, up to
    log(groups) / sharpness below the best.
    """

    def __init__(self, groups: int, sharpness: float) -> None:
        self.sharpness = sharpness
        self.utilities = torch.zeros(groups)

    @property
    def weights(self) -> Tensor:
        """Return the weights (G,), which sum to 1."""
        return (-self.sharpness * self.utilities).softmax(0)

    def lean(self, utilities: Tensor) -> None:
        """Move the utilities towards these (G,) of the policy as it is, in units that are alike for all groups."""
        self.utilities = self.utilities.lerp(utilities, SMOOTHING)

    def state_dict(self) -> dict[str, Any]:
        return {"utilities": self.utilities}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.utilities = state["utilities"]
