"""Implicit Q-learning (Kostrikov et al. 2022): critics that never ask about actions outside the data, and a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pbrl.checks import layers, one_of
from pbrl.losses import expectile_square
from pbrl.nets.devices import number
from pbrl.nets.networks import RunningNorm, StackedMLP
from pbrl.nets.policies import Policy

BETA_UNITS = ("one", "spread")
LEAST_SPREAD = 1e-6
GREATEST_WEIGHT = 100.0  # of a step in the policy's regression, as in IQL's released code


class Batch(NamedTuple):
    obs: Tensor  # (B, O)
    actions: Tensor  # (B, A)
    next_obs: Tensor  # (B, O)
    terminated: Tensor  # (B,)


class IQL(nn.Module):
    """Two Q functions with slow copies, one V, and a policy regressed on actions of high advantage.

        V     expectile regression of min_k Q'_k(s, a)
        Q_k   mean (r + gamma (1 - d) V(s') - Q_k(s, a))^2
        pi    mean min(exp((min_k Q'_k - V) / beta), 100) |pi(s) - a|^2

    Args:
        policy: trained here; its input statistics serve the critics too.
        expectile, beta, gamma, tau: see above; tau moves the slow copies.
        beta_unit: what beta counts: "one", or "spread", the standard deviation of the advantages in the batch. Where
            the scale of the reward is a matter of chance, as that of a learned one, beta of a fixed size may weigh
            all actions alike, or none but the best.
        hidden: layers of Q and V.
        lr: of Adam; the policy's falls along a cosine to 0 over `policy_steps` updates.
    """

    on_host = ("updates",)  # read at each update
    updates: Tensor

    def __init__(
        self,
        *,
        policy: Policy,
        expectile: float,
        beta: float,
        gamma: float,
        tau: float,
        hidden: Sequence[int],
        lr: float,
        policy_steps: int,
        rng: torch.Generator,
        beta_unit: str = "one",
    ) -> None:
        super().__init__()
        if len(policy.obs_shape) != 1:
            raise ValueError(f"observations have shape {policy.obs_shape}; only bc, sft and cpl read images")
        layers(hidden=hidden)
        one_of(BETA_UNITS, beta_unit=beta_unit)
        if not 0.5 <= expectile < 1:
            raise ValueError(f"expectile={expectile}: expected a number in [0.5, 1)")
        for name, value, low in (("gamma", gamma, 0.0), ("tau", tau, 0.0)):
            if not low <= value <= 1:
                raise ValueError(f"{name}={value}: expected a number from 0 to 1")
        if beta <= 0:
            raise ValueError(f"beta={beta}: expected a number above 0")
        obs_size, action_size = policy.obs_shape[0], policy.action_size
        self.norm = policy.norm or RunningNorm(obs_size)  # one that has seen nothing changes nothing
        self.q = StackedMLP(2, [obs_size + action_size, *hidden, 1], "relu", rng)
        self.q_target = StackedMLP(2, [obs_size + action_size, *hidden, 1], "relu", rng)
        self.q_target.load_state_dict(self.q.state_dict())
        self.q_target.requires_grad_(False)
        self.v = StackedMLP(1, [obs_size, *hidden, 1], "relu", rng)
        self.expectile, self.beta, self.gamma, self.tau = expectile, beta, gamma, tau
        self.lr, self.policy_steps, self.beta_unit = lr, policy_steps, beta_unit
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        critics = [*self.q.parameters(), *self.v.parameters()]
        groups = [{"params": critics}, {"params": list(policy.parameters())}]
        self.optimizer = torch.optim.Adam(groups, lr=lr, fused=True)

    def update(self, policy: Policy, batch: Batch, reward: Tensor) -> dict[str, float]:
        """Update everything once. reward: (B,)."""
        obs, next_obs = self.norm(batch.obs), self.norm(batch.next_obs)
        inputs = torch.cat([obs, batch.actions], 1)
        with torch.no_grad():
            q_slow = self.slow_q(batch)
            backup = reward + self.gamma * (1 - batch.terminated) * self.v(next_obs)[0, :, 0]
        v = self.v(obs)[0, :, 0]
        v_loss = expectile_square(q_slow - v, self.expectile).mean()
        q_loss = (self.q(inputs)[..., 0] - backup).square().mean(1).sum()
        weight = self.weights(q_slow - v.detach())
        policy_loss = -(weight * policy.log_prob(batch.obs, batch.actions)).mean()
        self.step(v_loss + q_loss + policy_loss)
        return {
            "train/v_loss": number(v_loss),
            "train/critic_loss": number(q_loss),
            "train/actor_loss": number(policy_loss),
            "train/q_mean": number(q_slow.mean()),
            "train/effective_share": number(effective_share(weight)),
        }

    def slow_q(self, batch: Batch) -> Tensor:
        """Return min_k Q'_k(s, a) of each step (B,)."""
        return self.q_target(torch.cat([self.norm(batch.obs), batch.actions], 1))[..., 0].amin(0)

    def weights(self, advantage: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return the weights (B,) of steps in the policy's regression.

        counts: (B,) how much each step adds to the spread; None: all alike.
        """
        beta = self.beta if self.beta_unit == "one" else self.beta * spread(advantage, counts)
        return (advantage / beta).exp().clamp(max=GREATEST_WEIGHT)

    def step(self, loss: Tensor) -> None:
        """Steps all networks down the sum of their losses, which share no parameter, and moves the slow copies."""
        self.optimizer.param_groups[1]["lr"] = (
            self.lr * 0.5 * (1 + math.cos(math.pi * int(self.updates) / self.policy_steps))
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        with torch.no_grad():
            for slow, fast in zip(self.q_target.parameters(), self.q.parameters(), strict=True):
                slow.lerp_(fast, self.tau)


def spread(values: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return the standard deviation of values (B,), each counted so much."""
    counts = torch.ones_like(values) if counts is None else counts
    mean = (counts * values).sum() / counts.sum()
    return ((counts * (values - mean).square()).sum() / counts.sum()).sqrt().clamp(min=LEAST_SPREAD)


def effective_share(weight: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return (sum w)^2 / (n sum w^2), Kish's effective sample size over the size: 1 where all weigh alike."""
    counts = torch.ones_like(weight) if counts is None else counts
    return (counts * weight).sum().square() / (counts.sum() * (counts * weight.square()).sum())
