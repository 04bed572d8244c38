"""The data of an offline learner from a label set, which brings along the segments that its answers are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.building import explaining
from pbrl.data.episodes import Episode
from pbrl.data.offline import OfflineData, Pairs, hash_of_all, require_answers
from pbrl.errors import UserError
from pbrl.labels.sets import LabelSet
from pbrl.rewards.losses.loss import ListLoss
from pbrl.types import Segments

UNNAMED = "imported"  # the annotator of `pbrl data import` where none is named


def from_pairs(path: Path, labels: LabelSet, budget: int | None, heldout: float, rng: torch.Generator) -> OfflineData:
    """Learn from the paid answers of a set of pairs."""
    rows = _paid(path, labels, budget)
    shown = labels.pairs[rows.tolist()]
    both = Segments.cat([shown.left, shown.right])
    left_hashes, right_hashes = zip(*shown.hashes(), strict=True)
    _, first, place = np.unique([*left_hashes, *right_hashes], return_index=True, return_inverse=True)
    segments = both[torch.from_numpy(first)]  # a segment that was shown twice is one segment
    left, right = torch.from_numpy(place).chunk(2)
    value, who = (torch.from_numpy(column[rows]) for column in (labels.prefers_right, labels.annotator))
    paid = Pairs(left, right, value.float(), who, labels.pairs.criterion)
    kept, validation = paid.hold_out(segments, heldout, rng)
    return _of_labels(labels, segments, pairs=kept, validation=validation)


def from_lists(
    path: Path, labels: LabelSet, loss: ListLoss, budget: int | None, heldout: float, rng: torch.Generator
) -> OfflineData:
    """Learn from answers about lists; of what is held out, the pairs that follow from it."""
    rows = _paid(path, labels, budget)
    with explaining("fit.loss", {}, ValueError):
        told = loss.read(labels.questions[rows.tolist()], torch.from_numpy(labels.value[rows]).view(len(rows), -1))
    order, n = torch.randperm(len(told), generator=rng), round(heldout * len(told))
    if n == len(told):
        raise UserError(f"feedback.heldout={heldout} leaves none of {len(told)} answers for training")
    held = told[order[:n]].pairs() if n else None
    held = held if held is not None and len(held) else None
    return _of_labels(labels, told.segments, pairs=Pairs.none(), validation=held, lists=told[order[n:].sort().values])


def _of_labels(labels: LabelSet, segments: Segments, **labelled: Any) -> OfflineData:
    """Segments that were shown, each an episode of its own, and what was said of them."""
    return OfflineData(
        label=_who(labels.meta),
        sha256=hash_of_all(labels.meta),
        segments=segments,
        episodes=[_episode(segments, i) for i in range(len(segments))],
        last_obs=labels.last_obs,
        annotators=tuple(labels.meta["annotators"]),
        choices=(labels.meta.get("actions") or {}).get("discrete"),
        **labelled,
    )


def _paid(path: Path, labels: LabelSet, budget: int | None) -> np.ndarray:
    """Rows of the answers that are paid for, skips left out."""
    rows = np.flatnonzero(labels.answered)
    if budget is not None and budget > len(labels):
        raise UserError(f"feedback.budget={budget}: {path} has {len(labels)} answers")
    rows = rows[rows < budget] if budget is not None else rows
    require_answers(len(rows), path)
    return rows


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
