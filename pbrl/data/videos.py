"""Whole episodes as videos, and what was said about them: triplets and pairs, by row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pbrl.errors import UserError


@dataclass(frozen=True)
class Videos:
    """N videos of F frames each, with what the task knows about them.

    Methods read `frames` alone; `features` and `true_return` are for scripted teachers and evaluation.
    """

    frames: Tensor  # (N, F, H, W, C) uint8
    features: Tensor  # (N, F, K)       the task's hidden features of each frame
    true_return: Tensor  # (N,)
    ids: Tensor | None = None  # (N,) int, the first row of each in its data set, as in the ids of segments
    source: Any = None  # sha256 of that data set, as its meta.json has it

    def __post_init__(self) -> None:
        if self.frames.ndim != 5:
            raise ValueError(f"Videos.frames has shape {tuple(self.frames.shape)}, expected (N, F, H, W, C)")
        if self.frames.dtype != torch.uint8:
            raise ValueError(f"Videos.frames is of {self.frames.dtype}, expected torch.uint8")
        n, f = self.frames.shape[:2]
        if self.features.ndim != 3 or self.features.shape[:2] != (n, f):
            raise ValueError(f"Videos.features has shape {tuple(self.features.shape)}, expected ({n}, {f}, K)")
        if tuple(self.true_return.shape) != (n,):
            raise ValueError(f"Videos.true_return has shape {tuple(self.true_return.shape)}, expected ({n},)")

    def __len__(self) -> int:
        return self.frames.shape[0]

    def __getitem__(self, rows: Any) -> Videos:
        ids = None if self.ids is None else self.ids[rows]
        return Videos(self.frames[rows], self.features[rows], self.true_return[rows], ids, self.source)

    def by_true_return(self) -> Tensor:
        """Return all rows (N,), the highest true return first; UserError if they have none."""
        if self.true_return.isnan().any():
            raise UserError(
                "nothing says which videos are the best: they have no true return; valid are labels= of rankings, or "
                "teacher=video_people with teacher.triplets= and teacher.preferred="
            )
        return self.true_return.sort(descending=True, stable=True).indices

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Return the shape (H, W, C) of a frame."""
        return tuple(self.frames.shape[2:])


@dataclass(frozen=True)
class Triplets:
    """Answers to which of two videos is closer to a third one. The rows are of one `Videos`."""

    anchor: Tensor  # (B,) int
    first: Tensor  # (B,) int
    second: Tensor  # (B,) int
    closer_second: Tensor  # (B,) in [0, 1]: that the second is closer to the anchor; 0.5 is "equally close"

    def __post_init__(self) -> None:
        _check(self, "closer_second")

    def __len__(self) -> int:
        return len(self.anchor)

    @property
    def rows(self) -> Tensor:
        """Return the rows of anchor, first and second (B, 3)."""
        return torch.stack([self.anchor, self.first, self.second], dim=1)

    @property
    def ties(self) -> int:
        return int((self.closer_second == 0.5).sum())


@dataclass(frozen=True)
class VideoPairs:
    """Answers to which of two videos is preferred. The rows are of one `Videos`."""

    left: Tensor  # (B,) int
    right: Tensor  # (B,) int
    prefers_right: Tensor  # (B,) in [0, 1]; 0.5 is a tie

    def __post_init__(self) -> None:
        _check(self, "prefers_right")

    def __len__(self) -> int:
        return len(self.left)

    @property
    def rows(self) -> Tensor:
        """Return the rows of left and right (B, 2)."""
        return torch.stack([self.left, self.right], dim=1)

    @property
    def ties(self) -> int:
        return int((self.prefers_right == 0.5).sum())


def _check(labels: Triplets | VideoPairs, answer: str) -> None:
    """Refuse fields of other shapes, rows that are not different whole numbers, answers that are not probabilities."""
    kind, fields = type(labels).__name__, [f.name for f in dataclasses.fields(labels)]
    first = getattr(labels, fields[0])
    if first.ndim != 1:
        raise ValueError(f"{kind}.{fields[0]} has shape {tuple(first.shape)}, expected (B,)")
    for name in fields:
        values = getattr(labels, name)
        if values.shape != first.shape:
            raise ValueError(f"{kind}.{name} has shape {tuple(values.shape)}, expected ({len(first)},)")
        if name != answer and (values.is_floating_point() or (values < 0).any()):
            raise ValueError(f"{kind}.{name} must be rows of videos, whole numbers from 0 on")
    rows = labels.rows.sort(1).values
    if (twice := (rows[:, 1:] == rows[:, :-1]).any(1)).any():
        question = int(twice.nonzero()[0])
        raise ValueError(f"{kind} {question} has the rows {labels.rows[question].tolist()}, expected different videos")
    values = getattr(labels, answer)
    if not ((values >= 0) & (values <= 1)).all():  # so that NaN is refused too
        raise ValueError(f"{kind}.{answer} has values outside [0, 1]")
