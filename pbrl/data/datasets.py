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
from pbrl.errors import UserError, choices
from pbrl.files import new_folder, require_new
from pbrl.labels.segment_files import Arrays
from pbrl.labels.set_checks import format_of
from pbrl.reading import read_arrays, require_memory, sha256_of
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
    """What `pbrl collect` and `pbrl data import` write. Labels and scores go by the same names: what was judged."""

    path: Path
    meta: dict[str, Any]  # meta.json
    episodes: list[Episode]  # K
    source: np.ndarray  # (K,) int64 into meta["sources"], who acted
    segments: Segments  # N; ids are row numbers of an EpisodeStore that got all episodes in order
    episode_of: np.ndarray  # (N,) int64
    split: np.ndarray  # (N,) int64 into SPLITS; no episode is in two splits
    scores: dict[str, np.ndarray]  # (N,) float64, higher = better: regret is negated
    comparisons: dict[str, ComparisonRows]  # by the score that the teacher judged

    @cached_property
    def episode_split(self) -> np.ndarray:
        """(K,) int64 into SPLITS; an episode without a segment counts as train, as nothing held out depends on it."""
        split = np.full(len(self.episodes), SPLITS.index("train"), np.int64)
        split[self.episode_of] = self.split
        return split

    def rows(self, label: str, split: str = "train", n: int | None = None) -> np.ndarray:
        """Row numbers of the first n comparisons of a split (all if None), skips included."""
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
        """The answered ones of the first n comparisons of a split."""
        rows, c = self.rows(label, split, n), self.comparisons[label]
        rows = rows[c.answered[rows]]
        left, right = (self.segments[torch.from_numpy(side[rows])] for side in (c.left, c.right))
        prefers_right = torch.from_numpy(c.prefers_right[rows]).float()
        return Comparisons(left, right, prefers_right, torch.zeros(len(rows), dtype=torch.long))


def is_dataset(path: Path) -> bool:
    """Whether the directory says of itself that it is one; it may still be damaged."""
    return format_of(path) == FORMAT


def load_dataset(path: Path) -> Dataset:
    """Reads a data set; anything wrong with it is one line."""
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
    """Writes the new directory `out` whole or not at all, and only what can be loaded again; returns its meta.json.

    Args:
        meta: env_name, env, sources, teacher, command, seed, and whatever else tells where the data come from.
        source: (K,) index into meta["sources"].
        ids: (N,) number of each segment's first row, episode k taking len(k) + 1 rows.
        split: (N,) index into SPLITS.
        scores, comparisons: by name, see `Dataset`.
    """
    out = Path(out)
    require_new(out)
    flat = _flat(episodes) | {"source": np.asarray(source, np.int64)}
    cut: Arrays = {"ids": np.asarray(ids, np.int64), "split": np.asarray(split, np.int64)}
    cut |= {f"score/{name}": np.asarray(value, np.float64) for name, value in scores.items()}
    labels: dict[str, Arrays] = {label: asdict(rows) for label, rows in comparisons.items()}
    whole = {"format": FORMAT, "version": VERSION, "created_by": f"pbrl {pbrl.__version__}", **meta}
    whole |= {"segment_length": segment_length, "last_obs": True, "labels": list(labels)}
    if "factors" in flat:
        whole["factor_names"] = list(episodes[0].factor_names)
    whole |= {"counts": count_rows(flat, cut, labels), "sha256": {}}
    _assemble(out, whole, flat, cut, labels)
    files = {EPISODES_FILE: flat, SEGMENTS_FILE: cut} | {comparisons_file(k): v for k, v in labels.items()}
    with new_folder(out) as folder:
        for name, arrays in files.items():
            # Compressed, since most numbers of a simulator's state stay the same through an episode.
            np.savez_compressed(folder / name, **arrays)  # type: ignore[arg-type]
            whole["sha256"][name] = sha256_of(folder / name)
        (folder / META_FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return whole


def _assemble(path: Path, meta: dict[str, Any], flat: Arrays, cut: Arrays, labels: Mapping[str, Arrays]) -> Dataset:
    """The data set of these arrays, each of which is checked."""
    check_meta(meta, path / META_FILE)
    check_episodes(flat, meta, path / EPISODES_FILE)
    store = _store(flat)
    episode_of = check_segments(cut, store, flat["length"], meta, path / SEGMENTS_FILE)
    per_step = sum(flat[name][:1].nbytes for name in PER_STEP if name in flat)
    require_memory(len(cut["ids"]) * meta["segment_length"] * per_step, path / SEGMENTS_FILE)
    for label, arrays in labels.items():
        check_comparisons(arrays, cut, label, path / comparisons_file(label))
    if (counts := count_rows(flat, cut, labels)) != meta["counts"]:
        raise UserError(f"{path / META_FILE}: counts are {meta['counts']}, the arrays have {counts}")
    return Dataset(
        path=path,
        meta=meta,
        episodes=_episodes(flat, tuple(meta.get("factor_names") or ())),
        source=flat["source"],
        segments=store.gather(cut["ids"], meta["segment_length"]),
        episode_of=episode_of,
        split=cut["split"],
        scores={name.removeprefix("score/"): value for name, value in cut.items() if name.startswith("score/")},
        comparisons={label: ComparisonRows(**arrays) for label, arrays in labels.items()},
    )


def _read(file: Path, meta: dict[str, Any]) -> Arrays:
    if (found := sha256_of(file)) != (expected := meta["sha256"].get(file.name)):
        raise UserError(f"{file} has sha256 {found}, {META_FILE} says {expected}; fetch or make it again")
    return read_arrays(file)


def _flat(episodes: Sequence[Episode]) -> Arrays:
    """All episodes one after another, as in an EpisodeStore: L+1 rows each, of actions and rewards the last is 0."""
    arrays: Arrays = {
        "obs": np.concatenate([e.obs for e in episodes]),
        "actions": np.concatenate([_one_more(e.actions) for e in episodes]),
        "true_reward": np.concatenate([_one_more(e.true_reward) for e in episodes]),
        "length": np.array([len(e) for e in episodes], np.int64),
        "terminated": np.array([e.terminated for e in episodes], bool),
        "success": np.array([np.nan if e.success is None else e.success for e in episodes], np.float64),
    }
    states = [e.states for e in episodes if e.states is not None]
    if len(states) == len(episodes):
        arrays["states"] = np.concatenate(states)
    factors = [e.factors for e in episodes if e.factors is not None]
    if len(factors) == len(episodes) and len({e.factor_names for e in episodes}) == 1:
        arrays["factors"] = np.concatenate([_one_more(f) for f in factors])
    return arrays


def _one_more(steps: np.ndarray) -> np.ndarray:
    return np.concatenate([steps, np.zeros_like(steps[:1])])


def _first(length: np.ndarray) -> np.ndarray:
    return np.cumsum(length + 1) - (length + 1)


def _store(flat: Arrays) -> EpisodeStore:
    store = EpisodeStore(len(flat["length"]))
    rows = {f"rows/{name}": flat[name] for name in ("obs", "actions", "true_reward")}
    index = {"first": _first(flat["length"]), "length": flat["length"], "terminated": flat["terminated"]}
    store.load_state_dict(rows | index | {"dropped": np.int64(0)})
    return store


def _episodes(flat: Arrays, factor_names: tuple[str, ...]) -> list[Episode]:
    episodes = []
    for k, (a, n) in enumerate(zip(_first(flat["length"]).tolist(), flat["length"].tolist(), strict=True)):
        success = float(flat["success"][k])
        episodes.append(
            Episode(
                obs=flat["obs"][a : a + n + 1],
                actions=flat["actions"][a : a + n],
                true_reward=flat["true_reward"][a : a + n],
                terminated=bool(flat["terminated"][k]),
                states=flat["states"][a : a + n + 1] if "states" in flat else None,
                success=None if np.isnan(success) else success,
                factors=flat["factors"][a : a + n] if "factors" in flat else None,
                factor_names=factor_names,
            )
        )
    return episodes
