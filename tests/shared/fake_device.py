"""A device that is not there: tensors on `meta` have no numbers, and refuse what an accelerator would wait for."""

import sys
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch._functorch.config as functorch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pbrl.nets import devices

META = torch.device("meta")


@dataclass
class Reads:
    """How often numbers came back, through the two doors for that."""

    count: int = 0


class OneDevice(TorchDispatchMode):
    """Outside FakeTensorMode some operations on meta take tensors of the CPU as well; here none does.

    But for single numbers, and for rows by which something is indexed, as on CUDA.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, torch.Tensor)]
        if func.overloadpacket not in MOVES and any(x.device == META for x in given):
            left = [tuple(x.shape) for x in given if x.device != META and x.ndim]
            assert not left, f"{func} has tensors of shapes {left} that were left on the CPU"
        return func(*args, **(kwargs or {}))


aten = torch.ops.aten
MOVES = {aten.copy_, aten._to_copy, aten.index, aten.index_put_, aten.index_put, aten._index_put_impl_}


@contextmanager
def plain_meta():
    """Tensors on meta with nothing left on the CPU beside them; what is on the CPU keeps its numbers."""
    with doors() as reads, OneDevice():
        yield reads


@contextmanager
def doors():
    """The doors let through halves for what is on `meta`, and are counted."""
    reads, real = Reads(), devices._read

    def read(tensor):
        reads.count += 1
        there = tensor.device == META or type(tensor) is not torch.Tensor
        return np.full(tuple(tensor.shape), 0.5, np.float32) if there else real(tensor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "_read", read)
        patch.setattr(devices, "_bring", lambda tensor, device: torch.full(tensor.shape, 0.5, device=device))
        # Adam in one kernel, as on CUDA; the list of where there is one does not know meta.
        patch.setattr(
            sys.modules[torch.optim.Optimizer.__module__],
            "_get_fused_kernels_supported_devices",
            lambda: ["cpu", "meta"],
        )
        yield reads


@contextmanager
def fake_device():
    """PyTorch's FakeTensorMode: a tensor left on the CPU raises, and so does a number that is read in passing."""
    allowed = functorch.patch(fake_tensor_allow_meta=True)
    with doors() as reads, allowed, FakeTensorMode(allow_non_fake_inputs=True):
        yield reads


@contextmanager
def moving_in_place():
    """`Module.to` keeps the parameters that optimizers know, as on CUDA; to meta it would make new ones."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def on_meta(module):
    with moving_in_place():
        return devices.move(module, META)
