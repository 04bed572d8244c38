"""Label sets from the files of Preference Transformer: start indices into a D4RL data set, and people's labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.import_pairs import check_sizes, make_segments, unit_actions, write_answers
from pbrl.data.label_set_checks import refuse
from pbrl.data.segment_files import Arrays, SegmentPairs, Shape, read_arrays, require
from pbrl.errors import UserError
from pbrl.files import require_new
from pbrl.types import Segments

PREFERS_RIGHT = {0: 0.0, 1: 1.0, -1: 0.5}  # by label, as csmile-1006/PreferenceTransformer:JaxPref/reward_transform.py
SHAPES = {"observations": "(M, O)", "actions": "(M, A)", "rewards": "(M,)", "terminals": "(M,)", "timeouts": "(M,)"}


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
    """A label set from an npz with D4RL's arrays and three files of plain arrays; returns its meta.json.

    Args:
        file: npz of observations (M, O), actions (M, A), rewards, terminals and timeouts (M,), and, if there is one,
            next_observations (M, O): the data set that the indices were drawn from, row by row.
        indices: .npy or .npz, (N,) first step of the left and of the right segments (`indices_num*`, `indices_2_num*`).
        labels: (N,) 0 for the left, 1 for the right, -1 for a tie (`label_human`).
        length: steps of a segment.
        drop: leave comparisons out that cross an episode, instead of refusing them.
        sizes: (O, A) that the environment has, if it is known.
    """
    require_new(out)
    data = read_arrays(file)
    _check_steps(data, file)
    check_sizes(data["observations"].shape[1:], data["actions"].shape[1:], sizes, file)
    starts, label = _read_questions(indices, labels, len(data["rewards"]) - length)
    whole = _whole(starts, data, length)
    if not whole.all() and not drop:
        raise UserError(
            f"{indices[0]}: {(~whole).sum()} of {len(whole)} comparisons have a segment that crosses the end of an "
            f"episode (the first is row {np.argmin(whole)}); drop=true leaves them out"
        )
    data["actions"] = unit_actions(data["actions"], "actions", file, clip)
    left, right = (_segments(data, start[whole], length) for start in starts)
    value = np.array([PREFERS_RIGHT[int(x)] for x in label[whole]])
    more = {"last_obs": left[1] and right[1], "dropped": int((~whole).sum())}
    return write_answers(out, SegmentPairs(left[0], right[0]), value, about | more, annotator, file)


def _read_questions(indices: tuple[Path, Path], labels: Path, last: int) -> tuple[list[np.ndarray], np.ndarray]:
    """First steps (N,) of left and right, from 0 to `last`, and labels (N,)."""
    starts, label = [_read_column(path, "iu") for path in indices], _read_column(labels, "iuf")
    refuse(~np.isin(label, list(PREFERS_RIGHT)), label, "the labels", "0, 1 or -1 for a tie", labels)
    for path, start in zip(indices, starts, strict=True):
        if len(start) != len(label):
            raise UserError(f"{path} has {len(start)} indices, {labels} has {len(label)} labels; expected as many")
        valid = f"0 to {last}, from where the data have a whole segment"
        refuse((start < 0) | (start > last), start, "the indices", valid, path)
    return starts, label


def _segments(data: Arrays, start: np.ndarray, length: int) -> tuple[Segments, bool]:
    """The segments that start at these steps (N,), and whether the observations after them are known."""
    rows = start.astype(np.int64)[:, None] + np.arange(length)
    last_obs, known = _last_obs(data, rows[:, -1])
    segments = make_segments(
        np.concatenate([data["observations"][rows], last_obs[:, None]], 1),
        data["actions"][rows],
        ids=start,
        true_reward=data["rewards"][rows],
        terminated=data["terminals"][rows] != 0,
    )
    return segments, known


def _check_steps(data: Arrays, where: Path) -> None:
    require(data, list(SHAPES), where)
    m = len(data["observations"])
    for name, shape in SHAPES.items():
        array = data[name]
        if len(array) != m or array.ndim != (1 if shape == "(M,)" else 2):
            raise UserError(f"{where}: {name} has shape {array.shape}, expected {shape} with M = {m}")
    following = data.get("next_observations", data["observations"])
    if following.shape != data["observations"].shape:
        shapes = f"{following.shape} and {data['observations'].shape}"
        raise UserError(f"{where}: next_observations and observations have shapes {shapes}, expected the same")
    refuse(~np.isfinite(data["rewards"]), data["rewards"], "rewards", "finite numbers", where)


def _read_column(path: Path, kinds: str) -> np.ndarray:
    """The one array (N,) of a .npy or .npz file."""
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        if len(arrays) != 1:
            raise UserError(f"{path} has {len(arrays)} arrays, expected one")
        (array,) = arrays.values()
    else:
        array = _read_npy(path)
    if array.ndim != 1 or array.dtype.kind not in kinds:
        numbers = "whole numbers" if "f" not in kinds else "numbers"
        raise UserError(f"{path} has {array.dtype}{array.shape}, expected {numbers} of shape (N,)")
    return array


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, EOFError, ValueError):
        raise UserError(
            f"{path} is not an array file; pickles are never loaded. One that you trust becomes an array file by: "
            "python -c \"import sys, pickle, numpy; numpy.save(sys.argv[2], pickle.load(open(sys.argv[1], 'rb')))\" "
            f"{path.name} {path.stem}.npy"
        ) from None


def _whole(starts: list[np.ndarray], data: Arrays, length: int) -> np.ndarray:
    """(N,) whether both segments lie inside one episode: none ends before the last step."""
    ends = np.cumsum((data["terminals"] != 0) | (data["timeouts"] != 0))
    before = np.concatenate([[0], ends])  # episodes that ended before row i
    return np.logical_and(*(before[start] == before[start + length - 1] for start in starts))


def _last_obs(data: Arrays, last: np.ndarray) -> tuple[np.ndarray, bool]:
    """Observations (N, O) after steps `last` (N,), and whether all are known; one that is not is the one before."""
    if "next_observations" in data:
        return data["next_observations"][last], True
    obs = data["observations"]
    ended = (data["terminals"][last] != 0) | (data["timeouts"][last] != 0) | (last == len(obs) - 1)
    return obs[np.where(ended, last, np.minimum(last + 1, len(obs) - 1))], not ended.any()
