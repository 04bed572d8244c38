"""The samplers of B-Pref, which choose pairs to ask. Each returns rows of the candidates, most wanted first.

model: what has been learned so far. left, right: C candidate pairs. n: how many to ask. asked: every comparison
answered before, or None. rng: for random choices.

Candidates are gathered and scored in blocks. k-center keeps their observations if they take up to KEPT_BYTES, and else
gathers them anew for each question that it chooses, which takes time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from pbrl.blocks import PartOf, blocks, score_in_blocks
from pbrl.checks import positive
from pbrl.feedback.function_sampler import TAKES
from pbrl.given import find
from pbrl.nets.networks import RunningNorm
from pbrl.types import Comparisons, RewardModel, SegmentPool, Segments

KEPT_BYTES = 2**30
LEAST_MEMBERS = {"disagreement": 2, "k_center_disagreement": 2, "randomised": 2}  # one disagrees with nobody
CHECKS: dict[str, Callable[..., object]] = {  # of a sampler's settings, before a run begins
    "randomised": positive,
    "by_function": partial(find, key="queries.function", takes=TAKES),
}


def uniform(
    model: RewardModel, left: SegmentPool, right: SegmentPool, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Choose any pairs."""
    return torch.randperm(len(left), generator=rng)[:n]


def disagreement(
    model: RewardModel, left: SegmentPool, right: SegmentPool, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Choose the pairs on which P[right preferred] has the largest standard deviation over the members."""
    return _top(preference_probability(model, left, right).std(0, unbiased=False), n)


def entropy(
    model: RewardModel, left: SegmentPool, right: SegmentPool, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Choose the pairs with the largest entropy of P[right preferred], averaged over the members."""
    return _top(_mean_entropy(model, left, right), n)


def randomised(
    model: RewardModel,
    left: SegmentPool,
    right: SegmentPool,
    n: int,
    asked: Comparisons | None,
    rng: torch.Generator,
    threshold: float,
) -> Tensor:
    """Choose, of the first n pairs, those on which samples of the posterior disagree: at most n, perhaps none.

    The members are the samples (Wu and Sun 2024): a pair is asked where their gains of right over left differ by more
    than `threshold` in the mean over two of them. What is not asked is left in the budget.
    """
    few = torch.arange(min(n, len(left)))
    gains = score_in_blocks(model.score, PartOf(right, few)) - score_in_blocks(model.score, PartOf(left, few))
    return few[expected_gap(gains) > threshold]


def expected_gap(gains: Tensor) -> Tensor:
    """Return the mean (N,) of |g_i - g_j| over pairs of the S samples of `gains` (S, N)."""
    samples = len(gains)
    ordered = gains.sort(0).values
    weights = 2 * torch.arange(samples, dtype=gains.dtype) - samples + 1  # of each in the sum over pairs
    return 2 * (weights[:, None] * ordered).sum(0) / (samples * (samples - 1))


def k_center(
    model: RewardModel, left: SegmentPool, right: SegmentPool, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Choose greedily the farthest from everything asked before, by the observations of both segments."""
    return _farthest_first(left, right, n, asked, rng)


def k_center_disagreement(
    model: RewardModel, left: SegmentPool, right: SegmentPool, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Choose farthest-first among the 5 n pairs of largest disagreement."""
    rows = disagreement(model, left, right, 5 * n, asked, rng)
    return rows[_farthest_first(PartOf(left, rows), PartOf(right, rows), n, asked, rng)]


def k_center_entropy(
    model: RewardModel, left: SegmentPool, right: SegmentPool, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Choose farthest-first among the 5 n pairs of largest entropy."""
    rows = entropy(model, left, right, 5 * n, asked, rng)
    return rows[_farthest_first(PartOf(left, rows), PartOf(right, rows), n, asked, rng)]


def needs_model(sampler: object) -> bool:
    """Return whether this sampler asks a reward; one of somebody's own is taken to."""
    return sampler not in (uniform, k_center)


def preference_probability(model: RewardModel, left: SegmentPool, right: SegmentPool) -> Tensor:
    """P[right preferred] (E, C) of each member."""
    return torch.sigmoid(score_in_blocks(model.score, right) - score_in_blocks(model.score, left))


def _mean_entropy(model: RewardModel, left: SegmentPool, right: SegmentPool) -> Tensor:
    p = preference_probability(model, left, right).double().clamp(1e-12, 1 - 1e-12)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean(0)


def _top(score: Tensor, n: int) -> Tensor:
    return torch.sort(score, descending=True, stable=True).indices[:n]


def _farthest_first(
    left: SegmentPool, right: SegmentPool, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Choose in turn the row farthest from all chosen and asked ones; the first is random if nothing was asked."""
    places = _Places(left, right)
    distance, chosen = torch.full((len(left),), torch.inf), []
    if asked is None or len(asked) == 0:
        chosen.append(int(torch.randint(len(left), (), generator=rng)))
        distance = places.distance(left[chosen], right[chosen])
    else:
        for one, other in zip(blocks(asked.left), blocks(asked.right), strict=True):
            distance = torch.minimum(distance, places.distance(one, other))
    while len(chosen) < min(n, len(left)):
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, places.distance(left[chosen[-1:]], right[chosen[-1:]]))
    return torch.tensor(chosen)


class _Places:
    """Places of candidates: the observations of both segments, one after another.

    Observations are divided by their spread over the candidates: without it the dimension with the largest unit
    decides alone.
    """

    def __init__(self, left: SegmentPool, right: SegmentPool) -> None:
        self.left, self.right = left, right
        obs = left[:1].obs
        norm = RunningNorm(obs.shape[-1])
        for side in (left, right):
            for block in blocks(side):
                norm.observe(block.obs.flatten(0, 1))
        self.centre, self.spread = norm.mean.float(), norm.var.sqrt().clamp_min(1e-8).float()
        size = 2 * len(left) * obs.nbytes
        self._kept = list(self._features()) if size <= KEPT_BYTES else None

    def distance(self, left: Segments, right: Segments) -> Tensor:
        """Return the distance (C,) of each candidate to the nearest of these pairs."""
        points = self._place(left, right)
        return torch.cat([torch.cdist(block, points).amin(1) for block in self._kept or self._features()])

    def _features(self) -> Iterator[Tensor]:
        for left, right in zip(blocks(self.left), blocks(self.right), strict=True):
            yield self._place(left, right)

    def _place(self, left: Segments, right: Segments) -> Tensor:
        return torch.cat([((s.obs - self.centre) / self.spread).flatten(1) for s in (left, right)], dim=1)
