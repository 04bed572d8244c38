"""A reward ensemble as plain numbers and a description, from which any library builds it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from pbrl.errors import UserError
from pbrl.training.saved_run import SavedRun


class PlainReward(NamedTuple):
    """An ensemble of MLPs on [obs, actions] whose mean is the reward.

    description: `kind`, `members`, `obs_size`, `action_size`, `hidden` sizes, `activation` and `head` by name,
    `normalise` and, where true, `epsilon` and `clip`.
    weights: `net.weights.L` (E, in, out) and `net.biases.L` (E, 1, out) of each layer; `norm.mean`, `norm.var` (O,).
    """

    description: dict[str, Any]
    weights: dict[str, Tensor]


def plain_reward(saved: SavedRun) -> PlainReward:
    """Read the reward as plain numbers; UserError where only pbrl or a graph can compute it."""
    model: Any = getattr(saved.reward, "__self__", None)
    if not getattr(model, "is_plain", False):
        what = "the mean of an ensemble of plain MLPs"
        raise UserError(f"{saved.path}: its reward is not {what}; valid for it are reward=torchscript and reward=onnx")
    normalises = model.norm is not None and bool(model.norm.count)
    description: dict[str, Any] = {
        "kind": "ensemble of MLPs on [obs, actions in [-1, 1]], the reward is scale * mean of the members",
        "members": model.members,
        "obs_size": model.obs_size,
        "action_size": model.action_size,
        "hidden": [int(weight.shape[2]) for weight in list(model.net.weights)[:-1]],
        "activation": model.net.activation_name,
        "head": model.head_name,
        "normalise": normalises,
    }
    weights = {name: value.detach().clone().contiguous() for name, value in model.net.state_dict(prefix="net.").items()}
    if normalises and model.norm is not None:
        description |= {"epsilon": model.norm.epsilon, "clip": model.norm.clip}
        weights |= {"norm.mean": model.norm.mean.clone(), "norm.var": model.norm.var.clone()}
    return PlainReward(description, weights)
