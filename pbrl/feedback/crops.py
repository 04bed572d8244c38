"""Crops of segments as masks on their rewards: one forward pass serves any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pbrl.checks import lengths
from pbrl.losses import preference_accuracy
from pbrl.nets.devices import number
from pbrl.rewards.objective import PLAIN, Objective
from pbrl.types import Comparisons, Segments


class Crops(NamedTuple):
    """K pieces of each of B pairs: both sides of a pair have one length (a longer one would win by length alone)."""

    left: Tensor  # (B, K) first step on the left
    right: Tensor  # (B, K)
    length: Tensor  # (B, K) steps


class CroppedReward(Protocol):
    """A reward model whose members' rewards of single steps carry a graph."""

    members: int  # E
    smoothing: float

    @property
    def device(self) -> torch.device: ...

    def own_rewards(self, segments: Segments) -> Tensor: ...  # (E * b segments) -> (E, b, T), 0 on padding


def draw_crops(pairs: int, steps: int, crop: Sequence[int], times: int, rng: torch.Generator) -> Crops:
    """Draw `times` crops of each pair of segments of `steps` steps.

    Lengths are uniform between the two numbers of `crop`, starts uniform and each side's its own.
    """
    lengths(steps, crop=crop)
    shortest, longest = crop
    length = torch.randint(shortest, longest + 1, (pairs, times), generator=rng)
    left, right = ((torch.rand(pairs, times, generator=rng) * (steps - length + 1)).long() for _ in range(2))
    return Crops(left, right, length)


def crop_sums(rewards: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Sum rewards (..., T) over crops with starts and lengths (..., K): C[s + L] - C[s] of the cumulative sum C."""
    total = torch.nn.functional.pad(rewards.cumsum(-1), (1, 0))  # (..., T+1)
    return total.gather(-1, start + length) - total.gather(-1, start)


def crop_loss(
    model: CroppedReward, batch: Comparisons, crops: Crops, objective: Objective = PLAIN
) -> tuple[Tensor, float]:
    """The loss on all crops of E * b comparisons, b for each member in turn: summed over members; and accuracy."""
    e = model.members
    batch, crops = batch.to(model.device), Crops(*(column.to(model.device) for column in crops))
    length = crops.length.view(e, -1, crops.length.shape[1])  # (E, b, K)
    left, right = crop_scores(model, batch, crops, objective)
    peers = None
    if objective.loss.peers:
        turned = torch.arange(len(batch)).view(e, -1).roll(1, 0).flatten()  # member e + 1 gets what is member e's
        with torch.no_grad():
            theirs = crop_scores(model, batch[turned], Crops(*(column[turned] for column in crops)), objective)
        peers = (theirs[1] - theirs[0]).roll(-1, 0)
    target = batch.prefers_right.view(e, -1, 1).expand_as(length).flatten(1)
    accuracy = preference_accuracy(left.detach(), right.detach(), target)
    return e * objective(left, right, target, model.smoothing, peers), number(accuracy)


def crop_scores(model: CroppedReward, batch: Comparisons, crops: Crops, objective: Objective) -> tuple[Tensor, Tensor]:
    """Score the crops on both sides, each (E, b * K)."""
    return (
        score_crops(model.own_rewards(batch.left), batch.left, crops.left, crops.length, objective),
        score_crops(model.own_rewards(batch.right), batch.right, crops.right, crops.length, objective),
    )


def score_crops(rewards: Tensor, side: Segments, start: Tensor, length: Tensor, objective: Objective) -> Tensor:
    """Score crops of one side (E, b * K). rewards: (E, b, T) of its steps; start, length: (E * b, K)."""
    shape = (*rewards.shape[:2], start.shape[1])
    start, length = start.to(rewards.device).view(shape), length.to(rewards.device).view(shape)
    sums = crop_sums(rewards, start, length)
    if objective.score == "mean":
        real = crop_sums(side.mask.to(rewards.device).view(rewards.shape), start, length)
        sums = sums * length / real.clamp(min=1)
    return sums.flatten(1)
