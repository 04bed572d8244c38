"""Offline data sets: episodes, segments cut from them, their scores and labelled comparisons, as one directory.

The format is in docs/data-format.md. K episodes, N segments of T steps, C comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pbrl
from pbrl.data.dataset_checks import (
    EPISODES_FILE,
    FORMAT,
    META_FILE,
    NAMES_FILE,
    PER_STEP,
    SEGMENTS_FILE,
    SPLITS,
    VERSION,
    check_comparisons,
    check_episodes,
    check_meta,
    check_segments,
    comparisons_file,
    count_rows,
    read_meta,
)
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.data.rows import flatten, split_rows, store_of
from pbrl.errors import UserError, choices
from pbrl.files import new_folder, require_new
from pbrl.labels.segment_files import Arrays
from pbrl.labels.set_checks import format_of
from pbrl.reading import read_arrays, read_csv, require_memory, sha256_of
from pbrl.types import Comparisons, Segments

__all__ = ["SPLITS", "ComparisonRows", "Dataset", "is_dataset", "load_dataset", "write_dataset"]


@dataclass(frozen=True)
class ComparisonRows:
    """Pairs of segments of one split each. They are nested: the first n rows of a split are "the set of n"."""

    left: np.ndarray  # (C,) int64, rows of Dataset.segments
    right: np.ndarray  # (C,) int64
    prefers_right: np.ndarray  # (C,) float64 in [0, 1], NaN where skipped
    answered: np.ndarray  # (C,) bool

    def __len__(self) -> int:
        return len(self.left)


@dataclass(frozen=True)
class Dataset:
    """A data set, as `pbrl collect` and `pbrl data import` write it. Labels and scores go by the same names."""

    path: Path
    meta: dict[str, Any]  # meta.json
    episodes: list[Episode]  # K
    source: np.ndarray  # (K,) int64 into meta["sources"], who acted
    segments: Segments  # N; ids are row numbers of an EpisodeStore that got all episodes in order
    episode_of: np.ndarray  # (N,) int64
    split: np.ndarray  # (N,) int64 into SPLITS; no episode is in two splits
    scores: dict[str, np.ndarray]  # (N,) float64, higher = better: regret is negated
    comparisons: dict[str, ComparisonRows]  # by the score that the teacher judged
    store: EpisodeStore  # of all episodes in order, in the same memory

    @property
    def choices(self) -> int | None:
        """The number n where an action is a choice of n; None where it is numbers."""
        return (self.meta.get("actions") or {}).get("discrete")

    @cached_property
    def episode_numbers(self) -> dict[str, int]:
        """The number of each episode by its name in the file that it was imported from; else by its number in words."""
        if NAMES_FILE not in self.meta["sha256"]:
            return {str(k): k for k in range(len(self.episodes))}
        names = [row["name"] for row in read_csv(self.path / NAMES_FILE)]
        if len(names) != len(self.episodes) or len(set(names)) < len(names):
            found = f"{len(names)} rows, {len(set(names))} different names"
            raise UserError(f"{self.path / NAMES_FILE} has {found}, expected {len(self.episodes)}")
        return {name: k for k, name in enumerate(names)}

    @cached_property
    def first_rows(self) -> np.ndarray:
        """Return the number of each episode's first row (K,), as in the ids of segments."""
        return np.cumsum([0, *(len(e) + 1 for e in self.episodes[:-1])])

    def states(self, rows: np.ndarray) -> np.ndarray | None:
        """Return what clips of segments are drawn from (n, T+1, D), states or positions in videos; None without."""
        return self.store.states(self.segments.ids.numpy()[rows], self.meta["segment_length"])

    @cached_property
    def episode_split(self) -> np.ndarray:
        """Return indices (K,) into SPLITS; an episode without a segment is in train: nothing held out hangs on it."""
        split = np.full(len(self.episodes), SPLITS.index("train"), np.int64)
        split[self.episode_of] = self.split
        return split

    def rows(self, label: str, split: str = "train", n: int | None = None) -> np.ndarray:
        """Return row numbers of the first n comparisons of a split (all if None), skips included."""
        if label not in self.comparisons:
            there = ", ".join(self.comparisons) or "none"
            raise UserError(f"{self.path} has no comparisons by {label!r}; valid are {there}")
        if split not in SPLITS:
            raise UserError(f"{self.path} has no split {split!r}; {choices(split, SPLITS)}")
        rows = np.flatnonzero(self.split[self.comparisons[label].left] == SPLITS.index(split))
        if n is not None and not 0 <= n <= len(rows):
            raise UserError(f"{self.path} has {len(rows)} comparisons by {label} for {split}, {n} wanted")
        return rows[:n]

    def compare(self, label: str, split: str = "train", n: int | None = None) -> Comparisons:
        """Return the answered ones of the first n comparisons of a split."""
        rows, c = self.rows(label, split, n), self.comparisons[label]
        rows = rows[c.answered[rows]]
        left, right = (self.segments[torch.from_numpy(side[rows])] for side in (c.left, c.right))
        prefers_right = torch.from_numpy(c.prefers_right[rows]).float()
        return Comparisons(left, right, prefers_right, torch.zeros(len(rows), dtype=torch.long))


def is_dataset(path: Path) -> bool:
    """Return whether the directory says of itself that it is one; it may still be damaged."""
    return format_of(path) == FORMAT


def load_dataset(path: Path) -> Dataset:
    """Read a data set; UserError, in one line, for anything wrong with it."""
    path = Path(path)
    meta = read_meta(path / META_FILE)
    names = [EPISODES_FILE, SEGMENTS_FILE, *(comparisons_file(label) for label in meta["labels"])]
    files = {name: _read(path / name, meta) for name in names}
    comparisons = {label: files[comparisons_file(label)] for label in meta["labels"]}
    return _assemble(path, meta, files[EPISODES_FILE], files[SEGMENTS_FILE], comparisons)


def write_dataset(
    out: Path,
    *,
    meta: Mapping[str, Any],
    episodes: Sequence[Episode],
    source: np.ndarray,
    segment_length: int,
    ids: np.ndarray,
    split: np.ndarray,
    scores: Mapping[str, np.ndarray],
    comparisons: Mapping[str, ComparisonRows],
) -> dict[str, Any]:
    """Write the new directory `out` whole or not at all, and only what can be loaded again; return its meta.json.

    Args:
        meta: env_name, env, sources, teacher, command, seed, and whatever else tells where the data come from.
        source: (K,) index into meta["sources"].
        ids: (N,) number of each segment's first row, episode k taking len(k) + 1 rows.
        split: (N,) index into SPLITS.
        scores, comparisons: by name, see `Dataset`.
    """
    if "factor_names" not in meta and episodes and episodes[0].factors is not None:
        meta = {**meta, "factor_names": list(episodes[0].factor_names)}
    return write_rows(
        out,
        meta=meta,
        rows=flatten(episodes) | {"source": np.asarray(source, np.int64)},
        segment_length=segment_length,
        ids=ids,
        split=split,
        scores=scores,
        comparisons=comparisons,
    )


def write_rows(
    out: Path,
    *,
    meta: Mapping[str, Any],
    rows: Arrays,
    segment_length: int,
    ids: np.ndarray,
    split: np.ndarray,
    scores: Mapping[str, np.ndarray],
    comparisons: Mapping[str, ComparisonRows],
    files: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write a data set from rows that `flatten` made or that are mapped from a disk, and so need no memory.

    files: and folders, on the same disk, that are moved into the new one.
    """
    out = Path(out)
    require_new(out)
    cut: Arrays = {"ids": np.asarray(ids, np.int64), "split": np.asarray(split, np.int64)}
    cut |= {f"score/{name}": np.asarray(value, np.float64) for name, value in scores.items()}
    labels: dict[str, Arrays] = {label: asdict(of) for label, of in comparisons.items()}
    whole = {"format": FORMAT, "version": VERSION, "created_by": f"pbrl {pbrl.__version__}", "last_obs": True, **meta}
    whole |= {"segment_length": segment_length, "labels": list(labels)}
    if "factors" not in rows:
        whole.pop("factor_names", None)
    if "true_reward" not in rows:
        whole["true_reward"] = False
    whole |= {"counts": count_rows(rows, cut, labels), "sha256": {}}
    _check(out, whole, rows, cut, labels)
    all_arrays = {EPISODES_FILE: rows, SEGMENTS_FILE: cut} | {comparisons_file(k): v for k, v in labels.items()}
    with new_folder(out) as folder:
        for name, arrays in all_arrays.items():
            # Compressed, since most numbers of a simulator's state stay the same through an episode.
            np.savez_compressed(folder / name, **arrays)  # type: ignore[arg-type]
            whole["sha256"][name] = sha256_of(folder / name)
        for file in files:
            if file.is_file():
                whole["sha256"][file.name] = sha256_of(file)
            file.rename(folder / file.name)
        (folder / META_FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return whole


def _check(path: Path, meta: dict[str, Any], flat: Arrays, cut: Arrays, labels: Mapping[str, Arrays]) -> np.ndarray:
    """Refuse what cannot be loaded; return the episode (N,) of each segment."""
    check_meta(meta, path / META_FILE)
    check_episodes(flat, meta, path / EPISODES_FILE)
    episode_of = check_segments(cut, store_of(flat), flat["length"], meta, path / SEGMENTS_FILE)
    for label, arrays in labels.items():
        check_comparisons(arrays, cut, label, path / comparisons_file(label))
    if (counts := count_rows(flat, cut, labels)) != meta["counts"]:
        raise UserError(f"{path / META_FILE}: counts are {meta['counts']}, the arrays have {counts}")
    return episode_of


def _assemble(path: Path, meta: dict[str, Any], flat: Arrays, cut: Arrays, labels: Mapping[str, Arrays]) -> Dataset:
    """The data set of these arrays, each of which is checked."""
    episode_of = _check(path, meta, flat, cut, labels)
    store = store_of(flat)
    per_step = sum(flat[name][:1].nbytes for name in PER_STEP if name in flat)
    require_memory(len(cut["ids"]) * meta["segment_length"] * per_step, path / SEGMENTS_FILE)
    if "true_reward" not in flat:
        flat = flat | {"true_reward": np.full(len(flat["obs"]), np.nan, np.float32)}
    return Dataset(
        path=path,
        meta=meta,
        episodes=split_rows(flat, tuple(meta.get("factor_names") or ())),
        source=flat["source"],
        segments=store.gather(cut["ids"], meta["segment_length"]),
        store=store,
        episode_of=episode_of,
        split=cut["split"],
        scores={name.removeprefix("score/"): value for name, value in cut.items() if name.startswith("score/")},
        comparisons={label: ComparisonRows(**arrays) for label, arrays in labels.items()},
    )


def _read(file: Path, meta: dict[str, Any]) -> Arrays:
    if (found := sha256_of(file)) != (expected := meta["sha256"].get(file.name)):
        raise UserError(f"{file} has sha256 {found}, {META_FILE} says {expected}; fetch or make it again")
    return read_arrays(file)
