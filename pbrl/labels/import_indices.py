"""Label sets from index files: start rows in a published data set, and what people answered.

Preference Transformer, Uni-RLHF and DPPO publish labels so; which rows their indices count: `pbrl.labels.index_rows`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.formats.reader import Answered
from pbrl.errors import UserError
from pbrl.files import require_new
from pbrl.labels.import_pairs import make_segments, unit_actions, write_answers
from pbrl.labels.index_rows import Steps, read_steps
from pbrl.labels.segment_files import Shape
from pbrl.labels.set_checks import refuse
from pbrl.question_kinds import SegmentPair
from pbrl.reading import read_array, read_arrays, require_file
from pbrl.types import Segments

TIE = -1  # as csmile-1006/PreferenceTransformer:JaxPref/reward_transform.py
PICKLE = b"\x80"  # how one of protocol 2 or later begins
UNPICKLE = (
    "One that you trust becomes an array file by: "
    "python -c \"import sys, pickle, numpy; numpy.save(sys.argv[2], pickle.load(open(sys.argv[1], 'rb')))\""
)
LABELS = "0 for the first to 1 for the second, or -1 for a tie"


def import_indices(
    file: Path,
    out: Path,
    about: dict[str, Any],
    *,
    indices: tuple[Path, Path],
    labels: Path,
    length: int,
    annotator: str,
    clip: bool,
    drop: bool,
    sizes: tuple[Shape, Shape] | None = None,
) -> dict[str, Any]:
    """Write a label set from a data set and three files of plain arrays, see `read_answers`; return its meta.json.

    sizes: (O, A) that the environment has, if it is known.
    """
    require_new(out)
    options: dict[str, Any] = {"length": length, "annotator": annotator, "clip": clip, "drop": drop}
    return write_answers(out, read_answers(file, indices=indices, labels=labels, **options), about, file, sizes)


def read_answers(
    file: Path,
    *,
    indices: tuple[Path, Path],
    labels: Path,
    length: int,
    annotator: str,
    clip: bool,
    drop: bool,
) -> Answered:
    """Read pairs of segments of a data set, and the answers to them, from three files of plain arrays.

    Args:
        file: the data set whose rows the indices count, see `index_rows.read_steps`.
        indices: .npy or .npz, (N,) first row of the left and of the right segments (`indices_num*`, `indices_2_num*`).
            Those beyond the number of labels were not answered.
        labels: (N,) 0 for the left to 1 for the right, -1 for a tie (`label_human`); or (N, 2), the share of each side.
        length: steps of a segment.
        drop: leave comparisons out that cross an episode, instead of refusing them.
    """
    steps = read_steps(file)
    if len(steps) < length:
        raise UserError(f"{file} has {len(steps)} steps, fewer than segment_length={length}")
    starts, value, unanswered = _read_questions(indices, labels, len(steps) - length)
    pairs, kept, last_obs = pairs_at(steps, starts, length, clip=clip, drop=drop, indices=indices[0], file=file)
    notes = {"dropped": int((~kept).sum()), "unanswered": unanswered}
    return Answered(pairs, value[kept], names=(annotator,), last_obs=last_obs, notes=notes)


def pairs_at(
    steps: Steps, starts: list[np.ndarray], length: int, *, clip: bool, drop: bool, indices: Path, file: Path
) -> tuple[SegmentPair, np.ndarray, bool]:
    """The pairs of segments that start at these rows (N,), which of them (N,), and whether the last obs are known.

    Those that cross the end of an episode are refused, or left out with `drop`.

    indices, file: where the rows and the steps are from, for what is wrong with them.
    """
    whole = np.logical_and(*(steps.episode[start] == steps.episode[start + length - 1] for start in starts))
    if not whole.all() and not drop:
        raise UserError(
            f"{indices}: {(~whole).sum()} of {len(whole)} comparisons have a segment that crosses the end of an "
            f"episode (the first is row {np.argmin(whole)}); drop=true leaves them out"
        )
    if not whole.any():
        raise UserError(f"{indices}: all {len(whole)} comparisons have a segment that crosses the end of an episode")
    actions = unit_actions(steps.actions, "actions", file, clip)
    left, right = (_segments(steps, actions, start[whole], length) for start in starts)
    return SegmentPair(left[0], right[0]), whole, left[1] and right[1]


def _read_questions(indices: tuple[Path, Path], labels: Path, last: int) -> tuple[list[np.ndarray], np.ndarray, int]:
    """First rows (N,) of left and right, from 0 to `last`; prefers_right (N,); how many indices have no label."""
    value = _read_labels(labels)
    if not len(value):
        raise UserError(f"{labels} has no labels")
    starts = [_read_indices(path) for path in indices]
    if len(starts[0]) != len(starts[1]):
        found = f"{indices[0]} has {len(starts[0])} indices, {indices[1]} has {len(starts[1])}"
        raise UserError(f"{found}; expected as many")
    if len(starts[0]) < len(value):
        raise UserError(
            f"{indices[0]} has {len(starts[0])} indices, {labels} has {len(value)} labels; expected an index for each"
        )
    answered = [start[: len(value)].astype(np.int64) for start in starts]
    for path, start in zip(indices, answered, strict=True):
        valid = f"0 to {last}, from where the data have a whole segment"
        refuse((start < 0) | (start > last), start, "the indices", valid, path)
    return answered, value, len(starts[0]) - len(value)


def _segments(steps: Steps, actions: np.ndarray, start: np.ndarray, length: int) -> tuple[Segments, bool]:
    """The segments that start at these rows (N,), and whether the observations after them are known."""
    rows = start[:, None] + np.arange(length)
    last = rows[:, -1]
    segments = make_segments(
        np.concatenate([steps.obs[rows], steps.next_obs[last][:, None]], 1),
        actions[rows],
        ids=start,
        true_reward=steps.rewards[rows],
        terminated=steps.terminated[rows],
    )
    return segments, bool(steps.next_known[last].all())


def _read_labels(path: Path) -> np.ndarray:
    """Read the probability (N,) float64 that the right one is preferred."""
    label = _read_column(path)
    if label.dtype.kind not in "iuf" or label.ndim not in (1, 2) or (label.ndim == 2 and label.shape[1] != 2):
        raise UserError(f"{path} has {label.dtype}{label.shape}, expected numbers of shape (N,) or (N, 2)")
    label = label.astype(np.float64)
    if label.ndim == 2:
        wrong = (label < 0) | (abs(label.sum(1, keepdims=True) - 1) > 1e-6) | np.isnan(label)
        refuse(wrong, label, "the labels", "the shares of the first and of the second, 1 together", path)
        return label[:, 1]
    refuse(~((label >= 0) & (label <= 1) | (label == TIE)), label, "the labels", LABELS, path)
    return np.where(label == TIE, 0.5, label)


def _read_indices(path: Path) -> np.ndarray:
    start = _read_column(path)
    if start.ndim != 1 or start.dtype.kind not in "iu":
        raise UserError(f"{path} has {start.dtype}{start.shape}, expected whole numbers of shape (N,)")
    return start


def _read_column(path: Path) -> np.ndarray:
    """The one array of a .npy or .npz file."""
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        if len(arrays) != 1:
            raise UserError(f"{path} has {len(arrays)} arrays, expected one")
        return next(iter(arrays.values()))
    require_file(path)
    with path.open("rb") as stream:
        if stream.read(len(PICKLE)) == PICKLE:
            files = shlex.join([str(path), str(path.with_name(f"{path.stem}_array.npy"))])
            raise UserError(f"{path} is a pickle, and pickles are never loaded. {UNPICKLE} {files}")
    return read_array(path)
