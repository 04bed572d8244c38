"""Models of what is unsafe, step by step, learned from what somebody says of whole segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pbrl.checks import between, layers, positive
from pbrl.losses import bradley_terry_loss
from pbrl.nets.networks import RunningNorm, linear
from pbrl.types import Segments

RARE = -3.0  # logit of a step before anything is learned: most are safe


class CostModel(nn.Module):
    """p(s, a), the probability that a step is unsafe; a segment is safe where all of its steps are.

        log P(safe) = sum_t log(1 - p_t)

    Args:
        obs_size, action_size: O and A.
        hidden: sizes of the hidden layers.
        lr: of Adam.
        pull: weight of the mean of -log(1 - p_t): steps are safe unless an answer says otherwise. Comparisons alone
            leave open how much of a cost all steps have in common; this settles it.
        rng: initial weights.
    """

    def __init__(
        self, *, obs_size: int, action_size: int, hidden: Sequence[int], lr: float, pull: float, rng: torch.Generator
    ) -> None:
        super().__init__()
        layers(hidden=hidden)
        positive(lr=lr)
        between(0, 1e3, pull=pull)
        self.sizes, self.lr, self.pull, self.rng = [obs_size + action_size, *hidden, 1], lr, pull, rng
        self.norm = RunningNorm(obs_size)
        self.reset()

    def reset(self) -> None:
        """Begin anew with other weights; input statistics stay."""
        made = [linear(n_in, n_out, self.rng) for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False)]
        with torch.no_grad():
            made[-1].bias.fill_(RARE)
        parts: list[nn.Module] = [part for layer in made for part in (layer, nn.Tanh())]
        self.net = nn.Sequential(*parts[:-1])
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=self.lr)

    def observe(self, obs: np.ndarray) -> None:
        """Adds observations (M, O) to the input statistics."""
        self.norm.observe(torch.from_numpy(obs))

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return logits of p (...) of observations (..., O) and actions (..., A)."""
        logits: Tensor = self.net(torch.cat([self.norm(obs), actions], -1))
        return logits[..., 0]

    def log_safe(self, segments: Segments) -> Tensor:
        """Return log P(safe) (N,)."""
        return log_safe(self(segments.obs[:, :-1], segments.actions), segments.mask)

    def penalty(self, segments: Segments) -> Tensor:
        """Return what is added to a loss for steps that no answer needs to be unsafe."""
        return -self.pull * self.log_safe(segments).mean() / segments.steps

    @torch.no_grad()
    def step_cost(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return the probability (M,) that steps (M, O), (M, A) are unsafe."""
        return torch.sigmoid(self(obs, actions))


def log_safe(logits: Tensor, mask: Tensor) -> Tensor:
    """Return log P(no step is unsafe) (N,), of logits (N, T) and the real steps."""
    return -(F.softplus(logits) * mask).sum(-1)


def unsafe_loss(log_safe: Tensor, unsafe: Tensor) -> Tensor:
    """Return the cross-entropy of what was said of each segment (N,): 1 unsafe, 0 safe, between them undecided."""
    log_unsafe = torch.log(-torch.expm1(log_safe.clamp(max=-1e-6)))
    return -(unsafe * log_unsafe + (1 - unsafe) * log_safe).mean()


def step_loss(logits: Tensor, mask: Tensor, unsafe: Tensor) -> Tensor:
    """Return the cross-entropy of each real step of (N, T) with what was said of its segment (N,)."""
    each = F.binary_cross_entropy_with_logits(logits, unsafe[:, None].expand_as(logits), reduction="none")
    return (each * mask).sum() / mask.sum()


def safer_loss(left: Tensor, right: Tensor, prefers_right: Tensor) -> Tensor:
    """Return Bradley-Terry's loss on log P(safe) (N,) of two segments: which one is safer."""
    return bradley_terry_loss(left[None], right[None], prefers_right)


def blamed(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the real steps (N, T) that a model finds at least half as likely unsafe as the worst of their segment."""
    p = torch.sigmoid(logits) * mask
    return (p >= p.amax(1, keepdim=True) / 2) & (mask > 0)


def contradicted(states: Tensor, mask: Tensor, blamed: Tensor, unsafe: Tensor, radius: float, witnesses: int) -> Tensor:
    """Return which unsafe segments (N,) are to be forgotten: what is blamed in them was found safe later.

    A state is found safe by so many later segments that were called safe and have a state near it. Where a place is
    unsafe and stays so, nobody calls a segment safe that has been there.

    Args:
        states: (N, T, D) of segments in the order in which they were judged, in units in which `radius` is near.
        mask: (N, T), 1 on real steps.
        blamed: (N, T) bool, the steps for which they are unsafe, as by `blamed` of a model that knows all answers.
        unsafe: (N,) bool, what was said.
        radius: in every one of the D coordinates.
        witnesses: later segments, for each state that is blamed.
    """
    found = torch.zeros(len(states), dtype=torch.bool)
    for i in torch.nonzero(unsafe).flatten().tolist():
        later = torch.nonzero(~unsafe[i + 1 :]).flatten() + i + 1
        if len(later) < witnesses:
            continue
        own, others = states[i][blamed[i]], states[later]
        far = torch.cdist(own[None], others.flatten(0, 1)[None], p=torch.inf)[0].view(len(own), *others.shape[:2])
        near = (far.masked_fill(mask[later] == 0, torch.inf) <= radius).any(2)  # (blamed, later)
        found[i] = bool((near.sum(1) >= witnesses).all())
    return found
