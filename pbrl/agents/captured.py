"""K updates as one captured CUDA graph: the launches of some hundred small kernels cost more than their work.

A graph replays the same kernels on the same memory. So batches and noise are copied into tensors that stay, the weights
and moments are stepped in place, and the sums that are logged lie where the graph left them. `updates` is what is
captured; on the CPU, and wherever else there is no CUDA, it is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pbrl.agents.sac_update import Batch, SACNets, sac_update

GRAPHS = 16  # kept at once, at most: one for each number of updates and phase of the slow critics
WARM_UP = 3  # calls before a capture, in which libraries make their workspaces


def updates(nets: SACNets, batch: Batch, noise: Tensor, target: tuple[bool, ...]) -> Tensor:
    """Make K updates, one by one; batch: each (K, S, B, ·), noise (K, S, 2B, A), target: which move the slow copies.

    Returns (S, 4) sums of what `sac_update` returns.
    """
    sums = noise.new_zeros(nets.seeds, 4)
    for k, update_target in enumerate(target):
        sums += sac_update(nets, Batch(*(part[k] for part in batch)), noise[k], update_target)
    return sums


class Updates:
    """`updates` of one set of networks, captured where they are on CUDA.

    key: of all numbers that are baked into a graph, such as learning rates; a graph is captured for each.
    """

    def __init__(self, nets: SACNets, key: Callable[[], Any] = lambda: None) -> None:
        self.nets, self.key = nets, key
        self._graphs: dict[Any, _Graph] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None  # a copied model has tensors of its own

    def __call__(self, batch: Batch, noise: Tensor, target: tuple[bool, ...]) -> Tensor:
        if noise.device.type != "cuda":
            return updates(self.nets, batch, noise, target)
        places = [tensor.data_ptr() for tensor in self.nets.tensors()]  # a checkpoint may have replaced some
        key = str((noise.shape, batch.obs.shape, target, self.nets.gamma, self.nets.tau, self.key(), places))
        if key not in self._graphs:
            if len(self._graphs) == GRAPHS:
                self._graphs.clear()
            self._graphs[key] = _Graph(self.nets, batch, noise, target)
        return self._graphs[key](batch, noise)


class _Graph:
    """A captured graph of K updates on tensors of these shapes."""

    def __init__(self, nets: SACNets, batch: Batch, noise: Tensor, target: tuple[bool, ...]) -> None:
        self.batch, self.noise = Batch(*(part.clone() for part in batch)), noise.clone()
        before = [(tensor, tensor.clone()) for tensor in nets.tensors()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                updates(nets, self.batch, self.noise, target)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.sums = updates(nets, self.batch, self.noise, target)
        for tensor, value in before:  # what warming up has stepped; a capture itself steps nothing
            tensor.copy_(value)
        for stack in (nets.actor, nets.critic, nets.target):
            stack.refresh()

    def __call__(self, batch: Batch, noise: Tensor) -> Tensor:
        for mine, given in zip((*self.batch, self.noise), (*batch, noise), strict=True):
            mine.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.sums
