"""Hand-written forward and backward passes of stacked ReLU networks, and one Adam over all their parameters.

K networks of one shape are one stack. With h_0 the input and l the layer,

    z_l = h_l W_l + b_l        W_l: (K, in, out), b_l: (K, 1, out)
    h_{l+1} = max(z_l, 0)      no ReLU after the last layer

and for a loss L with g_l = dL/dz_l, a row per sample,

    dL/dW_l = h_l^T g_l,   dL/db_l = sum of g_l over rows,   g_{l-1} = (g_l W_l^T) * [h_l > 0].

All weights of a stack lie in one flat float32 vector and the `nn.Linear` parameters are views of it: Adam and Polyak
averaging are then one call each, while `state_dict`, `save` and SB3's own forward pass see ordinary modules.
In bfloat16 only the products between hidden layers are rounded; the first and the last layer are thin and keep
float32, so that observations, actions and values keep their digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Groups of linear layers that read the same input (the actor's mean and log_std) are computed as one layer.
SideBySide = list[nn.Linear]


class Stack:
    """K equal ReLU networks of these (in, out) sizes, their weights in one flat vector."""

    def __init__(
        self,
        copies: int,
        sizes: Sequence[tuple[int, int]],
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        scratch: dict[tuple[Any, ...], Tensor] | None = None,
    ) -> None:
        """scratch: buffers to share with a stack of the same shape whose passes never interleave with this one's."""
        self.copies, self.sizes = copies, list(sizes)
        self.depth = len(self.sizes)
        self.dtype = dtype if self.depth > 2 else torch.float32  # two layers or fewer: nothing between hidden layers
        numel = copies * sum((n_in + 1) * n_out for n_in, n_out in self.sizes)
        self.values = torch.zeros(numel, device=device)  # the float32 master weights
        self.grads = torch.zeros_like(self.values)
        self.rounded = self.values if self.dtype == torch.float32 else self.values.to(self.dtype)
        self.scratch = {} if scratch is None else scratch

        self.weights, self.biases = self._split(self.values)
        self.grad_weights, self.grad_biases = self._split(self.grads)
        hidden = range(1, self.depth - 1)
        low_weights, low_biases = self._split(self.rounded)
        self.compute_weights = [low_weights[i] if i in hidden else w for i, w in enumerate(self.weights)]
        self.compute_biases = [low_biases[i] if i in hidden else b for i, b in enumerate(self.biases)]

    def refresh(self) -> None:
        """Copy the master weights to their rounded twin; due whenever they may have changed. Free in float32."""
        if self.rounded is not self.values:
            self.rounded.copy_(self.values)

    def forward(self, inputs: Tensor) -> Tensor:  # (B, in) or (K, B, in) -> (K, B, out), float32
        """Keeps the activations for the backward passes; the next call overwrites them, but not the answer."""
        h = self.inputs = inputs.expand(self.copies, -1, -1)
        self.activations: list[Tensor] = []
        self.positive: list[Tensor] = []  # the same numbers in whichever precision compares faster
        for i, (w, b) in enumerate(zip(self.compute_weights, self.compute_biases, strict=True)):
            if i == self.depth - 1:
                return torch.baddbmm(b.mT, w.mT, h.mT).mT  # few outputs: several times faster transposed
            h = torch.baddbmm(b, h, w, out=self._buffer("output", i, (*h.shape[:2], w.shape[2]), w.dtype))
            # oneDNN's fused linear+ReLU would be free but turns NaN into 0; torch's relu passes NaN on, and is
            # several times faster in float32: so it goes on that side of the cast
            reader = self.compute_weights[i + 1].dtype
            if h.dtype == torch.float32:
                self.positive.append(h.relu_())
                h = self._cast(h, reader, "activation", i)
            else:
                h = self._cast(h, reader, "activation", i).relu_()
                self.positive.append(h)
            self.activations.append(h)
        raise AssertionError("unreachable: a stack has at least one layer")

    def backward(self, grad: Tensor) -> None:  # (K, rows, out), rows <= B
        """Writes to `grads` the gradient of a loss of the last forward's first rows, given its gradient at those."""
        rows = grad.shape[1]
        for i in reversed(range(self.depth)):
            grad = self._cast(grad, self.compute_weights[i].dtype, "grad", i)
            h = self.activations[i - 1] if i else self.inputs
            # a lone network's rows are sliced so that bmm sees dense memory; it copies anything else
            h = h[0, :rows][None] if len(h) == 1 else h[:, :rows]
            dw = self.grad_weights[i]
            if i == self.depth - 1:
                torch.bmm(grad.mT, h, out=dw.mT)
            elif dw.dtype == grad.dtype:
                torch.bmm(h.mT, grad, out=dw)
            else:
                dw.copy_(torch.bmm(h.mT, grad, out=self._buffer("dw", i, dw.shape, grad.dtype)))
            self.grad_biases[i].copy_(grad.sum(1, keepdim=True))  # torch sums bfloat16 in float32
            if i:
                grad = self._through_layer(i, grad)

    def input_grad(self, grad: Tensor, chosen: Tensor, columns: slice) -> Tensor:  # (B,), (B,) -> (B, columns)
        """Return the gradient at some input columns of a stack when row b's loss reads only network `chosen[b]`.

        Or (S, B), (S, B) -> (S, B, columns) of S groups of networks. The rows of the other networks carry zeros:
        picking each network's own rows would halve the products, but at 256 units costs as much as it saves.
        """
        if grad.ndim == 1:
            return self.input_grad(grad[None], chosen[None], columns)[0]
        seeds, rows = grad.shape
        each = grad.new_zeros(seeds, self.copies // seeds, rows).scatter_(1, chosen[:, None], grad[:, None])
        g = each.view(self.copies, rows, 1)
        for i in reversed(range(1, self.depth)):
            g = self._cast(g, self.compute_weights[i].dtype, "grad", i)
            g = self._through_layer(i, g)
        return torch.bmm(g.float(), self.weights[0][:, columns].mT).unflatten(0, (seeds, -1)).sum(1)

    def _through_layer(self, i: int, grad: Tensor) -> Tensor:
        """Return g_{l-1} = (g_l W_l^T) * [h_l > 0]."""
        w, rows = self.compute_weights[i], grad.shape[1]
        out = self._buffer("dx", i, (*grad.shape[:2], w.shape[1]), w.dtype)
        if w.shape[2] == 1:
            torch.mul(grad, w.mT, out=out)
        else:
            torch.bmm(grad, w.mT, out=out)
        positive = self.positive[i - 1][:, :rows]
        out = self._cast(out, positive.dtype, "dx", i)
        return torch.ops.aten.threshold_backward.grad_input(out, positive, 0, grad_input=out)

    def _split(self, flat: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return views of a flat vector: weights (K, in, out) and biases (K, 1, out) of each layer.

        In memory the last weight is (K, out, in): its products are thin and fast only that way round.
        """
        weights, biases, start, count = [], [], 0, self.copies
        for i, (n_in, n_out) in enumerate(self.sizes):
            w = flat[start : start + count * n_in * n_out]
            last = i == self.depth - 1
            weights.append(w.view(count, n_out, n_in).mT if last else w.view(count, n_in, n_out))
            start += len(w)
            biases.append(flat[start : start + count * n_out].view(count, 1, n_out))
            start += count * n_out
        return weights, biases

    def _cast(self, tensor: Tensor, dtype: torch.dtype, name: str, layer: int) -> Tensor:
        if tensor.dtype == dtype:
            return tensor
        return self._buffer(name, layer, tensor.shape, dtype).copy_(tensor)

    def _buffer(self, name: str, layer: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a buffer that is kept between calls: fresh memory of this size would cost page faults."""
        key = (name, layer, shape, dtype)
        if key not in self.scratch:
            self.scratch[key] = torch.empty(shape, dtype=dtype, device=self.values.device)
        return self.scratch[key]


class StackedMLP(Stack):
    """K equal ReLU networks; the `nn.Linear` modules given become views of this stack's flat vector."""

    def __init__(
        self, networks: list[list[SideBySide]], dtype: torch.dtype, scratch: dict[tuple[Any, ...], Tensor] | None = None
    ) -> None:
        """scratch: buffers to share with a stack of the same shape whose passes never interleave with this one's."""
        self.networks = networks
        sizes = [(layer[0].in_features, sum(part.out_features for part in layer)) for layer in networks[0]]
        super().__init__(len(networks), sizes, dtype, networks[0][0][0].weight.device, scratch)
        self.places: dict[Tensor, Tensor] = {}  # parameter -> its view of `values`
        self._start: int | None = None  # of `values`, and of the places; a copy's lie elsewhere
        self._addresses: list[int] = []
        self._place_parameters()

    def tie(self) -> None:
        """Makes views of parameters that are none (yet, or after `copy.deepcopy`), keeping their values."""
        if self.values.data_ptr() != self._start:
            self._start = self.values.data_ptr()
            self._addresses = [place.data_ptr() for place in self.places.values()]
        for (parameter, place), address in zip(self.places.items(), self._addresses, strict=True):
            if parameter.data_ptr() != address:
                place.copy_(parameter.detach())
                parameter.data = place

    def reset_parameters(self) -> None:
        """Draws every layer anew as `nn.Linear` does, from torch's global generator, in place."""
        for network in self.networks:
            for part in (part for layer in network for part in layer):
                part.reset_parameters()

    def view_like(self, parameter: Tensor, flat: Tensor) -> Tensor:
        """Return the place of `parameter` in a vector laid out as `values`."""
        place = self.places[parameter]
        return flat.as_strided(place.shape, place.stride(), place.storage_offset())

    def _place_parameters(self) -> None:
        for k, network in enumerate(self.networks):
            for layer, w, b in zip(network, self.weights, self.biases, strict=True):
                start = 0
                for part in layer:
                    columns = slice(start, start + part.out_features)
                    self.places |= {part.weight: w[k, :, columns].T, part.bias: b[k, 0, columns]}
                    start = columns.stop
        self.tie()


class FlatAdam:
    """Adam over a stack's flat vectors whose moments are the entries of a real `torch.optim.Adam`'s state."""

    def __init__(self, stack: StackedMLP, optimizer: torch.optim.Adam) -> None:
        self.stack, self.optimizer = stack, optimizer
        parameters = optimizer.param_groups[0]["params"]
        self.exp_avg = torch.zeros_like(stack.values)
        self.exp_avg_sq = torch.zeros_like(stack.values)
        # One counter per parameter, as plain Adam keeps them: it would count a shared one once per parameter.
        self.steps = torch.zeros(len(parameters), device=stack.values.device)
        self._tied_state: object = None
        self.tie()

    def tie(self) -> None:
        """Takes over the optimizer's state after it was created or loaded; does nothing while it is still ours."""
        state = self.optimizer.state
        if state is self._tied_state:
            return
        parameters = self.optimizer.param_groups[0]["params"]
        steps = {float(state[p]["step"]) if state[p] else 0.0 for p in parameters}
        if len(steps) != 1:
            raise ValueError(f"the optimizer's parameters were stepped {sorted(steps)} times, expected one number")
        for i, parameter in enumerate(parameters):
            own = {
                "step": self.steps[i],
                "exp_avg": self.stack.view_like(parameter, self.exp_avg),
                "exp_avg_sq": self.stack.view_like(parameter, self.exp_avg_sq),
            }
            for key, value in own.items():
                value.copy_(state[parameter][key]) if state[parameter] else value.zero_()
            state[parameter] = own
        self._tied_state = state

    def step(self) -> None:
        self.steps += 1
        fused_adam(self.stack.values, self.stack.grads, self.exp_avg, self.exp_avg_sq, self.steps[0], self.optimizer)

    def tensors(self) -> list[Tensor]:
        return [self.exp_avg, self.exp_avg_sq, self.steps]

    def reset(self) -> None:
        for tensor in self.tensors():
            tensor.zero_()


def fused_adam(
    values: Tensor, grads: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, step: Tensor, optimizer: torch.optim.Adam
) -> None:
    """Update by Adam once in place with the numbers of `optimizer`; `step` counts this update already."""
    group = optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    torch._fused_adam_(
        [values], [grads], [exp_avg], [exp_avg_sq], [], [step], lr=group["lr"], beta1=beta1, beta2=beta2,
        weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=False,
    )  # fmt: skip
