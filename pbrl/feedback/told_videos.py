"""Answers of people about whole episodes of a data set: pairs, triplets and rankings in a label set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from pbrl.data.datasets import Dataset
from pbrl.data.videos import Triplets, VideoPairs
from pbrl.errors import UserError
from pbrl.feedback.triplets import triplets_from_ranking
from pbrl.labels.sets import load_label_set
from pbrl.question_kinds import Choice, EpisodePair, SegmentPair, Triplet
from pbrl.types import Segments

RANKED = "ranking"
HOW = "pbrl label data=DATASET kind=ranking asks for them"


@dataclass(frozen=True)
class ToldVideos:
    """Answers by numbers of episodes, or by rows of some of them."""

    pairs: tuple[tuple[int, int, float], ...]  # left, right, prefers_right
    triplets: tuple[tuple[int, int, int, float], ...]  # anchor, first, second, closer_second
    rankings: tuple[tuple[int, ...], ...]  # each from the best to the worst

    @staticmethod
    def read(path: Path, data: Dataset, budget: int) -> ToldVideos:
        """Read the first `budget` answers of a label set.

        UserError where one is about no whole episode of the data, or they are neither pairs, triplets nor rankings.
        """
        labels = load_label_set(path)
        form, rows = labels.questions.form, np.flatnonzero(labels.answered)[:budget]
        if not len(rows):
            raise UserError(f"labels={path} has no answers")
        known = {_key(e.obs, e.actions): k for k, e in enumerate(data.episodes)}
        items = [_episodes(item, rows, known, path, data.path) for item in labels.questions.items]
        shown, value = np.stack(items, 1), labels.value[rows]  # (n, k)
        if form.kind in (EpisodePair.kind, SegmentPair.kind):
            return ToldVideos(tuple(zip(*shown.T.tolist(), value.tolist(), strict=True)), (), ())
        if form.kind == Triplet.kind:
            return ToldVideos((), tuple(zip(*shown.T.tolist(), value.tolist(), strict=True)), ())
        if form.kind == Choice.kind and form.detail("wanted") == RANKED:
            return ToldVideos((), (), tuple(map(tuple, np.take_along_axis(shown, value, 1).tolist())))
        raise UserError(f"labels={path} has answers of kind {form.kind}; valid are pairs, triplets and rankings")

    def among(self, episodes: np.ndarray) -> ToldVideos:
        """Return what is about these episodes alone, by their rows; a ranking less the others."""
        row = {int(k): i for i, k in enumerate(episodes)}
        pairs = tuple((row[a], row[b], p) for a, b, p in self.pairs if a in row and b in row)
        triplets = tuple((row[a], row[b], row[c], p) for a, b, c, p in self.triplets if {a, b, c} <= row.keys())
        rankings = (tuple(row[k] for k in ranking if k in row) for ranking in self.rankings)
        return ToldVideos(pairs, triplets, tuple(ranking for ranking in rankings if len(ranking) > 1))

    def as_pairs(self) -> VideoPairs:
        """Return the pairs asked and all pairs of each ranking; the better one is left and right in turn."""
        found = list(self.pairs)
        for ranking in self.rankings:
            for better, worse in combinations(ranking, 2):
                swap = len(found) % 2 == 1
                found.append((worse, better, 1.0) if swap else (better, worse, 0.0))
        left, right, value = zip(*found, strict=True) if found else ((), (), ())
        return VideoPairs(_rows(left), _rows(right), torch.tensor(value))

    def as_triplets(self) -> Triplets:
        """Return the triplets asked and those that rankings of at least three say, see `triplets_from_ranking`."""
        told = list(self.triplets)
        for ranking in self.rankings:
            if len(ranking) > 2:
                t = triplets_from_ranking(torch.tensor(ranking))
                told += zip(*t.rows.T.tolist(), t.closer_second.tolist(), strict=True)
        columns = zip(*told, strict=True) if told else ((), (), (), ())
        anchor, first, second, value = columns
        return Triplets(_rows(anchor), _rows(first), _rows(second), torch.tensor(value))

    def order(self, videos: int) -> torch.Tensor:
        """Return all rows (N,), those first that win the largest share of the pairs that they are in."""
        pairs, wins, n = self.as_pairs(), torch.zeros(videos), torch.zeros(videos)
        for side, share in ((pairs.left, 1 - pairs.prefers_right), (pairs.right, pairs.prefers_right)):
            wins.index_add_(0, side, share)
            n.index_add_(0, side, torch.ones(len(side)))
        return torch.where(n > 0, wins / n.clamp(min=1), 0.5).sort(descending=True, stable=True).indices


def _rows(numbers: Sequence[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.long)


def _key(obs: np.ndarray, actions: np.ndarray) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(obs).data, digest_size=16)
    digest.update(np.ascontiguousarray(actions).data)
    return digest.hexdigest()


def _episodes(item: Segments, rows: np.ndarray, known: dict[str, int], path: Path, data: Path) -> np.ndarray:
    """Find the number (n,) of the episode that each item is, by its content."""
    found = []
    for row in rows.tolist():
        steps = int(item.mask[row].sum())
        key = _key(item.obs[row, : steps + 1].numpy(), item.actions[row, :steps].numpy())
        if key not in known:
            raise UserError(f"labels={path} has an answer that is about no whole episode of {data}; {HOW}")
        found.append(known[key])
    return np.array(found)
