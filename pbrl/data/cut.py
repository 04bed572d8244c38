"""Cut episodes into a data set: splits by episode, segments, nested comparisons, and a teacher's answers to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from pbrl.data.dataset_checks import SPLITS
from pbrl.data.datasets import ComparisonRows
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.errors import UserError
from pbrl.teachers.teacher import Teacher
from pbrl.types import Segments


class Cut(NamedTuple):
    """Segments of a list of episodes."""

    segments: Segments  # N, with ids as in a `Dataset`
    episode: np.ndarray  # (N,) int64
    start: np.ndarray  # (N,) int64, first step within the episode
    split: np.ndarray  # (N,) int64 into SPLITS


def split_episodes(source: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Draw an index (K,) into SPLITS by these shares; each split has its part of the episodes of every source.

    source: (K,) who acted. shares: of SPLITS, summing to 1; one above 0 gets at least one episode.
    """
    k = len(source)
    place = np.empty(k)  # in (0, 1): at random among the episodes of the same source
    for number in np.unique(source):
        rows = np.flatnonzero(source == number)
        place[rows] = (rng.permutation(len(rows)) + rng.random()) / len(rows)
    wanted = [max(round(share * k), 1) if share > 0 else 0 for share in shares[1:]]
    if (sum(wanted) >= k and shares[0] > 0) or sum(wanted) > k:
        raise UserError(f"splits={','.join(f'{s:g}' for s in shares)} of {k} episodes leave none for {SPLITS[0]}")
    split = np.zeros(k, np.int64)
    last_first = np.argsort(-place, kind="stable")
    split[last_first[: wanted[1]]] = 2
    split[last_first[wanted[1] : sum(wanted)]] = 1
    return split


def cut_segments(store: EpisodeStore, split: np.ndarray, n: int, length: int, rng: np.random.Generator) -> Cut:
    """Cut n different segments (all, if there are fewer), each start equally likely, in random order.

    store: K episodes, none dropped. split: (K,) of them. The first n of a split are thus a fair choice from it.
    """
    room = store.count_starts(length, len(store))
    if not room.sum():
        longest = store.lengths.max()
        raise UserError(f"segment_length={length}: the longest of {len(store)} episodes has {longest} steps")
    chosen = rng.choice(room.sum(), min(n, room.sum()), replace=False)
    ends = np.cumsum(room)
    episode = np.searchsorted(ends, chosen, side="right")
    start = chosen - (ends - room)[episode]
    lengths = store.lengths
    first = np.cumsum(lengths + 1) - (lengths + 1)
    return Cut(store.gather(first[episode] + start, length), episode, start, split[episode])


def draw_pairs(split: np.ndarray, counts: Mapping[str, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw different pairs of different segments of one split: (C,) left and (C,) right, in random order per split.

    split: (N,) of the segments. counts: how many for each of SPLITS; all pairs if there are fewer.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for number, name in enumerate(SPLITS):
        rows = np.flatnonzero(split == number)
        possible = len(rows) * (len(rows) - 1) // 2
        chosen = rng.choice(possible, min(counts[name], possible), replace=False) if possible else np.zeros(0, int)
        later, earlier = _unrank(chosen)
        both = np.stack([rows[earlier], rows[later]], 1)
        pairs.append(np.where(rng.random((len(both), 1)) < 0.5, both, both[:, ::-1]))
    left, right = np.concatenate(pairs).T
    return left.copy(), right.copy()


def judge(teacher: Teacher, cut: Cut, score: np.ndarray | None, left: np.ndarray, right: np.ndarray) -> ComparisonRows:
    """Return what a teacher answers to pairs of segments.

    It has seen the training segments before, joined to one long episode: what a threshold of its own depends on is
    thus the whole data set. It sees the steps' true rewards, or, with `score` (N,), the score spread evenly over the
    steps, less the smallest score: a regret is never positive, and a teacher that skips and ties takes 0 for the worst.
    """
    segments, reward = cut.segments, cut.segments.true_reward.double()
    if score is not None:
        per_step = torch.from_numpy((score - score.min()) / segments.steps)
        reward = per_step[:, None].expand(-1, segments.steps).contiguous()
    segments = dataclasses.replace(segments, true_reward=reward)
    teacher.observe([_joined(segments[torch.from_numpy(cut.split == SPLITS.index("train"))])])
    answers = teacher.answer(segments[torch.from_numpy(left)], segments[torch.from_numpy(right)])
    known = answers.answered.numpy().astype(bool)
    value = np.where(known, answers.prefers_right.double().numpy(), np.nan)
    return ComparisonRows(left, right, value, known)


def _unrank(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pair (i, j) with i > j that has this number when (1, 0), (2, 0), (2, 1), (3, 0), ... are counted from 0."""
    i = ((1 + np.sqrt(8 * number.astype(np.float64) + 1)) // 2).astype(np.int64)
    i -= i * (i - 1) // 2 > number  # the square root of a large number may be rounded up
    return i, number - i * (i - 1) // 2


def _joined(segments: Segments) -> Episode:
    obs = torch.cat([segments.obs[:, :-1].flatten(0, 1), segments.obs[-1:, -1]])
    actions, reward = segments.actions.flatten(0, 1), segments.true_reward.flatten()
    return Episode(obs.numpy(), actions.numpy(), reward.numpy(), terminated=False)
