"""The place of tensors: the CPU or one accelerator, and the doors by which numbers come back from there.

What learns lies on the device of its run; questions, answers, environments and files stay on the CPU, and so do the
generators of random numbers: a run draws the same batches, crops and noise on any device. Each read waits for the
device, so that nothing in a loss or an update may read but through `array` and `number`, at its end (tests/device).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pbrl.errors import UserError, choices

DEVICES = ("cpu", "cuda", "auto")
CPU = torch.device("cpu")

Module = TypeVar("Module", bound=torch.nn.Module)


def chosen_device(name: str) -> torch.device:
    """Return the device of `device=NAME`; auto: cuda where torch sees one, else the CPU.

    UserError for any other name, and for cuda where torch sees none.
    """
    if name not in DEVICES:
        raise UserError(f"device={name}: {choices(str(name), DEVICES)}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        raise UserError(f"device=cuda: {why}; valid here are cpu and auto, and `pbrl doctor` says more")
    return torch.device("cuda", torch.cuda.current_device()) if available and name != "cpu" else CPU


def move(module: Module, device: torch.device) -> Module:
    """Move a module; buffers that it names in `on_host` stay on the CPU, since it looks at them at each step."""
    if device.type == "cpu":
        return module
    kept = {name: getattr(module, name) for name in getattr(module, "on_host", ())}
    module.to(device)
    for name, buffer in kept.items():
        setattr(module, name, buffer)
    return module


def array(tensor: Tensor) -> np.ndarray:
    """Return the numbers of a tensor on any device, as an array on the CPU."""
    return _read(tensor)


def number(tensor: Tensor) -> float:
    """Return the number in a tensor of one element, on any device."""
    return float(_read(tensor).item())


def brought(tensor: Tensor, device: torch.device) -> Tensor:
    """Bring a tensor onto that device, such as scores onto that of the segments that were scored."""
    return tensor if tensor.device == device else _bring(tensor, device)


def _bring(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device)


def _read(tensor: Tensor) -> np.ndarray:
    return tensor.numpy(force=True)
