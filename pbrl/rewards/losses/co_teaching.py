"""Members that choose for each other which answers to believe."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pbrl.checks import whole
from pbrl.rewards.losses.loss import AnswerLoss, cross_entropy
from pbrl.rewards.losses.unbiased import require_flip_rate


class CoTeaching(AnswerLoss):
    """Each member learns from those comparisons of its batch that the next member explains best (Han et al. 2018).

    What one has learned by heart, the other finds unlikely. The share of a batch that is left out grows from 0 to the
    flip rate over the first `ramp` gradient steps, since networks learn what many answers say before they learn each.

    Args:
        flip_rate: share of answers that are thought wrong.
        ramp: gradient steps, over all sessions, until so many are left out.
    """

    least_members = 2
    peers = True

    def __init__(self, *, flip_rate: float, ramp: int) -> None:
        super().__init__()
        require_flip_rate(flip_rate)
        whole(1, ramp=ramp)
        self.flip_rate, self.ramp, self.steps = flip_rate, ramp, 0

    @property
    def kept(self) -> float:
        """The share of a batch that is learned from now."""
        return 1 - self.flip_rate * min(self.steps / self.ramp, 1.0)

    def forward(self, gain: Tensor, target: Tensor, peers: Tensor | None = None) -> Tensor:
        assert peers is not None
        b = gain.shape[1]
        keep = max(round(self.kept * b), 1)
        self.steps += 1
        small = cross_entropy(peers, target).topk(keep, dim=1, largest=False).indices
        chosen = torch.zeros_like(gain).scatter_(1, small, b / keep)  # the mean over b is that over those kept
        return chosen * cross_entropy(gain, target)

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": self.steps}

    def set_extra_state(self, state: Any) -> None:
        self.steps = state["steps"]

    def facts(self) -> dict[str, float]:
        return {"kept": self.kept}
