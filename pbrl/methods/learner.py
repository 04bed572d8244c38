"""What offline learners have in common: a policy, a count of updates, and a state that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pbrl.data.offline import OfflineData
from pbrl.nets.policies import Policy
from pbrl.types import Segments


class Learner(nn.Module):
    """Learns a policy from an `OfflineData`, one gradient step per `update`.

    A subclass has its networks as modules, its optimizers in `optimizers`, and draws every random number from `rng`;
    then weights, `checkpoint` and the number of updates are all there is to resume from.

    Args:
        data: what it learns from.
        steps: how many updates the whole run has, which schedules are shares of.
        policy: makes a `Policy` from obs_shape, action_size and rng.
        rng: weights, batches and dropout.
    """

    def __init__(self, data: OfflineData, steps: int, policy: Callable[..., Policy], rng: torch.Generator) -> None:
        super().__init__()
        self.data, self.steps, self.rng = data, steps, rng
        self.updates = 0
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.obs_shape, self.action_size = data.segments.obs.shape[2:], data.segments.actions.shape[-1]
        self.policy = policy(obs_shape=self.obs_shape, action_size=self.action_size, rng=rng)
        self.policy.observe(data.observations)

    stages: tuple[str, ...] = ()  # attributes that say after how many updates a stage ends, as shares of `steps`

    @property
    def reads_labels(self) -> bool:
        """Whether labels have any part in what it learns."""
        return True

    def require_vectors(self) -> int:
        """O; for methods with parts that do not read images."""
        if len(self.obs_shape) != 1:
            raise ValueError(f"observations have shape {self.obs_shape}; only bc, sft and cpl read images")
        return self.obs_shape[0]

    def update(self) -> dict[str, float]:
        """One gradient step; returns metrics."""
        self.train()
        metrics = self._update()
        self.updates += 1
        return metrics

    def _update(self) -> dict[str, float]:
        raise NotImplementedError

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions (M, A) of observations (M, *obs_shape), without noise."""
        return self.policy.act(obs)

    def score(self, segments: Segments) -> Tensor | None:
        """(N,) what the method's preference model compares, higher = better; None: it has none (yet)."""
        return None

    def checkpoint(self) -> dict[str, Any]:
        return {
            "weights": dict(self.state_dict()),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "updates": self.updates,
            "stages": {name: getattr(self, name) for name in self.stages},
            "rng": self.rng.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state["weights"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.updates = state["updates"]
        self.rng.set_state(state["rng"])
        for name, end in state["stages"].items():
            if self.updates > end:  # a stage that is over stays so, also in a run that is longer now
                setattr(self, name, end)


def adam(parameters: Any, lr: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step down a loss; returns its value."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def whole_numbers(**values: int | None) -> None:
    """Each must be at least 1."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"method.learner.{name}={value}: expected a whole number of at least 1")


def share_of(steps: int, share: float, name: str) -> int:
    """Updates that are this share of a run."""
    if not 0 <= share <= 1:
        raise ValueError(f"method.learner.{name}={share}: expected a share in [0, 1]")
    return round(share * steps)
