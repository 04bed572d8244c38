"""Implicit Q-learning (Kostrikov et al. 2022): critics that never ask about actions outside the data, and a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pbrl.checks import layers
from pbrl.losses import expectile_square
from pbrl.nets.devices import number
from pbrl.nets.networks import RunningNorm, StackedMLP
from pbrl.nets.policies import Policy

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
    ) -> None:
        super().__init__()
        if len(policy.obs_shape) != 1:
            raise ValueError(f"observations have shape {policy.obs_shape}; only bc, sft and cpl read images")
        layers(hidden=hidden)
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
        self.lr, self.policy_steps = lr, policy_steps
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        critics = [*self.q.parameters(), *self.v.parameters()]
        groups = [{"params": critics}, {"params": list(policy.parameters())}]
        self.optimizer = torch.optim.Adam(groups, lr=lr, fused=True)

    def update(self, policy: Policy, batch: Batch, reward: Tensor) -> dict[str, float]:
        """One step of everything. reward: (B,)."""
        obs, next_obs = self.norm(batch.obs), self.norm(batch.next_obs)
        inputs = torch.cat([obs, batch.actions], 1)
        with torch.no_grad():
            q_slow = self.slow_q(batch)
            backup = reward + self.gamma * (1 - batch.terminated) * self.v(next_obs)[0, :, 0]
        v = self.v(obs)[0, :, 0]
        v_loss = expectile_square(q_slow - v, self.expectile).mean()
        q_loss = (self.q(inputs)[..., 0] - backup).square().mean(1).sum()
        policy_loss = self.policy_losses(policy, batch, q_slow - v.detach()).mean()
        self.step(v_loss + q_loss + policy_loss)
        return {
            "train/v_loss": number(v_loss),
            "train/critic_loss": number(q_loss),
            "train/actor_loss": number(policy_loss),
            "train/q_mean": number(q_slow.mean()),
        }

    def slow_q(self, batch: Batch) -> Tensor:
        """(B,) min_k Q'_k(s, a)."""
        return self.q_target(torch.cat([self.norm(batch.obs), batch.actions], 1))[..., 0].amin(0)

    def policy_losses(self, policy: Policy, batch: Batch, advantage: Tensor) -> Tensor:
        """(B,) what the policy's regression averages."""
        weight = (advantage / self.beta).exp().clamp(max=GREATEST_WEIGHT)
        return -weight * policy.log_prob(batch.obs, batch.actions)

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
