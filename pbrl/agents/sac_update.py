"""SAC's update, written by hand, of S seeds at once: `FastSAC` has one, a `SeedStack` many.

For a batch (s, a, r, s', d) and noise e, e' ~ N(0, I), in this order and for each seed by itself:

    u = mean(s) + std(s) e,   a_pi = tanh(u),   log pi = sum log N(u; mean, std) - log(1 - a_pi^2 + 1e-6)
    alpha = exp(log_alpha);   step log_alpha on   -log_alpha * mean(log pi + target_entropy)
    y = r + gamma (1 - d) (min_k Q'_k(s', a') - alpha log pi(a'|s'))
    step Q on      1/2 sum_k mean (Q_k(s, a) - y)^2
    step pi on     mean(alpha log pi - min_k Q_k(s, a_pi))          with the new Q
    Q' <- (1 - tau) Q' + tau Q

It draws nothing, reads no number back from the device, and writes in place: K of them can be captured as one CUDA
graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor

from pbrl.nets.fast_mlp import Stack

TANH_EPSILON = 1e-6  # as in SB3's SquashedDiagGaussianDistribution
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Batch(NamedTuple):
    """A batch of one seed; for S of them each has S in front."""

    obs: Tensor  # (B, O)
    actions: Tensor  # (B, A)
    next_obs: Tensor  # (B, O)
    dones: Tensor  # (B, 1)
    rewards: Tensor  # (B, 1)


class Optimizer(Protocol):
    """Steps a stack by its gradients, in place; `tensors` is what it keeps."""

    def step(self) -> None: ...

    def tensors(self) -> list[Tensor]: ...


class Temperature(Protocol):
    """The temperature alpha, and how it is learned."""

    def step(self, log_prob: Tensor, /) -> tuple[Tensor, Tensor]: ...  # (S, B) -> alpha before the step (S,), loss (S,)

    def tensors(self) -> list[Tensor]: ...


@dataclass
class SACNets:
    """The networks that an update steps, those of a seed one after another: S actors, 2 S critics, 2 S targets."""

    seeds: int  # S
    actor: Stack
    critic: Stack
    target: Stack
    actor_adam: Optimizer
    critic_adam: Optimizer
    temperature: Temperature
    gamma: float
    tau: float

    def tensors(self) -> list[Tensor]:
        """All that an update changes, where it lies."""
        weights = [stack.values for stack in (self.actor, self.critic, self.target)]
        return [
            *weights,
            *(t for part in (self.actor_adam, self.critic_adam, self.temperature) for t in part.tensors()),
        ]

    def values_of(self, critics: Stack, obs: Tensor, actions: Tensor) -> Tensor:
        """Return both critics' values (S, 2, B) of observations (S, B, O) and actions (S, B, A)."""
        inputs = torch.cat([obs, actions], 2)
        if self.seeds > 1:
            inputs = inputs.repeat_interleave(2, dim=0)
        return critics.forward(inputs)[:, :, 0].unflatten(0, (self.seeds, 2))


def sac_update(nets: SACNets, batch: Batch, noise: Tensor, update_target: bool) -> Tensor:
    """Update everything once, of S batches; noise (S, 2B, A) for s and s'.

    Returns (S, 4): ent_coef and the entropy, critic and actor losses.
    """
    actor, critic, target = nets.actor, nets.critic, nets.target
    n, obs_dim = batch.obs.shape[1:]

    mean, raw_log_std = actor.forward(torch.cat([batch.obs, batch.next_obs], 1)).chunk(2, dim=2)
    log_std = raw_log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
    std_noise = log_std.exp().mul_(noise)
    actions = std_noise.add(mean).tanh_()
    one_minus_square = 1 - actions * actions
    log_density = log_std.addcmul_(noise, noise, value=0.5).add_((one_minus_square + TANH_EPSILON).log_())
    log_prob = -log_density.sum(2) - HALF_LOG_2PI * mean.shape[2]
    ent_coef, ent_coef_loss = nets.temperature.step(log_prob[:, :n])

    next_q = nets.values_of(target, batch.next_obs, actions[:, n:]).amin(1)
    soft_q = next_q - ent_coef[:, None] * log_prob[:, n:]
    returns = batch.rewards[..., 0] + (1 - batch.dones[..., 0]) * nets.gamma * soft_q
    td_error = nets.values_of(critic, batch.obs, batch.actions) - returns[:, None]  # (S, 2, B)
    critic_loss = td_error.square().sum((1, 2)) * (0.5 / n)
    critic.backward((td_error / n).flatten(0, 1).unsqueeze(-1))
    nets.critic_adam.step()

    critic.refresh()
    q, chosen = nets.values_of(critic, batch.obs, actions[:, :n]).min(1)  # (S, B)
    actor_loss = (ent_coef[:, None] * log_prob[:, :n] - q).mean(1)
    q_grad = critic.input_grad(torch.full_like(q, -1 / n), chosen, slice(obs_dim, obs_dim + actions.shape[2]))
    weight = (ent_coef / n)[:, None, None]
    _step_actor(nets, q_grad, weight, actions[:, :n], one_minus_square[:, :n], std_noise[:, :n], raw_log_std[:, :n])

    if update_target:
        target.values.lerp_(critic.values, nets.tau)
        target.refresh()
    return torch.stack([ent_coef, ent_coef_loss, critic_loss, actor_loss], 1)


def _step_actor(
    nets: SACNets,
    q_grad: Tensor,  # (S, B, A) d loss / d action through the critics
    weight: Tensor,  # (S, 1, 1) alpha / B
    actions: Tensor,  # (S, B, A)
    one_minus_square: Tensor,  # (S, B, A) 1 - actions^2
    std_noise: Tensor,  # (S, B, A) std * noise
    raw_log_std: Tensor,  # (S, B, A) before the clamp
) -> None:
    """Step by the chain rule from the action to mean and log_std; with fixed noise log N(u) is a matter of log_std."""
    log_prob_grad = 2 * weight * actions / (one_minus_square + TANH_EPSILON)
    mean_grad = (q_grad + log_prob_grad) * one_minus_square
    inside = (raw_log_std >= LOG_STD_MIN) & (raw_log_std <= LOG_STD_MAX)
    log_std_grad = (mean_grad * std_noise - weight) * inside
    nets.actor.backward(torch.cat([mean_grad, log_std_grad], 2))
    nets.actor_adam.step()
    nets.actor.refresh()
