"""Policies and rewards as graphs of torch that need no code of pbrl: TorchScript and ONNX."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from pbrl.errors import UserError
from pbrl.install import install_extra
from pbrl.training.saved_run import SavedRun
from pbrl_envs.action_box import is_unit

OPSET = 17  # of ONNX: what onnxruntime has read since 1.13
ROWS = 5  # of the examples that graphs are traced and tried with


class PolicyGraph(nn.Module):
    """The policy: obs (M, *obs_shape) float32 -> actions (M, A) in the environment's own units."""

    inputs, output = ("obs",), "actions"
    low: Tensor  # (A,) float64, as are the next three
    high: Tensor
    middle: Tensor
    spread: Tensor

    def __init__(self, saved: SavedRun, box: spaces.Box) -> None:
        super().__init__()
        self.act = _actor(saved)
        self.unit, self.whole = is_unit(box), box.dtype.kind != "f"
        low, high = torch.from_numpy(box.low).double(), torch.from_numpy(box.high).double()
        middle = low / 2 + high / 2
        for name, value in (("low", low), ("high", high), ("middle", middle), ("spread", high - middle)):
            self.register_buffer(name, value)
        self.dtype = torch.float32 if box.dtype == np.float32 else torch.float64

    def forward(self, obs: Tensor) -> Tensor:
        action = self.act(obs).clamp(-1, 1)
        if self.unit:
            return action
        own = self.middle + self.spread * action.double()
        own = own.round() if self.whole else own
        return torch.minimum(torch.maximum(own, self.low), self.high).to(self.dtype)


class RewardGraph(nn.Module):
    """The reward as the agent got it: obs (M, O), actions (M, A) float32 in the environment's units -> reward (M,)."""

    inputs, output = ("obs", "actions"), "reward"
    middle: Tensor  # (A,) float64, of the box of actions
    spread: Tensor  # (A,) float64
    moves: Tensor  # (A,) bool

    def __init__(self, saved: SavedRun, scale: float, box: spaces.Box) -> None:
        super().__init__()
        self.reward, self.scale = _reward(saved), scale
        low, high = torch.from_numpy(box.low).double(), torch.from_numpy(box.high).double()
        half = high / 2 - low / 2
        self.register_buffer("middle", low / 2 + high / 2)
        self.register_buffer("moves", half > 0)
        self.register_buffer("spread", torch.where(half > 0, half, 1.0))

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        unit = (actions.double() - self.middle) / self.spread
        unit = torch.where(self.moves, unit, torch.zeros_like(unit)).clamp(-1, 1)
        return self.scale * self.reward(obs, unit.to(torch.float32))


def torchscript(graph: nn.Module, examples: tuple[Tensor, ...]) -> bytes:
    """Return what `torch.jit.load` opens, without pbrl."""
    file = io.BytesIO()
    torch.jit.save(_traced(graph, examples), file)
    return file.getvalue()


def onnx(graph: Any, examples: tuple[Tensor, ...]) -> bytes:
    """Return what onnxruntime opens; all first axes are open. UserError without the onnx package."""
    try:
        import onnx as _  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"onnx is not installed, which writes such files; get it with: {install_extra('onnx')}"
        ) from error
    file: Any = io.BytesIO()  # which torch takes and its annotation does not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer and of the exporter, about what is constant here on purpose
        torch.onnx.export(
            graph,
            examples,
            file,
            input_names=list(graph.inputs),
            output_names=[graph.output],
            dynamic_axes={name: {0: "M"} for name in (*graph.inputs, graph.output)},
            opset_version=OPSET,
            dynamo=False,
        )
    content: bytes = file.getvalue()
    return content


def require_same(graph: nn.Module, examples: tuple[Tensor, ...], expected: np.ndarray) -> None:
    """Raise RuntimeError where a graph is not what it was made of: no file is written then."""
    with torch.no_grad():
        found = _traced(graph, tuple(e[:2] for e in examples))(*examples).numpy()
    if not np.allclose(found, expected, rtol=1e-4, atol=1e-4):
        raise RuntimeError(f"the exported graph differs from the run by {np.abs(found - expected).max():.2g}")


def _traced(graph: nn.Module, examples: tuple[Tensor, ...]) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about branches that are constant here on purpose, such as input statistics
        return torch.jit.trace(graph.eval(), examples, check_trace=False)


def _actor(saved: SavedRun) -> Callable[[Tensor], Tensor]:
    """Observations to actions in [-1, 1], as a module."""
    if saved.policy is not None:
        return _module(saved.policy)
    model: Any = saved.agent.model if saved.agent is not None else None
    return SacActor(model.policy.actor) if hasattr(model.policy, "actor") else PpoActor(model.policy)


def _reward(saved: SavedRun) -> Callable[[Tensor, Tensor], Tensor]:
    """Observations and actions in [-1, 1] to rewards, as a module."""
    if saved.reward is None:
        raise UserError(f"{saved.path} has no learned reward of single steps, so there is none to export")
    return _module(getattr(saved.reward, "__self__", saved.reward))


def _module(of: Any) -> Any:
    if hasattr(of, "as_module"):
        return of.as_module()
    if isinstance(of, nn.Module):
        return Chosen(of) if getattr(of, "choice", False) else of.eval()
    raise UserError(
        f"{type(of).__name__} has no graph of torch; a class of your own gives one by a method `as_module()`"
    )


class Chosen(nn.Module):
    """The likeliest of n choices, as 1 at its place."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy.eval()

    def forward(self, obs: Tensor) -> Tensor:
        logits = self.policy(obs)
        return (torch.arange(logits.shape[-1]) == logits.argmax(-1, keepdim=True)).float()


class SacActor(nn.Module):
    """SB3's actor of SAC without noise."""

    def __init__(self, actor: Any) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, obs: Tensor) -> Tensor:
        mean: Tensor = self.actor.mu(self.actor.latent_pi(self.actor.features_extractor(obs)))
        return mean.tanh()


class PpoActor(nn.Module):
    """SB3's actor of PPO without noise: the mean of its Gaussian."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: Tensor) -> Tensor:
        features = self.policy.pi_features_extractor(obs)
        action: Tensor = self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))
        return action
