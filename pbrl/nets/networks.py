"""Network parts shared by methods: a stacked ensemble of MLPs and running input statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pbrl.errors import choices
from pbrl.nets.devices import number

ACTIVATIONS = {"relu": torch.relu_, "leaky_relu": torch.nn.functional.leaky_relu_, "tanh": torch.tanh_}
HEADS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "linear": lambda x: x}


class StackedMLP(nn.Module):
    """E independent MLPs as one batched product per layer: (M, in) or (E, M, in) -> (E, M, out).

    Initialised like torch.nn.Linear (Kaiming uniform, a = sqrt(5)), each member on its own.
    """

    def __init__(self, members: int, sizes: Sequence[int], activation: str, rng: torch.Generator) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}: {choices(activation, ACTIVATIONS)}")
        self.members, self.activation_name = members, activation
        self.activation = ACTIVATIONS[activation]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(_uniform((members, fan_in, fan_out), bound, rng)))
            self.biases.append(nn.Parameter(_uniform((members, 1, fan_out), bound, rng)))

    @torch.no_grad()
    def reset(self, rng: torch.Generator) -> None:
        """Draw new weights, as the first were drawn."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            for values in (weight, bias):
                values.copy_(_uniform(values.shape, 1 / math.sqrt(weight.shape[1]), rng))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            x = x.expand(self.members, -1, -1)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if i < last:
                x = self.activation(x)
        return x


class RunningNorm(nn.Module):
    """Normalises with the mean and variance of everything observed so far (Chan et al. 1979, parallel variance).

    The identity until something was observed; from then on at most `clip` in size. Statistics live in float64: sums
    over millions of steps.
    """

    count: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, size: int, epsilon: float = 1e-6, clip: float = 10.0) -> None:
        super().__init__()
        self.epsilon, self.clip = epsilon, clip
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Take numbers (M, size) into the statistics."""
        if len(x) == 0:
            return
        x = x.to(self.mean.device).double()
        n, mean, var = len(x), x.mean(0), x.var(0, unbiased=False)
        total = self.count + n
        delta = mean - self.mean
        m2 = self.var * self.count + var * n + delta**2 * self.count * n / total
        self.mean += delta * n / total
        self.var.copy_(m2 / total)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        on_host = x.device.type == "cpu"
        if on_host and not self.count:
            return x
        # A dimension that never varied carries nothing: the floor keeps it from exploding later.
        scale = (self.var + self.epsilon).rsqrt().to(x.dtype)
        normalised = ((x - self.mean.to(x.dtype)) * scale).clamp_(-self.clip, self.clip)
        return normalised if on_host else torch.where(self.count > 0, normalised, x)  # a look at it would wait


class Dropout(nn.Module):
    """Drops units with probability p in training; draws from `rng`, so that a resumed run drops the same."""

    def __init__(self, p: float, rng: torch.Generator) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}, expected a probability in [0, 1)")
        self.p, self.rng = p, rng

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        # Four draws of 16 bits from each of 64, several times faster than bernoulli_; p is rounded to 1 / 65,536.
        kept = max(1, round((1 - self.p) * 2**16))
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=self.rng)
        keep = drawn.to(x.device).view(torch.int16)[: x.numel()].view(x.shape) < kept - 2**15
        return x * keep.to(x.dtype).mul_(2**16 / kept)


def linear(n_in: int, n_out: int, rng: torch.Generator) -> nn.Linear:
    """Make a layer with torch's own initialisation, from `rng`."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    bound = 1 / math.sqrt(n_in)
    with torch.no_grad():
        layer.weight.copy_(_uniform(layer.weight.shape, bound, rng))
        layer.bias.copy_(_uniform(layer.bias.shape, bound, rng))
    return layer


def orthogonal_linear(n_in: int, n_out: int, rng: torch.Generator) -> nn.Linear:
    """Make a layer with orthogonal weights, and no bias at the start."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    nn.init.orthogonal_(layer.weight, generator=rng)
    nn.init.zeros_(layer.bias)
    return layer


def _uniform(shape: Sequence[int], bound: float, rng: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=rng) * 2 - 1) * bound


def adam(parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """Step down a loss once; return its value."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return number(loss)
