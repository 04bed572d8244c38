"""SAC (Haarnoja et al. 2018) in plain torch, for methods whose reward learns through the agent's own update.

The losses are those of `FastSAC`, as functions of a batch whose rewards may carry a graph and, where wanted, of
parameters other than the networks' own: a virtual step of the critic, as in meta-learned rewards, is then

    theta'(psi) = theta - lr * grad_theta critic_loss(theta; r_psi)        `critic_after`
    L(psi) = loss of Q_theta'(psi)                                          `q_values`

and autograd gives dL/dpsi. Several times slower than `FastSAC`, whose gradients are written by hand.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from stable_baselines3 import SAC
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.sac.policies import Actor
from torch import Tensor, nn
from torch.func import functional_call

from pbrl.agents.sac_update import TANH_EPSILON, Batch
from pbrl.finite import AGENT, require_finite_metrics
from pbrl.nets.devices import number

INSIDE = 1e-4  # how far from the bounds of the box an action is thought to be
Parameters = dict[str, Tensor]
"""The parameters of one network by name, as `named_parameters` gives them."""


class TorchSAC(SAC):
    """A drop-in `stable_baselines3.SAC` for MLP policies on vectors whose losses can be differentiated by rewards."""

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        rows = []
        for step in range(gradient_steps):
            rows.append(self.update(self.sample_batch(batch_size)))
            if (self._n_updates + step) % self.target_update_interval == 0:
                polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        means = {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())}
        require_finite_metrics(means, AGENT)
        for name, value in means.items():
            self.logger.record(f"train/{name}", value)

    def sample_batch(self, batch_size: int) -> Batch:
        """Draw stored transitions; observations (B, O), actions (B, A), dones and rewards (B, 1)."""
        assert self.replay_buffer is not None
        data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
        return Batch(data.observations, data.actions, data.next_observations, data.dones, data.rewards)

    def update(self, batch: Batch) -> dict[str, float]:
        """Step temperature, critics and actor once, in this order; returns the losses."""
        actions, log_prob = self.sample_actions(batch.obs)
        ent_coef, metrics = self._update_ent_coef(log_prob.detach())
        critic_loss = self.critic_loss(batch, ent_coef)
        _step(self.critic.optimizer, critic_loss)
        actor_loss = (ent_coef * log_prob - self.q_values(batch.obs, actions).amin(0)).mean()
        _step(self.actor.optimizer, actor_loss)
        return metrics | {"critic_loss": number(critic_loss), "actor_loss": number(actor_loss)}

    def critic_loss(self, batch: Batch, ent_coef: Tensor | None = None, critic: Parameters | None = None) -> Tensor:
        """Return 1/2 sum_k mean (Q_k(s, a) - y)^2, y = r + gamma (1 - d) (min_k Q'_k(s', a') - alpha log pi(a'|s')).

        The graph goes through `batch.rewards` and `critic`; the next value is a constant.
        """
        with torch.no_grad():
            next_actions, next_log_prob = self.sample_actions(batch.next_obs)
            next_q = torch.stack(self.critic_target(batch.next_obs, next_actions))[..., 0].amin(0)
            following = next_q - (self.temperature if ent_coef is None else ent_coef) * next_log_prob
        target = batch.rewards[:, 0] + (1 - batch.dones[:, 0]) * self.gamma * following
        return 0.5 * (self.q_values(batch.obs, batch.actions, critic) - target).square().mean(1).sum()

    def actor_loss(self, batch: Batch, actor: Parameters | None = None, critic: Parameters | None = None) -> Tensor:
        """Return mean(alpha log pi(a|s) - min_k Q_k(s, a)); the graph goes through both sets of parameters."""
        actions, log_prob = self.sample_actions(batch.obs, actor)
        return (self.temperature * log_prob - self.q_values(batch.obs, actions, critic).amin(0)).mean()

    def critic_after(self, batch: Batch, lr: float) -> Parameters:
        """Return the critics' parameters after a step of gradient descent on `batch`, as functions of its rewards."""
        before = dict(self.critic.named_parameters())
        gradients = torch.autograd.grad(self.critic_loss(batch), list(before.values()), create_graph=True)
        return {name: value - lr * g for (name, value), g in zip(before.items(), gradients, strict=True)}

    def q_values(self, obs: Tensor, actions: Tensor, critic: Parameters | None = None) -> Tensor:
        """Return values (2, B) of obs (B, O) and actions (B, A) in [-1, 1], by these or the current parameters."""
        values = self.critic(obs, actions) if critic is None else functional_call(self.critic, critic, (obs, actions))
        return torch.stack(values)[..., 0]

    def sample_actions(self, obs: Tensor, actor: Parameters | None = None) -> tuple[Tensor, Tensor]:
        """Draw actions (B, A) in [-1, 1] with log densities (B,), reparametrised by noise from torch's generator."""
        sampler = _Sampler(self.actor)
        if actor is None:
            return sampler(obs)
        return functional_call(sampler, {f"actor.{name}": value for name, value in actor.items()}, (obs,))

    def log_prob(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return log densities (B,) of actions (B, A), cut off 1e-4 inside the bounds; the graph goes to the actor."""
        mean, log_std, _ = self.actor.get_action_dist_params(obs)
        inside = actions.clamp(-1 + INSIDE, 1 - INSIDE)
        noise = (inside.atanh() - mean) / log_std.exp()
        log_density = -0.5 * (noise.square() + math.log(2 * math.pi)) - log_std
        return (log_density - (1 - inside.square() + TANH_EPSILON).log()).sum(1)

    @property
    def temperature(self) -> Tensor:
        """alpha, a constant: () or (1,)."""
        return self.ent_coef_tensor if self.log_ent_coef is None else self.log_ent_coef.detach().exp()

    def _update_ent_coef(self, log_prob: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Step log alpha where it is learned; returns the alpha of before the step."""
        ent_coef = self.temperature
        metrics = {"ent_coef": number(ent_coef)}
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            return ent_coef, metrics
        loss = -(self.log_ent_coef * (log_prob + float(self.target_entropy))).mean()
        _step(self.ent_coef_optimizer, loss)
        return ent_coef, metrics | {"ent_coef_loss": number(loss)}


class _Sampler(nn.Module):
    """The actor's squashed Gaussian as a module, so that `functional_call` can take other parameters."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std, _ = self.actor.get_action_dist_params(obs)
        noise = torch.randn_like(mean)
        actions = (mean + log_std.exp() * noise).tanh()
        log_density = -0.5 * (noise.square() + math.log(2 * math.pi)) - log_std
        return actions, (log_density - (1 - actions.square() + TANH_EPSILON).log()).sum(1)


def _step(optimizer: Any, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
