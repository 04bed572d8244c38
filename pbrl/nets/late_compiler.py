"""Optimizers that do not import torch's compiler, which takes a second of CPU at each start.

`torch.optim` imports `torch._dynamo` only to tell the compiler to leave a few methods alone. Where nothing has imported
it, nothing is being compiled, and there is nobody to tell.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch

Function = Callable[..., Any]


def import_compiler_late() -> None:
    """Have torch's optimizers call the compiler only once something else has imported it."""
    if _is_compiler_here():
        return
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        _leave_alone(getattr(torch.optim.Optimizer, name))
    for kind in vars(torch.optim).values():
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and "step" in vars(kind):
            kind.step = _step(kind.step)  # type: ignore[method-assign]


def _leave_alone(method: Function) -> None:
    """Stand in for `torch._disable_dynamo`, which keeps what it got of the compiler in the method."""
    function: Any = getattr(method, "__wrapped__", None)
    if function is None or hasattr(function, "__dynamo_disable"):
        return

    def call(*args: Any, **kwargs: Any) -> Any:
        if _is_compiler_here():
            del function.__dynamo_disable
            return method(*args, **kwargs)  # which asks the compiler now
        return function(*args, **kwargs)

    function.__dynamo_disable = call


def _step(step: Function) -> Function:
    """Stand in for `_use_grad_for_differentiable` of torch.optim, which breaks the compiler's graph at each step."""
    plain = getattr(step, "__wrapped__", None)
    if plain is None or hasattr(step, "is_late"):
        return step

    @functools.wraps(step)
    def call(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        if _is_compiler_here():
            return step(self, *args, **kwargs)
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):  # LBFGS has no such key
            return plain(self, *args, **kwargs)

    call.is_late = True  # type: ignore[attr-defined]
    return call


def _is_compiler_here() -> bool:
    return "torch._dynamo" in sys.modules
