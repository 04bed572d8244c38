"""Entropic optimal transport between bags of frame embeddings.

One solver of our own: batched over pairs of videos and differentiable, so that an encoder can be trained through it,
and in the log domain, so that a small epsilon does not underflow. B pairs of videos of T and S frames, d numbers each.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CHECK_EVERY = 5  # iterations between looks at the marginals, which cost as much as an iteration


def cosine_cost(x: Tensor, y: Tensor) -> Tensor:
    """Return 1 - cos of the angle between every two embeddings, in [0, 2]: (B, T, d), (B, S, d) -> (B, T, S).

    An embedding of zero has cost 1 to everything.
    """
    if x.ndim != 3 or y.ndim != 3 or x.shape[0] != y.shape[0] or x.shape[2] != y.shape[2]:
        raise ValueError(f"embeddings of shapes {tuple(x.shape)} and {tuple(y.shape)}, expected (B, T, d), (B, S, d)")
    return (1 - F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT).clamp(0, 2)


def sinkhorn(cost: Tensor, epsilon: float, iterations: int, tolerance: float) -> Tensor:
    """Return the plan P (B, T, S) that minimises <P, cost> - epsilon * H(P) between uniform weights (Cuturi 2013).

    Alternating updates of the two potentials, unrolled, so that gradients flow through the plan. Columns of the result
    sum to exactly 1/S; rows sum to 1/T up to `tolerance`, unless the iterations end first: take more for a smaller
    epsilon.

    Args:
        cost: (B, T, S).
        epsilon: strength of the entropy, in units of the cost; towards 0 the plan becomes an exact one.
        iterations: at most so many updates of both potentials.
        tolerance: largest error of a row's sum, as a share of 1/T, in any pair of the batch.
    """
    if cost.ndim != 3:
        raise ValueError(f"cost has shape {tuple(cost.shape)}, expected (B, T, S)")
    if epsilon <= 0 or iterations < 1 or tolerance < 0:
        raise ValueError(f"epsilon={epsilon}, iterations={iterations}, tolerance={tolerance}: expected > 0, >= 1, >= 0")
    log_kernel = -cost / epsilon
    t, s = cost.shape[1:]
    rows = log_kernel.new_zeros(cost.shape[0], t, 1)  # potentials, divided by epsilon
    columns = log_kernel.new_zeros(cost.shape[0], 1, s)
    for i in range(1, iterations + 1):
        rows = -math.log(t) - (log_kernel + columns).logsumexp(2, keepdim=True)
        columns = -math.log(s) - (log_kernel + rows).logsumexp(1, keepdim=True)
        if i % CHECK_EVERY == 0 and _row_error(log_kernel, rows, columns) <= tolerance:
            break
    return (log_kernel + rows + columns).exp()


@torch.no_grad()
def _row_error(log_kernel: Tensor, rows: Tensor, columns: Tensor) -> float:
    sums = (log_kernel + rows + columns).exp().sum(2) * log_kernel.shape[1]
    return float((sums - 1).abs().max())


def transport_cost(cost: Tensor, plan: Tensor) -> Tensor:
    """Return <P, cost> of each pair: (B, T, S), (B, T, S) -> (B,)."""
    return (plan * cost).sum((1, 2))
