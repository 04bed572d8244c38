"""The implicit gradient of bilevel problems: how what was learned depends on the reward that it was learned from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


def neumann(objective: Tensor, parameters: Tensors, vector: Tensors, terms: int, step: float) -> list[Tensor]:
    """Return -H^-1 v by step * sum_j (I + step H)^j v, j = 0 to `terms`; H: Hessian of what the parameters maximise.

    That converges where -H is positive definite and `step` below 2 over its largest eigenvalue. Only products of H with
    a vector are computed, each the gradient of (gradient . vector).
    """
    gradient = torch.autograd.grad(objective, list(parameters), create_graph=True)
    term, total = list(vector), list(vector)
    for _ in range(terms):
        inner = _dot(gradient, term)
        products = torch.autograd.grad(inner, list(parameters), retain_graph=True)
        term = [t + step * p for t, p in zip(term, products, strict=True)]
        total = [s + t for s, t in zip(total, term, strict=True)]
    return [step * s for s in total]


def largest_curvature(objective: Tensor, parameters: Tensors, start: Tensors, products: int) -> float:
    """Return the size of the Hessian's largest eigenvalue, from below, by power iteration."""
    gradient = torch.autograd.grad(objective, list(parameters), create_graph=True)
    vector, size = list(start), 0.0
    for _ in range(products):
        norm = max(float(_dot(vector, vector).sqrt()), 1e-30)
        vector = [v / norm for v in vector]
        vector = list(torch.autograd.grad(_dot(gradient, vector), list(parameters), retain_graph=True))
        size = float(_dot(vector, vector).sqrt())
    return size


def implicit_gradient(
    objective: Tensor,
    parameters: Tensors,
    outer: Tensors,
    reward_parameters: Tensors,
    *,
    terms: int,
    step: float,
    curvature: Tensor | None = None,
) -> list[Tensor]:
    """Return the gradient by the reward of an outer objective of the parameters that maximise an inner one.

        dJ_p/dphi = [-H^-1 v]^T d^2 J_phi / dtheta dphi,   v = dJ_p/dtheta         (Gupta et al. 2023)

    Args:
        objective: J_phi, a scalar with a graph through both `parameters` theta and `reward_parameters` phi.
        outer: v, the gradient of J_p by each parameter.
        terms, step: see `neumann`.
        curvature: whose Hessian is H; None: the objective's.
    """
    vector = neumann(objective if curvature is None else curvature, parameters, outer, terms, step)
    gradient = torch.autograd.grad(objective, list(parameters), create_graph=True)
    return list(torch.autograd.grad(_dot(gradient, vector), list(reward_parameters)))


def _dot(left: Tensors, right: Tensors) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()
