"""The data of an offline learner from a data set that `pbrl collect` or `pbrl data import` wrote."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pbrl.data.dataset_checks import LIKELIHOOD
from pbrl.data.datasets import SPLITS, Dataset
from pbrl.data.draw import distinct_pairs
from pbrl.data.episodes import Episode
from pbrl.data.offline import OfflineData, Pairs, hash_of_all, require_answers
from pbrl.errors import UserError
from pbrl.losses import preference_accuracy
from pbrl.types import Comparisons

NO_LABEL = "none"
PREFERRED = ("regret_mc", "regret_critic", "return")  # which labels are taken where none are named


def from_dataset(
    dataset: Dataset, label: str | None, budget: int | None, pairs: str, heldout: float, rng: torch.Generator
) -> OfflineData:
    """Return what is labelled of a data set, see `load_offline`, and all of its training split."""
    label = label or _preferred(dataset, pairs)
    train = np.flatnonzero(dataset.split == SPLITS.index("train"))
    if len(train) == 0:
        raise UserError(f"{dataset.path} has no segments for training")
    found: dict[str, Any]
    if pairs == "dense":
        found = {"scores": _scores(dataset, label, train, budget, pairs)}
    else:
        paid = _drawn(dataset, label, train, budget, rng) if pairs == "drawn" else _first(dataset, label, train, budget)
        kept, validation = paid.hold_out(dataset.segments[torch.from_numpy(train)], heldout, rng)
        found = {"pairs": kept, "validation": validation}
    test = _test(dataset, label)
    found |= {"test": test.comparisons(), "ceiling": test.agreement(label)}
    return _of_training(dataset, label, model_ceiling=test.agreement(test.of_expert()), **found)


def without_labels(dataset: Dataset) -> OfflineData:
    """Return segments and episodes of the training split alone."""
    return _of_training(dataset, NO_LABEL)


def _of_training(dataset: Dataset, label: str, **labelled: Any) -> OfflineData:
    """All of the training split, the episodes of the test split, and what is labelled."""
    train = torch.from_numpy(dataset.split == SPLITS.index("train"))
    known: dict[str, Any] = {"pairs": Pairs.none()} | labelled
    return OfflineData(
        label=label,
        sha256=hash_of_all(dataset.meta),
        segments=dataset.segments[train],
        episodes=_episodes(dataset, "train"),
        last_obs=dataset.meta.get("last_obs", True),
        annotators=(label,),  # a script by this rule
        test_episodes=tuple(_episodes(dataset, "test")),
        choices=dataset.choices,
        **known,
    )


def _episodes(dataset: Dataset, split: str) -> list[Episode]:
    chosen = dataset.episode_split == SPLITS.index(split)
    return [e for e, there in zip(dataset.episodes, chosen, strict=True) if there]


def _first(dataset: Dataset, label: str, train: np.ndarray, budget: int | None) -> Pairs:
    """Return the first `budget` answers of the list, as rows of the training segments."""
    listed, place = _listed(dataset, label, "train", budget), torch.full((len(dataset.split),), -1)
    require_answers(len(listed), dataset.path)
    place[train] = torch.arange(len(train))
    return Pairs(place[listed.left], place[listed.right], listed.prefers_right, listed.annotator)


def _drawn(dataset: Dataset, label: str, train: np.ndarray, budget: int | None, rng: torch.Generator) -> Pairs:
    """Draw `budget` pairs of the training segments, answered by their scores; one may come twice.

    No more than there are: whoever asks for more wants all pairs.
    """
    if budget is None:
        raise UserError("feedback.budget=null: how many pairs is feedback.pairs=drawn to draw? expected a number")
    scores = _scores(dataset, label, train, None, "drawn")
    if budget > (there := len(train) * (len(train) - 1) // 2):
        raise UserError(f"feedback.budget={budget}: {len(train)} segments for training make {there} pairs to draw from")
    return Pairs.by_score(*distinct_pairs(len(train), budget, rng), scores)


def _listed(dataset: Dataset, label: str, split: str, budget: int | None = None) -> Pairs:
    """The answered ones of the first comparisons of a split, as rows of all segments."""
    rows, c = dataset.rows(label, split, budget), dataset.comparisons[label]
    rows = rows[c.answered[rows]]
    left, right = (torch.from_numpy(side[rows]) for side in (c.left, c.right))
    return Pairs(left, right, torch.from_numpy(c.prefers_right[rows]).float(), torch.zeros_like(left))


def _preferred(dataset: Dataset, pairs: str) -> str:
    there = dataset.comparisons or ({} if pairs == "fixed" else dataset.scores)
    if not there:
        how = "collect or import with labels=return, or learn from a label set about it"
        raise UserError(f"{dataset.path} has no comparisons; {how}")
    return next((label for label in PREFERRED if label in there), next(iter(there)))


def _scores(dataset: Dataset, label: str, train: np.ndarray, budget: int | None, pairs: str) -> Tensor:
    """Return the scores (S,) of the first training segments."""
    if label not in dataset.scores:
        raise UserError(f"{dataset.path} has no scores {label!r}; valid are {', '.join(dataset.scores) or 'none'}")
    if budget is not None and budget > len(train):
        raise UserError(f"feedback.budget={budget}: {dataset.path} has {len(train)} segments for training")
    scores = torch.from_numpy(dataset.scores[label][train][:budget])
    if len(scores) < 2:
        raise UserError(f"feedback.pairs={pairs} compares scored segments: there is one alone, expected at least 2")
    if not torch.isfinite(scores).all():
        raise UserError(f"{dataset.path}: some scores {label!r} are unknown, feedback.pairs={pairs} needs them all")
    return scores


class _Test(NamedTuple):
    """The test of a method at the end: pairs of the test split, as rows of all segments."""

    dataset: Dataset
    label: str
    pairs: Pairs

    def comparisons(self) -> Comparisons | None:
        return self.pairs.comparisons(self.dataset.segments) if len(self.pairs) else None

    def agreement(self, score: str | None) -> float | None:
        """The share of the answers that this score explains; None where there is none, or no such score."""
        if score not in self.dataset.scores:
            return None
        left, right = (
            torch.from_numpy(self.dataset.scores[score][side.numpy()]) for side in (self.pairs.left, self.pairs.right)
        )
        share = float(preference_accuracy(left, right, self.pairs.prefers_right))
        return None if math.isnan(share) else share

    def of_expert(self) -> str | None:
        """Return the score by which an expert's own actions are likeliest: that whose values the label follows."""
        known = [name for name in LIKELIHOOD.values() if name in self.dataset.scores]
        own = LIKELIHOOD.get(self.label, self.label)
        return own if own in known else next(iter(known), None) if self.label == "return" else None


def _test(dataset: Dataset, label: str) -> _Test:
    """Take the comparisons of the test split.

    Where there are scores alone, each two segments that stand one after another, as their order is random.
    """
    if label in dataset.comparisons:
        return _Test(dataset, label, _listed(dataset, label, "test"))
    rows = np.flatnonzero(dataset.split == SPLITS.index("test"))
    left, right = (torch.from_numpy(side) for side in (rows[: len(rows) // 2 * 2 : 2], rows[1::2]))
    return _Test(dataset, label, Pairs.by_score(left, right, torch.from_numpy(dataset.scores[label])))
