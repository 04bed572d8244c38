"""Distance of steps from those that somebody was asked about: 0 among them, 1 far away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pbrl.checks import between, layers, positive, whole
from pbrl.nets.networks import RunningNorm, StackedMLP, adam, descend


class Support(Protocol):
    """A score of single steps, differentiable in the action."""

    def __call__(self, obs: Tensor, actions: Tensor) -> Tensor: ...  # (M, O), (M, A) -> (M,) in [0, 1]

    def fit(self, obs: Tensor, actions: Tensor, rng: torch.Generator) -> dict[str, float]: ...  # what was asked about

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class MorseNetwork(nn.Module):
    """1 - exp(-sharpness^2 / 2 |f(s, a) - a|^2) with f(s, a) = a on the support (Dherin et al. 2023, as in PPE).

    The loss is the mean over steps of sharpness^2 / 2 |f(s, a) - a|^2, which draws the score to 0 there, and the mean
    of 1 - score at the same s and uniformly drawn actions, which draws it to 1.

    Args:
        obs_size, action_size: O and A.
        hidden: sizes of the hidden layers of f.
        sharpness: lambda.
        updates: gradient steps of a fit, which begins with the weights of the last one.
        batch_size: steps in each.
        lr: of Adam, which begins anew in each fit.
        rng: initial weights.
    """

    def __init__(
        self,
        *,
        obs_size: int,
        action_size: int,
        hidden: Sequence[int],
        sharpness: float,
        updates: int,
        batch_size: int,
        lr: float,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        layers(hidden=hidden)
        positive(sharpness=sharpness)
        whole(1, updates=updates, batch_size=batch_size)
        between(0, 1, lr=lr)
        self.norm = RunningNorm(obs_size)
        self.net = StackedMLP(1, [obs_size + action_size, *hidden, action_size], "leaky_relu", rng)
        self.sharpness, self.updates, self.batch_size, self.lr = sharpness, updates, batch_size, lr

    def distance(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return sharpness^2 / 2 |f(s, a) - a|^2 (M,)."""
        made = self.net(torch.cat([self.norm(obs), actions], -1))[0]
        return self.sharpness**2 / 2 * (made - actions).square().sum(-1)

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        return 1 - torch.exp(-self.distance(obs, actions))

    def fit(self, obs: Tensor, actions: Tensor, rng: torch.Generator) -> dict[str, float]:
        self.norm.observe(obs)
        optimizer, loss = adam(self.net.parameters(), self.lr), 0.0
        for _ in range(self.updates):
            rows = torch.randint(len(obs), (self.batch_size,), generator=rng)
            anywhere = torch.rand(self.batch_size, actions.shape[1], generator=rng) * 2 - 1
            near = self.distance(obs[rows], actions[rows]).mean()
            loss = descend(optimizer, near + torch.exp(-self.distance(obs[rows], anywhere)).mean())
        return {"support_loss": loss}


class NearestSteps:
    """1 - exp(-(d / unit)^2 / 2) with d the distance to the k-th nearest step, and no network.

    Observations and actions are in standard deviations; `unit` is the median distance of a step to its own k-th
    nearest neighbour.

    Args:
        obs_size, action_size: O and A.
        k: which neighbour.
        reference: at most so many steps are kept, drawn at random.
        rng: not used.
    """

    def __init__(self, *, obs_size: int, action_size: int, k: int, reference: int, rng: torch.Generator) -> None:
        whole(1, k=k)
        whole(k + 1, reference=reference)
        self.k, self.reference = k, reference
        self.norm = RunningNorm(obs_size + action_size)
        self.steps, self.unit = torch.zeros(0, obs_size + action_size), 1.0

    def __call__(self, obs: Tensor, actions: Tensor) -> Tensor:
        place = self.norm(torch.cat([obs, actions], -1))
        return 1 - torch.exp(-(self._distance(place, self.k) / self.unit).square() / 2)

    def fit(self, obs: Tensor, actions: Tensor, rng: torch.Generator) -> dict[str, float]:
        steps = torch.cat([obs, actions], -1)
        self.norm = RunningNorm(steps.shape[1])
        self.norm.observe(steps)
        self.steps = self.norm(steps[torch.randperm(len(steps), generator=rng)[: self.reference]])
        self.unit = max(float(self._distance(self.steps, self.k + 1).median()), 1e-6)  # the first is the step itself
        return {}

    def _distance(self, places: Tensor, k: int) -> Tensor:
        return torch.cdist(places, self.steps).topk(min(k, len(self.steps)), largest=False).values[:, -1]

    def state_dict(self) -> dict[str, Any]:
        return {"norm": self.norm.state_dict(), "steps": self.steps, "unit": self.unit}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.norm.load_state_dict(state["norm"])
        self.steps, self.unit = torch.as_tensor(state["steps"]), float(state["unit"])
