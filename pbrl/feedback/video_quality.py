"""Agreement of a reward of pictures with true returns and with people, on videos that nothing was learned from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pbrl.data.datasets import Dataset
from pbrl.data.videos import Videos
from pbrl.feedback.told_videos import ToldVideos


def split(episodes: int, heldout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the episodes to learn from, and of those to measure the reward on."""
    order = np.random.default_rng(seed).permutation(episodes)
    first, last = np.split(order, [episodes - max(1, round(heldout * episodes))])
    return first, last


def agreement(model: Any, videos: Videos) -> dict[str, Any]:
    """Compare learned and true returns over videos that nothing was learned from.

    Returns Spearman's correlation, the share of pairs of videos that both order alike, and the returns themselves.
    """
    from scipy import stats  # half a second that every other method would wait for

    learned = [float(model.reward(frames).sum()) for frames in videos.frames]
    r = float(stats.spearmanr(learned, videos.true_return).statistic) if len(videos) > 2 else math.nan
    pairs = np.triu_indices(len(videos), 1)
    gain, true_gain = (np.subtract.outer(x, x)[pairs] for x in (np.array(learned), videos.true_return.numpy()))
    agree = np.sign(gain) == np.sign(true_gain)
    return {
        "spearman": None if math.isnan(r) else r,
        "pair_accuracy": float(agree.mean()) if len(agree) else None,  # of all pairs of these videos
        "learned_returns": learned,
        "true_returns": [None if math.isnan(x) else x for x in videos.true_return.tolist()],
    }


def foreseen(
    model: Any, told: ToldVideos, data: Dataset, train: np.ndarray, draw: Callable[[Dataset, np.ndarray], Videos]
) -> dict[str, Any]:
    """Return the share of people's decided pairs that the reward orders as they did, and the number of these pairs.

    Only pairs with a video that nothing was learned from count.
    """
    pairs, learned = told.as_pairs(), set(train.tolist())
    new = [row for row, pair in enumerate(pairs.rows.tolist()) if not set(pair) <= learned]
    new = [row for row in new if pairs.prefers_right[row] != 0.5]
    if not new:
        return {"pair_accuracy": None, "pairs_measured": 0}
    episodes = pairs.rows[new].unique()
    seen = draw(data, episodes.numpy())
    value = torch.tensor([float(model.reward(frames).sum()) for frames in seen.frames])
    left, right = (value[torch.searchsorted(episodes, side[new])] for side in (pairs.left, pairs.right))
    right_ones = (right > left) == (pairs.prefers_right[new] > 0.5)
    return {"pair_accuracy": float(right_ones.float().mean()), "pairs_measured": len(new)}
