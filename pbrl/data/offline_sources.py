"""Read what an offline learner learns from in a directory on the disk."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pbrl.building import explaining
from pbrl.data.dataset_checks import LIKELIHOOD
from pbrl.data.datasets import SPLITS, Dataset, is_dataset, load_dataset
from pbrl.data.episodes import Episode
from pbrl.data.offline import OfflineData, Pairs
from pbrl.errors import UserError
from pbrl.files import no_folder
from pbrl.labels.sets import LabelSet, load_label_set
from pbrl.losses import preference_accuracy
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Question
from pbrl.rewards.losses.loss import ListLoss
from pbrl.types import Comparisons, Segments

PAIRS = ("fixed", "dense")
NO_LABEL = "none"
UNNAMED = "imported"  # the annotator of `pbrl data import` where none is named
PREFERRED = ("regret_mc", "regret_critic", "return")  # which labels are taken where none are named


def load_offline(
    path: Path,
    *,
    label: str | None,
    budget: int | None,
    pairs: str,
    heldout: float,
    rng: torch.Generator,
    choices: bool = False,
    labels: Path | None = None,
    reads_labels: bool = True,
    lists: ListLoss | None = None,
) -> OfflineData:
    """Reads a data set (`pbrl collect`), a label set (`pbrl labels export`), or a data set with a label set about it.

    Args:
        label: which labels of a data set; None: its regret labels, else those of return.
        budget: how many comparisons are paid for, the first of their list; None: all. With pairs="dense", how many
            scored segments.
        pairs: "fixed": the listed comparisons; "dense": all pairs of scored segments.
        heldout: share of the comparisons put aside for validation, drawn by `rng`.
        choices: whether the learner can act by a choice of n; actions are then one of n, as `OfflineData.choices` says.
        labels: answers to learn from, where `path` is a data set: rewards learn from the answers, policies from all
            episodes.
        lists: what the learner's reward learns by, where it is from lists of segments: answers of its kind in a label
            set, or rankings of scored segments.
        reads_labels: whether the learner does; one that does not learns from a data set without any, too.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"data={path}: {no_folder(path)}; make one with `pbrl collect` or `pbrl labels export`")
    if is_dataset(path):
        dataset = load_dataset(path)
        _refuse_choices(dataset.choices, choices, path)
        if labels is not None:
            _require_listed(pairs, label, labels)
            return _from_both(dataset, labels, _told(labels, choices, lists, budget, heldout, rng), rng)
        if pairs == "dense" and heldout:
            raise UserError(
                f"feedback.heldout={heldout}: comparisons are put aside, and pairs=dense lists none; expected 0"
            )
        if lists is not None and not (pairs == "dense" and lists.items > 1):
            valid = f"{'feedback.pairs=dense, or ' if lists.items > 1 else ''}a label set of kind {lists.asks.kind}"
            raise UserError(f"data={path} has answers to pairs; valid for this loss is {valid}")
        if not reads_labels and not dataset.comparisons:
            return _without_labels(dataset)
        return _from_dataset(dataset, label, budget, pairs, heldout, rng)
    if labels is not None:
        raise UserError(f"labels={labels} belong to a data set, and data={path} is a label set itself; leave one out")
    found = _told(path, choices, lists, budget, heldout, rng)
    if pairs != "fixed":
        raise UserError(f"feedback.pairs={pairs} needs scored segments, and {path} is a label set; valid is fixed")
    if label is not None:
        raise UserError(f"feedback.label={label}: {path} is a label set, which has one kind of label; leave it out")
    return found


def _require_listed(pairs: str, label: str | None, labels: Path) -> None:
    """Refuses settings that are about comparisons of the data set itself."""
    if pairs != "fixed" or label is not None:
        key = f"feedback.pairs={pairs}" if pairs != "fixed" else f"feedback.label={label}"
        raise UserError(f"{key} is about comparisons of a data set, and labels={labels} has those to learn from")


def _told(
    path: Path, choices: bool, lists: ListLoss | None, budget: int | None, heldout: float, rng: torch.Generator
) -> OfflineData:
    """A label set of pairs, or of what a loss on lists learns from."""
    if is_dataset(path) or not path.is_dir():
        raise UserError(f"labels={path} is no label set; make one with `pbrl labels export` or `pbrl data import`")
    if lists is not None:
        return _from_lists(path, _labels(path, choices, lists.asks), lists, budget, heldout, rng)
    return _from_label_set(path, _labels(path, choices, SegmentPair), budget, heldout, rng)


def _labels(path: Path, choices: bool, kind: type[Question]) -> LabelSet:
    labels = load_label_set(path)
    if labels.questions.kind != kind.kind:
        raise UserError(f"{path} has answers of kind {labels.questions.kind}; valid here is {kind.kind}")
    _refuse_choices((labels.meta.get("actions") or {}).get("discrete"), choices, path)
    return labels


def _refuse_choices(n: int | None, choices: bool, path: Path) -> None:
    if n is not None and not choices:
        raise UserError(f"data={path} has choices of {n} for actions; this method learns actions that are numbers")


def _from_both(dataset: Dataset, path: Path, told: OfflineData, rng: torch.Generator) -> OfflineData:
    """Return what a label set told, and all episodes of a data set, cut into segments as long as those with labels."""
    example, steps = told.segments, told.segments.steps
    shapes = example.obs.shape[2:], example.actions.shape[2:]
    wanted = dataset.segments.obs.shape[2:], dataset.segments.actions.shape[2:]
    if shapes != wanted:
        raise UserError(
            f"labels={path} have observations {tuple(shapes[0])} and actions {tuple(shapes[1])}, "
            f"{dataset.path} has {tuple(wanted[0])} and {tuple(wanted[1])}"
        )
    room = dataset.store.count_starts(steps, len(dataset.episodes))
    unlabelled = dataset.store.sample(len(dataset.segments), steps, rng) if room.any() else example[:0]
    digest = hashlib.sha256(f"{_sha256(dataset.meta)} {told.sha256}".encode()).hexdigest()
    return replace(
        told,
        sha256=digest,
        segments=Segments.cat([example, unlabelled]),  # the labelled ones first, whose rows `pairs` names
        episodes=dataset.episodes,
        last_obs=told.last_obs and dataset.meta["last_obs"],
        choices=dataset.choices,
    )


def _from_dataset(
    dataset: Dataset, label: str | None, budget: int | None, pairs: str, heldout: float, rng: torch.Generator
) -> OfflineData:
    label = label or _preferred(dataset, pairs)
    train = np.flatnonzero(dataset.split == SPLITS.index("train"))
    if len(train) == 0:
        raise UserError(f"{dataset.path} has no segments for training")
    segments = dataset.segments[torch.from_numpy(train)]
    scores = None
    kept, validation = _no_pairs(), None
    if pairs == "dense":
        scores = _scores(dataset, label, train, budget)
    else:
        place = np.full(len(dataset.split), -1)
        place[train] = np.arange(len(train))
        rows, c = dataset.rows(label, "train", budget), dataset.comparisons[label]
        rows = rows[c.answered[rows]]
        _require_some(len(rows), dataset.path)
        left, right = (torch.from_numpy(place[side[rows]]) for side in (c.left, c.right))
        paid = Pairs(left, right, torch.from_numpy(c.prefers_right[rows]).float(), torch.zeros_like(left))
        kept, validation = _held_out(paid, segments, heldout, rng)
    in_training = dataset.episode_split == SPLITS.index("train")
    test = _test(dataset, label)
    return OfflineData(
        label=label,
        sha256=_sha256(dataset.meta),
        segments=segments,
        episodes=[e for e, there in zip(dataset.episodes, in_training, strict=True) if there],
        pairs=kept,
        validation=validation,
        test=test.comparisons(),
        ceiling=test.agreement(label),
        model_ceiling=test.agreement(test.of_expert()),
        scores=scores,
        last_obs=dataset.meta.get("last_obs", True),
        annotators=(label,),  # a script by this rule
        test_episodes=_test_episodes(dataset),
        choices=dataset.choices,
    )


def _without_labels(dataset: Dataset) -> OfflineData:
    """Segments and episodes of the training split alone."""
    train = torch.from_numpy(dataset.split == SPLITS.index("train"))
    in_training = dataset.episode_split == SPLITS.index("train")
    return OfflineData(
        label=NO_LABEL,
        sha256=_sha256(dataset.meta),
        segments=dataset.segments[train],
        episodes=[e for e, there in zip(dataset.episodes, in_training, strict=True) if there],
        pairs=_no_pairs(),
        validation=None,
        test=None,
        ceiling=None,
        scores=None,
        last_obs=dataset.meta.get("last_obs", True),
        annotators=(NO_LABEL,),
        test_episodes=_test_episodes(dataset),
        choices=dataset.choices,
    )


def _test_episodes(dataset: Dataset) -> tuple[Episode, ...]:
    chosen = dataset.episode_split == SPLITS.index("test")
    return tuple(e for e, there in zip(dataset.episodes, chosen, strict=True) if there)


def _from_label_set(
    path: Path, labels: LabelSet, budget: int | None, heldout: float, rng: torch.Generator
) -> OfflineData:
    rows = _paid(path, labels, budget)
    shown = labels.pairs[rows.tolist()]
    both = Segments.cat([shown.left, shown.right])
    left_hashes, right_hashes = zip(*shown.hashes(), strict=True)
    _, first, place = np.unique([*left_hashes, *right_hashes], return_index=True, return_inverse=True)
    segments = both[torch.from_numpy(first)]  # a segment that was shown twice is one segment
    left, right = torch.from_numpy(place).chunk(2)
    value, who = (torch.from_numpy(column[rows]) for column in (labels.prefers_right, labels.annotator))
    paid = Pairs(left, right, value.float(), who, labels.pairs.criterion)
    kept, validation = _held_out(paid, segments, heldout, rng)
    return OfflineData(
        label=_who(labels.meta),
        sha256=_sha256(labels.meta),
        segments=segments,
        episodes=[_episode(segments, i) for i in range(len(segments))],
        pairs=kept,
        validation=validation,
        test=None,
        ceiling=None,
        scores=None,
        last_obs=labels.meta.get("last_obs", True),
        annotators=tuple(labels.meta["annotators"]),
        choices=(labels.meta.get("actions") or {}).get("discrete"),
    )


def _from_lists(
    path: Path, labels: LabelSet, loss: ListLoss, budget: int | None, heldout: float, rng: torch.Generator
) -> OfflineData:
    """Answers about lists; of what is held out, the pairs that follow from it."""
    rows = _paid(path, labels, budget)
    with explaining("fit.loss", {}, ValueError):
        told = loss.read(labels.questions[rows.tolist()], torch.from_numpy(labels.value[rows]).view(len(rows), -1))
    order, n = torch.randperm(len(told), generator=rng), round(heldout * len(told))
    if n == len(told):
        raise UserError(f"feedback.heldout={heldout} leaves none of {len(told)} answers for training")
    held = told[order[:n]].pairs() if n else None
    return OfflineData(
        label=_who(labels.meta),
        sha256=_sha256(labels.meta),
        segments=told.segments,
        episodes=[_episode(told.segments, i) for i in range(len(told.segments))],
        pairs=_no_pairs(),
        validation=held if held is not None and len(held) else None,
        test=None,
        ceiling=None,
        scores=None,
        last_obs=labels.meta.get("last_obs", True),
        annotators=tuple(labels.meta["annotators"]),
        lists=told[order[n:].sort().values],
    )


def _paid(path: Path, labels: LabelSet, budget: int | None) -> np.ndarray:
    """Rows of the answers that are paid for, skips left out."""
    rows = np.flatnonzero(labels.answered)
    if budget is not None and budget > len(labels):
        raise UserError(f"feedback.budget={budget}: {path} has {len(labels)} answers")
    rows = rows[rows < budget] if budget is not None else rows
    _require_some(len(rows), path)
    return rows


def _preferred(dataset: Dataset, pairs: str) -> str:
    there = dataset.comparisons or (dataset.scores if pairs == "dense" else {})
    if not there:
        how = "collect or import with labels=return, or learn from a label set about it"
        raise UserError(f"{dataset.path} has no comparisons; {how}")
    return next((label for label in PREFERRED if label in there), next(iter(there)))


def _scores(dataset: Dataset, label: str, train: np.ndarray, budget: int | None) -> Tensor:
    """Return the scores (S,) of the first training segments."""
    if label not in dataset.scores:
        raise UserError(f"{dataset.path} has no scores {label!r}; valid are {', '.join(dataset.scores) or 'none'}")
    if budget is not None and budget > len(train):
        raise UserError(f"feedback.budget={budget}: {dataset.path} has {len(train)} segments for training")
    scores = torch.from_numpy(dataset.scores[label][train][:budget])
    if len(scores) < 2:
        raise UserError("feedback.pairs=dense compares scored segments: there is one alone, expected at least 2")
    if not torch.isfinite(scores).all():
        raise UserError(f"{dataset.path}: some scores {label!r} are unknown, feedback.pairs=dense needs them all")
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
    """The comparisons of the test split.

    Where there are scores alone, each two segments that stand one after another, as their order is random.
    """
    if label not in dataset.comparisons:
        rows = np.flatnonzero(dataset.split == SPLITS.index("test"))
        left, right = (torch.from_numpy(side) for side in (rows[: len(rows) // 2 * 2 : 2], rows[1::2]))
        scores = torch.from_numpy(dataset.scores[label])
        gain = scores[right] - scores[left]
        value = torch.where(gain == 0, 0.5, (gain > 0).double()).float()
        return _Test(dataset, label, Pairs(left, right, value, torch.zeros_like(left)))
    rows, c = dataset.rows(label, "test"), dataset.comparisons[label]
    rows = rows[c.answered[rows]]
    left, right = (torch.from_numpy(side[rows]) for side in (c.left, c.right))
    value = torch.from_numpy(c.prefers_right[rows]).float()
    return _Test(dataset, label, Pairs(left, right, value, torch.zeros_like(left)))


def _held_out(paid: Pairs, segments: Segments, share: float, rng: torch.Generator) -> tuple[Pairs, Comparisons | None]:
    """Hold out a random share of the comparisons; a segment may be on both sides, so it is only for stopping."""
    n = round(share * len(paid))
    if n == 0:
        return paid, None
    if n == len(paid):
        raise UserError(f"feedback.heldout={share} leaves none of {len(paid)} comparisons for training")
    order = torch.randperm(len(paid), generator=rng)
    return paid[order[n:].sort().values], paid[order[:n]].comparisons(segments)


def _episode(segments: Segments, row: int) -> Episode:
    length = int(segments.mask[row].sum())
    return Episode(
        obs=segments.obs[row, : length + 1].numpy(),
        actions=segments.actions[row, :length].numpy(),
        true_reward=segments.true_reward[row, :length].numpy(),
        terminated=bool(segments.terminated[row].any()),
    )


def _who(meta: dict[str, Any]) -> str:
    """Say whom answers follow: scripts the return, people and models what people and models follow."""
    beginnings = {"scripted:": "return", "model:": "model"}
    kinds = {
        next((kind for text, kind in beginnings.items() if name.startswith(text)), None)
        or ("unknown" if name == UNNAMED else "human")
        for name in meta["annotators"]
    }
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _sha256(meta: dict[str, Any]) -> str:
    """One hash of all files of a set."""
    return hashlib.sha256(json.dumps(meta["sha256"], sort_keys=True).encode()).hexdigest()


def _require_some(n: int, path: Path) -> None:
    if n == 0:
        raise UserError(f"{path} has no answered comparison among those asked for")


def _no_pairs() -> Pairs:
    empty = torch.zeros(0, dtype=torch.long)
    return Pairs(empty, empty, torch.zeros(0), empty)
