"""Which candidate pairs to ask: the samplers of B-Pref. Each returns the rows to ask, most wanted first.

model: what has been learned so far. left, right: C candidate pairs. n: how many to ask. asked: every comparison
answered before, or None. rng: for ties and random choices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pbrl.types import Comparisons, RewardModel, Segments


def uniform(
    model: RewardModel, left: Segments, right: Segments, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Any pairs."""
    return torch.randperm(len(left), generator=rng)[:n]


def disagreement(
    model: RewardModel, left: Segments, right: Segments, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """The pairs on which P[right preferred] has the largest standard deviation over the members."""
    return _top(preference_probability(model, left, right).std(0, unbiased=False), n)


def entropy(
    model: RewardModel, left: Segments, right: Segments, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """The pairs with the largest entropy of P[right preferred], averaged over the members."""
    return _top(_mean_entropy(model, left, right), n)


def k_center(
    model: RewardModel, left: Segments, right: Segments, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Greedy farthest-first on the observations of both segments, away from everything asked before."""
    return _farthest_first(left, right, n, asked, rng)


def k_center_disagreement(
    model: RewardModel, left: Segments, right: Segments, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Farthest-first among the 5 n pairs of largest disagreement."""
    rows = disagreement(model, left, right, 5 * n, asked, rng)
    return rows[_farthest_first(left[rows], right[rows], n, asked, rng)]


def k_center_entropy(
    model: RewardModel, left: Segments, right: Segments, n: int, asked: Comparisons | None, rng: torch.Generator
) -> Tensor:
    """Farthest-first among the 5 n pairs of largest entropy."""
    rows = entropy(model, left, right, 5 * n, asked, rng)
    return rows[_farthest_first(left[rows], right[rows], n, asked, rng)]


@torch.no_grad()
def preference_probability(model: RewardModel, left: Segments, right: Segments) -> Tensor:
    """P[right preferred] (E, C) of each member."""
    return torch.sigmoid(model.score(right) - model.score(left))


def _mean_entropy(model: RewardModel, left: Segments, right: Segments) -> Tensor:
    p = preference_probability(model, left, right).double().clamp(1e-12, 1 - 1e-12)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean(0)


def _top(score: Tensor, n: int) -> Tensor:
    return torch.sort(score, descending=True, stable=True).indices[:n]


def _farthest_first(left: Segments, right: Segments, n: int, asked: Comparisons | None, rng: torch.Generator) -> Tensor:
    """Each next row is the one farthest from all chosen and asked ones; the first is random if nothing was asked.

    Observations are divided by their spread over the candidates: without it the dimension with the largest unit
    decides alone.
    """
    obs = torch.cat([left.obs, right.obs]).flatten(0, 1)
    centre, spread = obs.mean(0), obs.std(0).clamp_min(1e-8)
    features = _features(left, right, centre, spread)
    if asked is None or len(asked) == 0:
        chosen = [int(torch.randint(len(features), (), generator=rng))]
        distance = torch.cdist(features, features[chosen]).amin(1)
    else:
        chosen = []
        distance = torch.cdist(features, _features(asked.left, asked.right, centre, spread)).amin(1)
    while len(chosen) < min(n, len(features)):
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, torch.cdist(features, features[chosen[-1:]])[:, 0])
    return torch.tensor(chosen)


def _features(left: Segments, right: Segments, centre: Tensor, spread: Tensor) -> Tensor:
    return torch.cat([((s.obs - centre) / spread).flatten(1) for s in (left, right)], dim=1)
