"""SAC (Haarnoja et al. 2018) with SB3's interface, its mathematics and a hand-written update for one CPU thread.

For a batch (s, a, r, s', d) and noise e, e' ~ N(0, I), in this order:

    u = mean(s) + std(s) e,   a_pi = tanh(u),   log pi = sum log N(u; mean, std) - log(1 - a_pi^2 + 1e-6)
    alpha = exp(log_alpha);   step log_alpha on   -log_alpha * mean(log pi + target_entropy)
    y = r + gamma (1 - d) (min_k Q'_k(s', a') - alpha log pi(a'|s'))
    step Q on      1/2 sum_k mean (Q_k(s, a) - y)^2
    step pi on     mean(alpha log pi - min_k Q_k(s, a_pi))          with the new Q
    Q' <- (1 - tau) Q' + tau Q

What makes it fast: both critics are one stacked product; gradients are formed only for what is stepped (the actor's
loss goes back through the smaller critic of each row, to its action, and forms no critic gradient); s and s' go
through the actor as one batch; one Adam and one Polyak call per network; and bfloat16 for the large products where
the processor has it. Networks, optimizers and zip files are SB3's own, so plain `SAC.load` opens what this saves.
Where the compiled kernel can be had (pbrl/native), it makes the same updates on the same tensors, about twice as fast.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, SACPolicy
from torch import Tensor, nn
from torch.optim import Adam

from pbrl.agents.native_updates import native_updates
from pbrl.finite import AGENT, require_finite_metrics
from pbrl.nets.fast_mlp import FlatAdam, SideBySide, StackedMLP, fused_adam
from pbrl.nets.precision import matmul_dtype

BACKENDS = ("auto", "torch", "native")
TANH_EPSILON = 1e-6  # as in SB3's SquashedDiagGaussianDistribution
FEW_ROWS = 32  # as many as the kernel acts on faster, one by one, than torch does together
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Batch(NamedTuple):
    obs: Tensor  # (B, O)
    actions: Tensor  # (B, A)
    next_obs: Tensor  # (B, O)
    dones: Tensor  # (B, 1)
    rewards: Tensor  # (B, 1)


class FastSAC(SAC):
    """A drop-in `stable_baselines3.SAC` for MLP policies on the CPU.

    precision: "float32", "bfloat16", or "auto": bfloat16 where the processor multiplies it in hardware and
    the critics are at least 128 wide.
    A replay buffer with a method `sample_arrays(batch_size) -> (obs, actions, next_obs, dones, rewards)`, float32 of
    shapes (B, O), (B, A), (B, O), (B, 1), (B, 1), is read through it; any other through SB3's `sample`.
    backend: "torch", "native", or "auto": native where the compiled kernel can be had and covers the model. They draw
    their noise from generators of their own.
    """

    def __init__(
        self,
        *args: Any,
        precision: str = "float32",
        backend: str = "auto",
        device: torch.device | str = "cpu",
        **kwargs: Any,
    ) -> None:
        matmul_dtype(precision)  # an unknown name fails before anything is built
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
        self.precision, self.backend = precision, backend
        kwargs["device"] = "cpu" if device == "auto" else device
        super().__init__(*args, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        self._tie()
        train = self._train_in_torch if self._native is None else partial(self._native.train, self)
        sums = train(gradient_steps, batch_size)
        self._n_updates += gradient_steps
        ent_coef, ent_coef_loss, critic_loss, actor_loss = (x / gradient_steps for x in sums)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/ent_coef", ent_coef)
        self.logger.record("train/actor_loss", actor_loss)
        self.logger.record("train/critic_loss", critic_loss)
        if self.ent_coef_optimizer is not None:
            self.logger.record("train/ent_coef_loss", ent_coef_loss)
        require_finite_metrics({"critic_loss": critic_loss, "actor_loss": actor_loss, "ent_coef": ent_coef}, AGENT)

    @torch.no_grad()
    def _train_in_torch(self, gradient_steps: int, batch_size: int) -> list[float]:
        sums = torch.zeros(4)
        for step in range(gradient_steps):
            batch = self._sample(batch_size)
            sums += self._update(batch, update_target=(self._n_updates + step) % self.target_update_interval == 0)
        return sums.tolist()

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        shape = self.policy.observation_space.shape or ()
        batched = isinstance(observation, np.ndarray) and observation.ndim == len(shape) + 1
        if not isinstance(observation, np.ndarray) or observation.shape[batched:] != shape:
            return super().predict(observation, state, episode_start, deterministic)  # other inputs and all errors
        rows = np.asarray(observation, np.float32).reshape(-1, math.prod(shape))
        if self._native is not None and len(rows) <= FEW_ROWS:
            noise = None if deterministic else torch.randn(len(rows), self._actor_mlp.sizes[-1][1] // 2).numpy()
            actions = self._native.act(self, rows, noise)
        else:
            actions = self._act_in_torch(rows, deterministic)
        actions = actions.reshape(-1, *(self.policy.action_space.shape or ()))
        actions = self.policy.unscale_action(actions)
        return (actions if batched else actions[0]), state

    @torch.no_grad()
    def _act_in_torch(self, rows: np.ndarray, deterministic: bool) -> np.ndarray:
        """Actions (M, A) in [-1, 1] for float32 observations (M, O)."""
        h = torch.from_numpy(rows)
        layers = list(zip(self._actor_mlp.weights, self._actor_mlp.biases, strict=True))
        for w, b in layers[:-1]:
            h = torch.addmm(b[0], h, w[0]).relu_()
        mean, log_std = torch.addmm(layers[-1][1][0], h, layers[-1][0][0]).chunk(2, dim=1)
        if not deterministic:
            mean = mean + torch.randn(mean.shape) * log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()
        return mean.tanh().numpy()

    def reset_critic(self) -> None:
        """New critics from torch's global generator, targets equal to them, and an optimiser that has seen nothing."""
        with torch.no_grad():
            self._tie()
            self._critic_mlp.reset_parameters()
            self._target_mlp.values.copy_(self._critic_mlp.values)
            self._critic_adam.reset()

    def get_parameters(self) -> dict[str, dict]:
        """As SB3's, but copies: SB3 gives views, which would go on training inside a checkpoint kept in memory."""
        return _copied(super().get_parameters())

    def set_parameters(self, load_path_or_dict: Any, *args: Any, **kwargs: Any) -> None:
        """As SB3's, but what is given is copied: torch's optimizers would adopt its tensors and train them."""
        super().set_parameters(_copied(load_path_or_dict), *args, **kwargs)
        self._tie()

    def _setup_model(self) -> None:
        super()._setup_model()
        _require_plain(self)
        dtype = matmul_dtype(self.precision, self.critic.q_networks[0][0].out_features)  # type: ignore[index]
        heads: Any = [self.actor.mu, self.actor.log_std]
        actor = [*_linears(self.actor.latent_pi), heads]
        with torch.no_grad():
            self._actor_mlp = StackedMLP([actor], dtype)
            self._critic_mlp = StackedMLP([_linears(net) for net in self.critic.q_networks], dtype)
            targets = [_linears(net) for net in self.critic_target.q_networks]
            self._target_mlp = StackedMLP(targets, dtype, self._critic_mlp.scratch)
            self._actor_adam = FlatAdam(self._actor_mlp, cast(Adam, self.actor.optimizer))
            self._critic_adam = FlatAdam(self._critic_mlp, cast(Adam, self.critic.optimizer))
        self._native = native_updates(self)

    def _tie(self) -> None:
        """Takes over weights and moments that were loaded or copied since the last call."""
        with torch.no_grad():
            for stack in (self._actor_mlp, self._critic_mlp, self._target_mlp):
                stack.tie()
                if self._native is None:  # which rounds by itself
                    stack.refresh()
            for adam in (self._actor_adam, self._critic_adam):
                adam.tie()

    def _excluded_save_params(self) -> list[str]:
        own = ["_actor_mlp", "_critic_mlp", "_target_mlp", "_actor_adam", "_critic_adam", "_native"]
        return [*super()._excluded_save_params(), *own]

    def _sample(self, batch_size: int) -> Batch:
        buffer = self.replay_buffer
        assert buffer is not None
        sample_arrays = getattr(buffer, "sample_arrays", None)
        if sample_arrays is not None and self._vec_normalize_env is None:
            arrays = [torch.as_tensor(array) for array in sample_arrays(batch_size)]
        else:
            data = buffer.sample(batch_size, env=self._vec_normalize_env)
            arrays = [data.observations, data.actions, data.next_observations, data.dones, data.rewards]
        return Batch(*(array.reshape(batch_size, -1).float() for array in arrays))

    def _update(self, batch: Batch, update_target: bool) -> Tensor:
        """One step of everything; returns (4,) ent_coef and the entropy, critic and actor losses."""
        actor, critic, target = self._actor_mlp, self._critic_mlp, self._target_mlp
        n, obs_dim = batch.obs.shape

        mean, raw_log_std = actor.forward(torch.cat([batch.obs, batch.next_obs]))[0].chunk(2, dim=1)
        noise = torch.empty(mean.shape)
        noise[:n].normal_()  # two draws, as SB3's
        noise[n:].normal_()
        log_std = raw_log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        std_noise = log_std.exp().mul_(noise)
        actions = std_noise.add(mean).tanh_()
        one_minus_square = 1 - actions * actions
        log_density = log_std.addcmul_(noise, noise, value=0.5).add_((one_minus_square + TANH_EPSILON).log_())
        log_prob = -log_density.sum(1) - HALF_LOG_2PI * mean.shape[1]
        ent_coef, ent_coef_loss = self._update_ent_coef(log_prob[:n])

        next_q = target.forward(torch.cat([batch.next_obs, actions[n:]], 1))[:, :, 0].amin(0)
        soft_q = next_q - ent_coef * log_prob[n:]
        returns = batch.rewards[:, 0] + (1 - batch.dones[:, 0]) * self.gamma * soft_q
        td_error = critic.forward(torch.cat([batch.obs, batch.actions], 1))[:, :, 0] - returns  # (2, B)
        critic_loss = td_error.square().sum() * (0.5 / n)
        critic.backward((td_error / n).unsqueeze(-1))
        self._critic_adam.step()

        critic.refresh()
        q, chosen = critic.forward(torch.cat([batch.obs, actions[:n]], 1))[:, :, 0].min(0)
        actor_loss = (ent_coef * log_prob[:n] - q).mean()
        q_grad = critic.input_grad(q.new_full((n,), -1 / n), chosen, slice(obs_dim, obs_dim + actions.shape[1]))
        self._step_actor(q_grad, ent_coef / n, actions[:n], one_minus_square[:n], std_noise[:n], raw_log_std[:n])

        if update_target:
            target.values.lerp_(critic.values, self.tau)
            target.refresh()
        return torch.stack([ent_coef, ent_coef_loss, critic_loss, actor_loss])

    def _update_ent_coef(self, log_prob: Tensor) -> tuple[Tensor, Tensor]:
        """Steps log alpha where it is learned; returns the alpha of before the step, and the loss."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            return self.ent_coef_tensor, torch.zeros(())
        value = self.log_ent_coef.detach()
        ent_coef, gap = value.exp()[0], (log_prob + float(self.target_entropy)).mean()
        loss = -value[0] * gap
        state = self.ent_coef_state()
        state["step"] += 1
        fused_adam(value, -gap[None], state["exp_avg"], state["exp_avg_sq"], state["step"], self.ent_coef_optimizer)
        return ent_coef, loss

    def ent_coef_state(self) -> dict[str, Tensor]:
        """What the optimizer of a learned temperature remembers: step (), exp_avg (1,), exp_avg_sq (1,)."""
        assert self.ent_coef_optimizer is not None
        assert self.log_ent_coef is not None
        state = self.ent_coef_optimizer.state[self.log_ent_coef]
        if not state:
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros(1), "exp_avg_sq": torch.zeros(1)}
        return state

    def _step_actor(
        self,
        q_grad: Tensor,  # (B, A) d loss / d action through the critics
        weight: Tensor,  # () alpha / B
        actions: Tensor,  # (B, A)
        one_minus_square: Tensor,  # (B, A) 1 - actions^2
        std_noise: Tensor,  # (B, A) std * noise
        raw_log_std: Tensor,  # (B, A) before the clamp
    ) -> None:
        """Chain rule from the action to mean and log_std; with the noise held, log N(u) depends on log_std alone."""
        log_prob_grad = 2 * weight * actions / (one_minus_square + TANH_EPSILON)
        mean_grad = (q_grad + log_prob_grad) * one_minus_square
        inside = (raw_log_std >= LOG_STD_MIN) & (raw_log_std <= LOG_STD_MAX)
        log_std_grad = (mean_grad * std_noise - weight) * inside
        self._actor_mlp.backward(torch.cat([mean_grad, log_std_grad], 1)[None])
        self._actor_adam.step()
        self._actor_mlp.refresh()


def _require_plain(model: SAC) -> None:
    """Says which part of a model the hand-written update does not cover."""
    policy, space = model.policy, model.observation_space
    optimizers = [model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer]
    modules = [model.actor.latent_pi, *model.critic.q_networks]
    layers = [layer for module in modules for layer in module.children()]
    wrong = {
        "the policy is not MlpPolicy": type(policy) is not SACPolicy,
        f"the observation space is {space}, not a Box of numbers": not isinstance(space, spaces.Box)
        or is_image_space(space),
        "use_sde is on": model.use_sde,
        f"n_steps is {model.n_steps}, not 1": model.n_steps != 1,
        f"the device is {model.device}, not the CPU": model.device.type != "cpu",
        "the features extractor is not Flatten": policy.features_extractor_class is not FlattenExtractor,
        "there are not exactly 2 critics": len(model.critic.q_networks) != 2,
        "a network is not an MLP of Linear and ReLU": any(type(x) not in (nn.Linear, nn.ReLU) for x in layers),
        "a network has no hidden layer": any(len(list(module.children())) < 2 for module in modules),
        "an optimizer is not plain Adam": any(not _is_plain_adam(x) for x in optimizers if x is not None),
    }
    reasons = [reason for reason, found in wrong.items() if found]
    if reasons:
        instead = "Use stable_baselines3.SAC instead: agent=sac_sb3."
        raise ValueError(f"FastSAC does not cover this model: {'; '.join(reasons)}. {instead}")


def _is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    flags = ("amsgrad", "maximize", "decoupled_weight_decay")
    return type(optimizer) is Adam and not any(optimizer.defaults.get(flag) for flag in flags)


def _linears(network: nn.Module) -> list[SideBySide]:
    return [[layer] for layer in network.children() if isinstance(layer, nn.Linear)]


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return type(value)((key, _copied(item)) for key, item in value.items())
    return value
