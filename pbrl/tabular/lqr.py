"""A linear-quadratic regulator: continuous actions with exact V*, Q* and regret, to try preference losses on.

    x' = A x + B u,   r = -(x^T Q x + u^T R u),   V*(x) = -x^T P x,   u* = -K x
    A*(x, u) = Q*(x, u) - V*(x) = -(u + K x)^T (R + B^T P B) (u + K x)

Undiscounted; P solves the discrete algebraic Riccati equation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.special
import torch
from torch import Tensor

from pbrl.losses import cpl_loss
from pbrl.tabular.beds import Bed, Measured

SIZES, LENGTH, NOISE = (50, 200, 500, 2000, 10_000), 16, 0.5  # of the bed


class LinearSegments(NamedTuple):
    """N segments of T steps."""

    states: np.ndarray  # (N, T+1, D)
    actions: np.ndarray  # (N, T, U)


@dataclass(frozen=True)
class LQR:
    a: np.ndarray  # (D, D)
    b: np.ndarray  # (D, U)
    q: np.ndarray  # (D, D)
    r: np.ndarray  # (U, U)

    @staticmethod
    def double_integrator(step: float = 0.2) -> LQR:
        """Position and velocity of a unit mass, pushed by one force."""
        a = np.array([[1.0, step], [0.0, 1.0]])
        return LQR(a, np.array([[0.0], [step]]), np.eye(2) * step, np.eye(1) * step)

    @cached_property
    def p(self) -> np.ndarray:
        """The matrix P (D, D) of V*(x) = -x^T P x."""
        return scipy.linalg.solve_discrete_are(self.a, self.b, self.q, self.r)

    @property
    def curvature(self) -> np.ndarray:
        """The matrix R + B^T P B (U, U): what a deviation from the best action costs."""
        return self.r + self.b.T @ self.p @ self.b

    @property
    def gain(self) -> np.ndarray:
        """The matrix K (U, D) of the best action -K x."""
        return np.linalg.solve(self.curvature, self.b.T @ self.p @ self.a)

    def roll_out(self, gain: np.ndarray, noise: float, n: int, length: int, rng: np.random.Generator) -> LinearSegments:
        """Roll out n segments of u = -gain x + noise, from standard normal states."""
        states, actions = [rng.standard_normal((n, len(self.a)))], []
        for _ in range(length):
            action = -states[-1] @ gain.T + noise * rng.standard_normal((n, self.b.shape[1]))
            actions.append(action)
            states.append(states[-1] @ self.a.T + action @ self.b.T)
        return LinearSegments(np.stack(states, 1), np.stack(actions, 1))

    def partial_return(self, segments: LinearSegments) -> np.ndarray:
        """Return the sum of rewards (N,)."""
        states, actions = segments.states[:, :-1], segments.actions
        return -(_square(states, self.q) + _square(actions, self.r)).sum(1)

    def negated_regret(self, segments: LinearSegments) -> np.ndarray:
        """Return the sum (N,) of A*(x_t, u_t), which is sum r + V*(x_T) - V*(x_0) here; 0 is best."""
        deviation = segments.actions + segments.states[:, :-1] @ self.gain.T
        return -_square(deviation, self.curvature).sum(1)

    def value(self, states: np.ndarray) -> np.ndarray:
        """V* (...,) of states (..., D)."""
        return -_square(states, self.p)

    def gain_error(self, gain: np.ndarray) -> float:
        """The largest relative error of an entry."""
        return float(np.abs(gain / self.gain - 1).max())


def fit_bc(segments: LinearSegments) -> np.ndarray:
    """Return the gain (U, D) of least squared error."""
    states = segments.states[:, :-1].reshape(-1, segments.states.shape[-1])
    actions = segments.actions.reshape(len(states), -1)
    return -np.linalg.lstsq(states, actions, rcond=None)[0].T


def fit_cpl(
    left: LinearSegments, right: LinearSegments, prefers_right: np.ndarray, *, alpha: float, bias: float
) -> np.ndarray:
    """Return the gain (U, D) that minimises `cpl_loss` with log pi = -|u + gain x|^2, from that of BC; L-BFGS."""
    both = LinearSegments(*(np.concatenate(pair) for pair in zip(left, right, strict=True)))
    gain = torch.from_numpy(fit_bc(both)).requires_grad_()
    states, actions = torch.from_numpy(both.states[:, :-1]), torch.from_numpy(both.actions)
    target = torch.from_numpy(prefers_right)
    optimizer = torch.optim.LBFGS([gain], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_prob = -(actions + states @ gain.T).square().sum(-1)
        left_score, right_score = (alpha * log_prob.sum(1)).chunk(2)
        loss = cpl_loss(left_score, right_score, target, bias)
        loss.backward()
        return loss

    optimizer.step(closure)
    return gain.detach().numpy()


def _square(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return x^T W x over the last axis."""
    return np.einsum("...i,ij,...j->...", x, weight, x)


def run(seed: int) -> list[Measured]:
    """Fit CPL to Boltzmann-rational labels by regret and by return, and clone, on the same segments."""
    lqr, found = LQR.double_integrator(), []
    alpha = float(lqr.curvature[0, 0])  # with which the best gain satisfies CPL's assumption
    for size in SIZES:
        rng = np.random.default_rng(seed)
        left, right = (lqr.roll_out(lqr.gain / 2, NOISE, size, LENGTH, rng) for _ in range(2))
        case = f"{size} comparisons"
        for labels, score in (("regret", lqr.negated_regret), ("return", lqr.partial_return)):
            prefers_right = (rng.random(size) < scipy.special.expit(score(right) - score(left))).astype(float)
            gain = fit_cpl(left, right, prefers_right, alpha=alpha, bias=1.0)
            found.append(Measured(case, f"CPL, {labels} labels", lqr.gain_error(gain)))
        found.append(Measured(case, "cloning", lqr.gain_error(fit_bc(left))))
    return found


BED = Bed(
    claim="On labels by regret CPL finds the best gain of a regulator; on labels by return it does not, nor does "
    "cloning.",
    task=f"a double integrator, segments of {LENGTH} steps of a behaviour that does half of what is best, with noise",
    measure="largest relative error of an entry of the gain",
    run=run,
    seeds=20,
)
