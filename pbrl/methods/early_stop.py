"""Keep the weights that answered held-out questions best, and stop where they get no better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn


class EarlyStop:
    """Remembers the weights of the lowest held-out loss; over after `checks` looks in a row without a lower one."""

    def __init__(self, checks: int) -> None:
        self.checks = checks
        self.best, self.best_update, self.missed = math.inf, 0, 0
        self.weights: dict[str, Any] = {}

    @property
    def over(self) -> bool:
        return self.missed >= self.checks

    def look(self, module: nn.Module, loss: float, update: int) -> None:
        """Note the loss of the module as it is after `update` updates; one that is over gets its best weights back."""
        if loss < self.best or not self.weights:
            self.best = math.inf if math.isnan(loss) else loss  # nothing would be below NaN
            self.best_update, self.missed = update, 0
            self.weights = {name: value.clone() for name, value in module.state_dict().items()}
        else:
            self.missed += 1
        if self.over:
            self.restore(module)

    def restore(self, module: nn.Module) -> None:
        module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "best_update", "missed", "weights")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
