"""Numbers that are not finite end a run before anything learns from them, and say who gave them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from pbrl.errors import UserError

AGENT, REWARD_MODEL = "the agent", "the reward model"


class NotFinite(UserError):
    """NaN or infinity, and who gave it: AGENT or REWARD_MODEL."""

    def __init__(self, who: str, what: str) -> None:
        super().__init__(f"{who} gave {what} that is not finite")
        self.who = who


def require_finite(values: np.ndarray, who: str, what: str) -> np.ndarray:
    """Return the values; NotFinite if one of them is NaN or infinite. what: one of them, as "an action"."""
    if not np.isfinite(values).all():
        raise NotFinite(who, what)
    return values


def require_finite_metrics(metrics: Mapping[str, float], who: str) -> None:
    """Raise NotFinite for a metric that is not finite, but accuracies (NaN over ties alone) and explained variances."""
    for name, value in metrics.items():
        if not math.isfinite(value) and not name.endswith(("accuracy", "explained_variance")):
            raise NotFinite(who, f"a {name.rsplit('/', 1)[-1]} ({value})")


def require_finite_weights(tree: Any, who: str) -> None:
    """Raise NotFinite unless all numbers in nested dicts and lists of tensors, as a checkpoint has them, are finite."""
    if not all(bool(torch.isfinite(t).all()) for t in _tensors(tree)):
        raise NotFinite(who, "a weight")


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        if tree.is_floating_point():
            yield tree
    elif isinstance(tree, (Mapping, list, tuple)):
        for value in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _tensors(value)
