"""Read what an offline learner learns from in a directory on the disk."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from pbrl.data.datasets import Dataset, is_dataset, load_dataset
from pbrl.data.offline import OfflineData, hash_of_all
from pbrl.data.offline_from_dataset import from_dataset, without_labels
from pbrl.data.offline_from_labels import from_lists, from_pairs
from pbrl.errors import UserError
from pbrl.files import no_folder
from pbrl.labels.sets import LabelSet, load_label_set
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Question
from pbrl.rewards.losses.loss import ListLoss
from pbrl.types import Segments

PAIRS = ("fixed", "drawn", "dense")


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
    """Read a data set (`pbrl collect`), a label set (`pbrl labels export`), or a data set with a label set about it.

    Args:
        label: which labels of a data set; None: its regret labels, else those of return.
        budget: how many comparisons are paid for, the first of their list; None: all. With pairs="drawn", how many are
            drawn, never None for what reads labels; with pairs="dense", how many scored segments.
        pairs: "fixed": the listed comparisons; "drawn": `budget` pairs of scored segments, drawn by `rng`; "dense": all
            pairs of scored segments.
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
        if not reads_labels and not any(told.answered.any() for told in dataset.comparisons.values()):
            return without_labels(dataset)
        if pairs == "drawn" and not reads_labels:
            pairs = "fixed"  # the test split alone is read
        return from_dataset(dataset, label, budget, pairs, heldout, rng)
    if labels is not None:
        raise UserError(f"labels={labels} belong to a data set, and data={path} is a label set itself; leave one out")
    found = _told(path, choices, lists, budget, heldout, rng)
    if pairs != "fixed":
        raise UserError(f"feedback.pairs={pairs} needs scored segments, and {path} is a label set; valid is fixed")
    if label is not None:
        raise UserError(f"feedback.label={label}: {path} is a label set, which has one kind of label; leave it out")
    return found


def _require_listed(pairs: str, label: str | None, labels: Path) -> None:
    """Refuse settings that are about comparisons of the data set itself."""
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
        return from_lists(path, _labels(path, choices, lists.asks), lists, budget, heldout, rng)
    return from_pairs(path, _labels(path, choices, SegmentPair), budget, heldout, rng)


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
    digest = hashlib.sha256(f"{hash_of_all(dataset.meta)} {told.sha256}".encode()).hexdigest()
    return replace(
        told,
        sha256=digest,
        segments=Segments.cat([example, unlabelled]),  # the labelled ones first, whose rows `pairs` names
        episodes=dataset.episodes,
        last_obs=told.last_obs and dataset.meta["last_obs"],
        choices=dataset.choices,
    )
