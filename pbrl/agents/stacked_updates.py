"""The updates of a `FastSAC` made elsewhere, together with those of other seeds: the side of one run.

Batches and noise are drawn here, as if the run were alone, and sent; the actor's new weights come back. All else of the
networks stays there until it is asked for. What goes over the line are float32 vectors behind one line of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.seed_stack import Problem
from pbrl.errors import UserError

line: Connection | None = None
"""To the process that makes the updates of this one's run; None: they are made here."""

_taken = False


def stacked_updates(model: Any) -> StackedUpdates | None:
    """Return what makes this model's updates over the line; None without a line. ValueError: no stack covers it."""
    if line is None:
        return None
    if (reason := reason_against_stack(model)) is not None:
        raise ValueError(f"executor=stack: {reason}")
    return StackedUpdates(line)


class StackedUpdates:
    """Makes the updates of one model over the line, as `NativeUpdates` does by a library."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._problem: Problem | None = None  # once the other side knows it
        self._here = True  # whether the newest weights are the model's

    def __deepcopy__(self, memo: dict[int, Any]) -> StackedUpdates:
        raise UserError("executor=stack makes the updates of one agent in a run, and this method has two; leave it out")

    @torch.no_grad()
    def train(self, model: Any, updates: int, batch_size: int) -> list[float]:
        """Make updates; return sums over them: ent_coef and the losses of entropy, critics and actor."""
        self._push(model)
        assert self._problem is not None
        columns: list[list[Tensor]] = [[] for _ in self._problem.batch_sizes()]
        for _ in range(updates):
            batch = model._sample(batch_size)
            for column, part in zip(columns, (*batch, model._draw_noise(batch)), strict=True):
                column.append(part)
        parts = [torch.stack(column) for column in columns]
        send(self.connection, {"do": "train", "updates": updates}, parts)
        _, reply = receive(self.connection)
        model._actor_mlp.values.copy_(reply[4:])
        self._here = False
        return reply[:4].tolist()

    @torch.no_grad()
    def pull(self, model: Any) -> None:
        """Bring the newest weights and moments into the model's own tensors."""
        if self._here or self._problem is None:
            return
        send(self.connection, {"do": "give"})
        _, numbers = receive(self.connection)
        state = unpacked(numbers, self._problem)
        for name, place in _places(model).items():
            place.copy_(state[name])
        if model.log_ent_coef is not None:
            kept = model.ent_coef_state()
            for place, value in zip(
                (model.log_ent_coef.data, kept["exp_avg"], kept["exp_avg_sq"]), state["alpha"], strict=True
            ):
                place.fill_(value)
            kept["step"].fill_(state["steps"][2])
        model._actor_adam.steps.fill_(state["steps"][0])
        model._critic_adam.steps.fill_(state["steps"][1])
        self._here = True

    def _push(self, model: Any) -> None:
        """Sends everything, where the model's tensors are newer than what lies there."""
        if not self._here:
            return
        if self._problem is None:
            _take_the_line()
            self._problem = problem_of(model)
            send(self.connection, {"do": "join", "problem": str(self._problem)})
        state = _places(model) | _small(model)
        send(self.connection, {"do": "take"}, [state[name] for name in self._problem.state_sizes()])


def _take_the_line() -> None:
    global _taken
    if _taken:
        raise UserError("executor=stack makes the updates of one agent in a run, and this method has two; leave it out")
    _taken = True


def problem_of(model: Any) -> Problem:
    """Return what other seeds must share with this model."""
    optimizers = [model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer or model.actor.optimizer]
    groups = [optimizer.param_groups[0] for optimizer in optimizers]
    adam = [
        {
            "lr": g["lr"],
            "beta1": g["betas"][0],
            "beta2": g["betas"][1],
            "eps": g["eps"],
            "weight_decay": g["weight_decay"],
        }
        for g in groups
    ]
    return Problem(
        actor=tuple(model._actor_mlp.sizes),
        critic=tuple(model._critic_mlp.sizes),
        batch_size=model.batch_size,
        gamma=model.gamma,
        tau=model.tau,
        target_entropy=float(model.target_entropy),
        learns_alpha=model.ent_coef_optimizer is not None,
        adam=(adam[0], adam[1], adam[2]),
    )


def reason_against_stack(model: Any) -> str | None:
    """Return what of this model a stack of seeds does not cover; None: it covers it."""
    if model.backend == "native":
        return "agent.backend=native: expected torch or auto"
    if model.target_update_interval != 1:
        return f"agent.target_update_interval={model.target_update_interval}: expected 1"
    if model._critic_mlp.dtype != torch.float32 or model._actor_mlp.dtype != torch.float32:
        return f"agent.precision={model.precision}: expected float32"
    if model.device.type != "cpu":
        return f"device={model.device.type}: expected cpu in each run; the executor has a device of its own"
    return None


def send(connection: Connection, header: Mapping[str, Any], vectors: Sequence[Tensor] = ()) -> None:
    """Send one line of JSON, and float32 numbers behind it."""
    numbers = np.concatenate([v.detach().reshape(-1).numpy(force=True) for v in vectors]) if vectors else np.zeros(0)
    try:
        connection.send_bytes(json.dumps(header).encode() + b"\n" + numbers.astype(np.float32, copy=False).tobytes())
    except OSError as error:
        raise UserError("the bench that makes this run's updates has ended; start it again") from error


def receive(connection: Connection) -> tuple[dict[str, Any], Tensor]:
    try:
        message = connection.recv_bytes()
    except (EOFError, OSError) as error:
        raise UserError("the bench that makes this run's updates has ended; start it again") from error
    header, _, numbers = message.partition(b"\n")
    found: dict[str, Any] = json.loads(header)
    if "error" in found:
        raise UserError(found["error"])
    return found, torch.from_numpy(np.frombuffer(numbers, np.float32).copy())


def unpacked(numbers: Tensor, problem: Problem) -> dict[str, Tensor]:
    """Split the numbers of a seed's state, which lie in a row, into its tensors."""
    sizes = problem.state_sizes()
    return dict(zip(sizes, numbers.split(list(sizes.values())), strict=True))


def _places(model: Any) -> dict[str, Tensor]:
    """Return where the large vectors of a seed's state lie in a model."""
    actor, critic = model._actor_adam, model._critic_adam
    return {
        "actor": model._actor_mlp.values,
        "critic": model._critic_mlp.values,
        "target": model._target_mlp.values,
        **{"actor_avg": actor.exp_avg, "actor_square": actor.exp_avg_sq},
        **{"critic_avg": critic.exp_avg, "critic_square": critic.exp_avg_sq},
    }


def _small(model: Any) -> dict[str, Tensor]:
    steps = [model._actor_adam.steps[:1], model._critic_adam.steps[:1]]
    if model.ent_coef_optimizer is None:
        alpha, zero = model.ent_coef_tensor.reshape(1).log(), torch.zeros(1)
        return {"alpha": torch.cat([alpha, zero, zero]), "steps": torch.cat([*steps, zero])}
    kept, value = model.ent_coef_state(), model.log_ent_coef.detach()
    return {
        "alpha": torch.cat([value, kept["exp_avg"], kept["exp_avg_sq"]]),
        "steps": torch.cat([*steps, kept["step"].reshape(1)]),
    }
