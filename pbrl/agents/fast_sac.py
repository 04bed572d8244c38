"""SAC (Haarnoja et al. 2018) with SB3's interface and its mathematics, and an update that is written by hand.

The update is in `sac_update`. What makes it fast: both critics are one stacked product; gradients are formed only for
what is stepped (the actor's loss goes back through the smaller critic of each row, to its action, and forms no critic
gradient); s and s' go through the actor as one batch; one Adam and one Polyak call per network; and bfloat16 for the
large products where the processor has it. Networks, optimizers and zip files are SB3's own, so plain `SAC.load` opens
what this saves. Where the compiled kernel can be had (pbrl/native), it makes the same updates on the same tensors,
about twice as fast; on an accelerator the updates of a call are one captured graph (`captured`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor, nn
from torch.optim import Adam

from pbrl.agents.captured import Updates
from pbrl.agents.device_rows import DeviceRows
from pbrl.agents.native_updates import native_updates, plain_buffer
from pbrl.agents.plain_sac import require_plain_sac
from pbrl.agents.sac_update import Batch, SACNets, sac_update
from pbrl.agents.stacked_updates import stacked_updates
from pbrl.finite import AGENT, require_finite_metrics
from pbrl.nets.devices import array
from pbrl.nets.fast_mlp import FlatAdam, SideBySide, StackedMLP, fused_adam
from pbrl.nets.precision import matmul_dtype

BACKENDS = ("auto", "torch", "native")
FEW_ROWS = 32  # as many as the kernel acts on faster, one by one, than torch does together
AT_ONCE = 8  # updates in one graph, at most


class FastSAC(SAC):
    """A drop-in `stable_baselines3.SAC` for MLP policies.

    precision: "float32", "bfloat16", or "auto": bfloat16 where the processor multiplies it in hardware and
    the critics are at least 128 wide.
    A replay buffer with a method `sample_arrays(batch_size) -> (obs, actions, next_obs, dones, rewards)`, float32 of
    shapes (B, O), (B, A), (B, O), (B, 1), (B, 1), is read through it; any other through SB3's `sample`.
    backend: "torch", "native", or "auto": native where the compiled kernel can be had and covers the model. They draw
    their noise from generators of their own.
    """

    _captured: Updates | None  # on an accelerator, from the first update on
    _rows: DeviceRows | None  # likewise

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
        self._nets.gamma, self._nets.tau = self.gamma, self.tau
        sums = self._trainer()(gradient_steps, batch_size)
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
            sums += self._update(self._sample(batch_size), self._moves_target(step))
        return sums.tolist()

    def _trainer(self) -> Callable[[int, int], list[float]]:
        """Return what makes updates: of their number and a batch size it returns the sums that are logged."""
        if self._stacked is not None:
            return partial(self._stacked.train, self)
        if self._native is not None:
            return partial(self._native.train, self)
        return self._train_in_torch if self.device.type == "cpu" else self._train_captured

    @torch.no_grad()
    def _train_captured(self, gradient_steps: int, batch_size: int) -> list[float]:
        """Update on an accelerator: with the numbers that `_train_in_torch` would draw, some updates in one graph."""
        sums = torch.zeros(4, device=self.device)
        if self._captured is None:
            self._captured = Updates(self._nets, self._learning_rates)
        for first in range(0, gradient_steps, AT_ONCE):
            steps = range(first, min(first + AT_ONCE, gradient_steps))
            drawn = [(batch := self._sample(batch_size), self._draw_noise(batch)) for _ in steps]
            batches, noise = zip(*drawn, strict=True)
            batch = Batch(*(torch.stack(parts)[:, None] for parts in zip(*batches, strict=True)))
            target = tuple(map(self._moves_target, steps))
            sums += self._captured(batch, torch.stack(noise)[:, None], target)[0]
        return array(sums).tolist()

    def _moves_target(self, step: int) -> bool:
        """Return whether the update of this number in a call moves the slow critics."""
        return (self._n_updates + step) % self.target_update_interval == 0

    def _learning_rates(self) -> list[float]:
        optimizers = (self.actor.optimizer, self.critic.optimizer, self.ent_coef_optimizer)
        return [x.param_groups[0]["lr"] for x in optimizers if x is not None]

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
        """Return actions (M, A) in [-1, 1] for float32 observations (M, O)."""
        h = torch.from_numpy(rows).to(self.device)
        layers = list(zip(self._actor_mlp.weights, self._actor_mlp.biases, strict=True))
        for w, b in layers[:-1]:
            h = torch.addmm(b[0], h, w[0]).relu_()
        mean, log_std = torch.addmm(layers[-1][1][0], h, layers[-1][0][0]).chunk(2, dim=1)
        if not deterministic:
            noise = torch.randn(mean.shape).to(self.device)  # on the CPU, as all noise
            mean = mean + noise * log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()
        return array(mean.tanh())

    def reset_critic(self) -> None:
        """Draw new critics from torch's global generator, their targets equal, and begin with a fresh optimiser."""
        with torch.no_grad():
            self._pull()
            self._tie()
            self._critic_mlp.reset_parameters()
            self._target_mlp.values.copy_(self._critic_mlp.values)
            self._critic_adam.reset()

    def get_parameters(self) -> dict[str, dict[str, Any]]:
        """Return copies of what SB3's returns: its views would go on training inside a checkpoint kept in memory."""
        self._pull()
        return _copied(super().get_parameters())

    def set_parameters(self, load_path_or_dict: Any, *args: Any, **kwargs: Any) -> None:
        """Copy in what SB3's would adopt: torch's optimizers would train the caller's tensors."""
        self._pull()
        super().set_parameters(_copied(load_path_or_dict), *args, **kwargs)
        self._tie()

    def _pull(self) -> None:
        """Bring the newest weights into the networks, where somebody else steps them."""
        if self._stacked is not None:
            self._stacked.pull(self)

    def _setup_model(self) -> None:
        super()._setup_model()
        require_plain_sac(self)
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
        self._nets = SACNets(
            1, self._actor_mlp, self._critic_mlp, self._target_mlp, self._actor_adam, self._critic_adam,
            _Temperature(self), self.gamma, self.tau,
        )  # fmt: skip
        self._captured, self._rows = None, None
        self._stacked = stacked_updates(self)
        self._native = None if self._stacked is not None else native_updates(self)

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
        parts = ["_actor_mlp", "_critic_mlp", "_target_mlp", "_actor_adam", "_critic_adam", "_nets"]
        makers = ["_captured", "_rows", "_stacked", "_native"]
        return [*super()._excluded_save_params(), *parts, *makers]

    def _sample(self, batch_size: int) -> Batch:
        if self.device.type != "cpu" and (batch := self._sample_there(batch_size)) is not None:
            return batch
        buffer = self.replay_buffer
        assert buffer is not None
        sample_arrays = getattr(buffer, "sample_arrays", None)
        if sample_arrays is not None and self._vec_normalize_env is None:
            arrays = [torch.as_tensor(array) for array in sample_arrays(batch_size)]
        else:
            data = buffer.sample(batch_size, env=self._vec_normalize_env)
            arrays = [data.observations, data.actions, data.next_observations, data.dones, data.rewards]
        return Batch(*(part.reshape(batch_size, -1).float().to(self.device) for part in arrays))

    def _sample_there(self, batch_size: int) -> Batch | None:
        """Gather a batch on the device; None where the buffer is none of ours, or rewards each batch anew."""
        if (buffer := plain_buffer(self)) is None:
            return None
        if self._rows is None or self._rows.buffer is not buffer:
            self._rows = DeviceRows(buffer, self.device)
        return self._rows.batch(batch_size)

    def _update(self, batch: Batch, update_target: bool) -> Tensor:
        """Update everything once; return ent_coef and the entropy, critic and actor losses (4,)."""
        whole = Batch(*(part[None] for part in batch))
        return sac_update(self._nets, whole, self._draw_noise(batch)[None], update_target)[0]

    def _draw_noise(self, batch: Batch) -> Tensor:
        """Draw noise (2B, A) for s and s', on the CPU whatever the device: the same numbers wherever a run learns."""
        n, size = batch.actions.shape
        noise = torch.empty(2 * n, size)
        noise[:n].normal_()  # two draws, as SB3's
        noise[n:].normal_()
        return noise.to(self.device)

    def ent_coef_state(self) -> dict[str, Tensor]:
        """Return what the optimizer of a learned temperature remembers: step (), exp_avg (1,), exp_avg_sq (1,)."""
        assert self.ent_coef_optimizer is not None
        assert self.log_ent_coef is not None
        state = self.ent_coef_optimizer.state[self.log_ent_coef]
        if not state:
            like = self.log_ent_coef.detach()
            state |= {"step": like.new_zeros(()), "exp_avg": like.new_zeros(1), "exp_avg_sq": like.new_zeros(1)}
        return state


class _Temperature:
    """The temperature of a `FastSAC`, whose tensors checkpoints and SB3's zips may replace."""

    def __init__(self, model: FastSAC) -> None:
        self.model = model

    def step(self, log_prob: Tensor) -> tuple[Tensor, Tensor]:
        model = self.model
        if model.ent_coef_optimizer is None or model.log_ent_coef is None:
            return model.ent_coef_tensor.reshape(1), log_prob.new_zeros(1)
        value = model.log_ent_coef.detach()
        ent_coef, gap = value.exp(), (log_prob + float(model.target_entropy)).mean(1)
        loss = -value * gap
        state = model.ent_coef_state()
        state["step"] += 1
        fused_adam(value, -gap, state["exp_avg"], state["exp_avg_sq"], state["step"], model.ent_coef_optimizer)
        return ent_coef, loss

    def tensors(self) -> list[Tensor]:
        if self.model.ent_coef_optimizer is None or self.model.log_ent_coef is None:
            return []
        return [self.model.log_ent_coef.detach(), *self.model.ent_coef_state().values()]


def _linears(network: nn.Module) -> list[SideBySide]:
    return [[layer] for layer in network.children() if isinstance(layer, nn.Linear)]


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return type(value)((key, _copied(item)) for key, item in value.items())
    return value
