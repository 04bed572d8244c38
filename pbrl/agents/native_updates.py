"""The updates and actions of a `FastSAC` made by the compiled kernel, pbrl/native/sac.c, on the model's own tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.native.binding import HIDDEN_UNIT, MAX_LAYERS, Adam, Library, Problem, Source, act_scratch, load

Steps = dict[str, Any]
"""Fields of `struct source`: arrays, whose addresses are taken, and numbers."""


def native_updates(model: Any) -> NativeUpdates | None:
    """Return what makes this model's updates natively, by its `backend`; None: torch does.

    Raises ValueError where backend="native" cannot be had.
    """
    if model.backend == "torch":
        return None
    library, reason = load()
    if library is not None:
        reason = reason_against(model, library)
    if reason is None:
        assert library is not None
        return NativeUpdates(library)
    if model.backend == "native":
        raise ValueError(f"the compiled kernel cannot be used: {reason}; valid are backend=torch and backend=auto")
    return None


class NativeUpdates:
    """Makes the updates of one model by a library.

    Noise comes from a generator inside the library, seeded at each call from NumPy's global stream. Checkpoints hold
    the state of that stream, so that resuming is exact; nothing else is kept between calls.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._problem: Problem | None = None  # the model's sizes and where its tensors lie, which never move
        self._scratch: np.ndarray | None = None  # of acting
        self._workspaces: dict[int, np.ndarray] = {}  # by batch size; zeros, and then the library's own

    def __deepcopy__(self, memo: dict[int, Any]) -> NativeUpdates:
        return NativeUpdates(self.library)  # a copied model has tensors of its own

    def train(self, model: Any, updates: int, batch_size: int) -> list[float]:
        """Makes updates on what the replay buffer gives; returns what `run` does."""
        steps = _stored(model, batch_size, updates)
        if steps is None:
            steps = given([model._sample(batch_size) for _ in range(updates)])
        return self.run(model, updates, batch_size, steps)

    def run(self, model: Any, updates: int, batch_size: int, steps: Steps, noise: Tensor | None = None) -> list[float]:
        """Makes updates on these steps; noise: (updates, 2, B, A), of s and of s', or drawn.

        Returns four sums over the updates: ent_coef and the losses of entropy, critics and actor.
        """
        problem = self._problem_of(model)
        problem.updates, problem.batch, problem.done_updates = updates, batch_size, model._n_updates
        problem.source = Source(**{k: v if isinstance(v, int) else _address(v) for k, v in steps.items()})
        problem.noise = None if noise is None else noise.data_ptr()
        problem.seed = np.random.randint(2**63 - 1, dtype=np.int64)  # noqa: NPY002  as SB3: global
        if batch_size not in self._workspaces:
            self._workspaces[batch_size] = np.zeros(self.library.workspace(problem), np.uint8)
        counters = _fill_optimizers(problem, model)
        self.library.update(problem, _address(self._workspaces[batch_size]))
        for counter in counters:
            counter.numpy()[...] += updates  # torch takes several times as long
        return list(problem.sums)

    def act(self, model: Any, obs: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        """Return actions (M, A) in [-1, 1] for float32 observations (M, O), with this noise (M, A) or with none."""
        actor = self._problem_of(model).actor
        if self._scratch is None:
            self._scratch = np.empty(act_scratch(actor), np.float32)
        obs = np.ascontiguousarray(obs)
        actions = np.empty((len(obs), model._actor_mlp.sizes[-1][1] // 2), np.float32)
        drawn = None if noise is None else _address(noise)
        self.library.act(actor, len(obs), _address(obs), drawn, _address(self._scratch), _address(actions))
        return actions

    def _problem_of(self, model: Any) -> Problem:
        if self._problem is None:
            self._problem = _problem(model)
        return self._problem


def given(batches: Sequence[Any]) -> Steps:
    """The steps of these batches, one for each update."""
    columns = zip(*batches, strict=True)
    return {name: torch.stack(column) for name, column in zip(batches[0]._fields, columns, strict=True)}


def reason_against(model: Any, library: Library) -> str | None:
    """Return what of this model the library does not cover; None: it covers it."""
    stacks = (model._actor_mlp, model._critic_mlp)
    hidden = [out for stack in stacks for _, out in stack.sizes[:-1]]
    if model.device.type != "cpu":
        return f"it runs on the CPU alone, and the device is {model.device.type}"
    if odd := [size for size in hidden if size % HIDDEN_UNIT]:
        return f"a hidden layer has {odd[0]} units, not a multiple of {HIDDEN_UNIT}"
    if any(stack.depth > MAX_LAYERS for stack in stacks):
        return f"a network has more than {MAX_LAYERS - 1} hidden layers"
    if any(stack.dtype == torch.bfloat16 for stack in stacks) and not library.has_half:
        return "this processor does not multiply bfloat16 in hardware"
    return None


def _problem(model: Any) -> Problem:
    problem = Problem()
    nets = (problem.actor, problem.critic, problem.target)
    stacks = (model._actor_mlp, model._critic_mlp, model._target_mlp)
    for net, stack in zip(nets, stacks, strict=True):
        net.copies, net.layers = stack.copies, stack.depth
        net.sizes[: stack.depth + 1] = [stack.sizes[0][0], *(out for _, out in stack.sizes)]
        net.values, net.grads = _address(stack.values), _address(stack.grads)
    for net, adam in zip(nets, (model._actor_adam, model._critic_adam), strict=False):
        net.exp_avg, net.exp_avg_sq = _address(adam.exp_avg), _address(adam.exp_avg_sq)
    problem.obs = model._actor_mlp.sizes[0][0]
    problem.actions = model._critic_mlp.sizes[0][0] - problem.obs
    problem.half = torch.bfloat16 in (model._actor_mlp.dtype, model._critic_mlp.dtype)
    return problem


def _fill_optimizers(problem: Problem, model: Any) -> list[Tensor]:
    """Fills in all numbers that may have changed, and returns the optimizers' counters of steps."""
    problem.target_interval, problem.gamma, problem.tau = model.target_update_interval, model.gamma, model.tau
    counters = []
    for net, adam in ((problem.actor, model._actor_adam), (problem.critic, model._critic_adam)):
        net.adam = _adam(adam.optimizer, adam.steps[0])
        counters.append(adam.steps)
    if model.ent_coef_optimizer is None or model.log_ent_coef is None:
        problem.log_alpha, problem.fixed_alpha = None, float(model.ent_coef_tensor)
        return counters
    state = model.ent_coef_state()
    problem.log_alpha, problem.target_entropy = _address(model.log_ent_coef), float(model.target_entropy)
    problem.alpha_exp_avg, problem.alpha_exp_avg_sq = _address(state["exp_avg"]), _address(state["exp_avg_sq"])
    problem.alpha_adam = _adam(model.ent_coef_optimizer, state["step"])
    return [*counters, state["step"]]


def _adam(optimizer: torch.optim.Adam, steps: Tensor) -> Adam:
    group = optimizer.param_groups[0]
    return Adam(float(steps), group["lr"], *group["betas"], group["eps"], group["weight_decay"])


def _address(array: np.ndarray | Tensor) -> int:
    return array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data_ptr()


def _stored(model: Any, batch_size: int, batches: int) -> Steps | None:
    """Draw rows of a buffer that holds what the library gathers by itself; None for any other."""
    buffer = plain_buffer(model)
    return None if buffer is None else buffer.draw_places(batch_size, batches)


def plain_buffer(model: Any) -> LearnedRewardBuffer | None:
    """The replay buffer, where steps may be gathered elsewhere; None for any that gives batches of its own."""
    buffer, own = model.replay_buffer, LearnedRewardBuffer
    if not isinstance(buffer, own) or model._vec_normalize_env is not None:
        return None
    alike = all(getattr(type(buffer), name) is getattr(own, name) for name in ("sample_arrays", "transitions"))
    return buffer if alike else None
