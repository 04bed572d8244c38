"""The floor of a piece of work: the products that it cannot do without, at the most that the machine can do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Operations(NamedTuple):
    """Floating-point operations; a multiplication and its addition are two."""

    hidden: float  # between hidden layers, which may run in bfloat16
    thin: float  # of first and last layers, in float32

    def times(self, count: float) -> Operations:
        return Operations(count * self.hidden, count * self.thin)

    def seconds(self, hidden_rate: float, thin_rate: float) -> float:
        """Return the seconds it takes at these rates, in operations per second."""
        return self.hidden / hidden_rate + self.thin / thin_rate


def sac_update(obs: int, actions: int, hidden: Sequence[int], batch: int) -> Operations:
    """Count one update of an actor and two critics with their targets, ReLU networks of these hidden sizes.

    Of each of two critics: three forward passes (targets, own, and stepped at the actor's actions), gradients of the
    weights, gradients of the inputs of each layer but the first. Through the smaller critic of each row: gradients of
    the action. Of the actor: a forward pass of s and one of s', gradients of weights and of inner inputs.
    """
    first, last = hidden[0], hidden[-1]
    between = sum(n_in * n_out for n_in, n_out in pairwise(hidden))
    critic_ends = 2 * (3 + 1) * (obs + actions) * first + 2 * (3 + 1 + 1) * last
    to_action = last + actions * first
    actor_ends = (2 + 1) * obs * first + (2 + 1 + 1) * last * 2 * actions
    products = 2 * (3 + 1 + 1) + 1 + (2 + 1 + 1)  # between hidden layers: critics, to the action, actor
    return Operations(2.0 * batch * products * between, 2.0 * batch * (critic_ends + to_action + actor_ends))


def mlp(sizes: Sequence[int], rows: int, *, training: bool) -> Operations:
    """Count a ReLU network of these sizes, input and output included, on so many rows: forward, and back in training.

    Backward: gradients of the weights, and of the inputs of each layer but the first.
    """
    first, *between, last = (n_in * n_out for n_in, n_out in pairwise(sizes))
    hidden, thin = (3 * sum(between), 2 * first + 3 * last) if training else (sum(between), first + last)
    return Operations(2.0 * rows * hidden, 2.0 * rows * thin)
