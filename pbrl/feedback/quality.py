"""Agreement of a learned reward with the true one; for evaluation only, nothing learns from it."""

from __future__ import annotations

import math

import numpy as np
import torch

from pbrl.blocks import score_in_blocks
from pbrl.data.episodes import EpisodeStore
from pbrl.feedback.desk import Score
from pbrl.losses import preference_accuracy

ACCURACY_PAIRS = 256


@torch.no_grad()
def true_accuracy(score: Score, episodes: EpisodeStore, *, length: int, pool: int, seed: int) -> float:
    """Measure accuracy on random pairs of segments (`length` steps, last `pool` episodes) by their true returns.

    NaN where recent episodes have no two segments.
    """
    if episodes.count_starts(length, pool).sum() < 2:
        return math.nan
    rng = torch.Generator().manual_seed(seed)
    left, right = episodes.sample_pairs(ACCURACY_PAIRS, length, rng, pool)
    true = [s.true_reward.double().sum(1) for s in (left, right)]
    better = torch.where(true[0] == true[1], 0.5, (true[1] > true[0]).double()).float()
    return float(preference_accuracy(score_in_blocks(score, left), score_in_blocks(score, right), better))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; NaN where one side is constant."""
    if a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
