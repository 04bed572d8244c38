"""The format of offline data sets, version 2, and the checks before one is used; see docs/data-format.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from pbrl.data.episodes import EpisodeStore
from pbrl.errors import UserError, choices
from pbrl.labels.segment_files import KIND_NAMES, Arrays, require
from pbrl.labels.set_checks import check_names, check_states, refuse, refuse_rows, require_width
from pbrl.reading import read_object

FORMAT = "pbrl-dataset"
VERSION = 2  # 1 had no unknown rewards, scaled actions and videos
META_FILE = "meta.json"
EPISODES_FILE = "episodes.npz"
SEGMENTS_FILE = "segments.npz"
NAMES_FILE = "episodes.csv"  # of imported ones: what the file calls each, and its task in words
SPLITS = ("train", "validation", "test")
SCORES = ("return", "regret_mc", "regret_critic", "expert_likelihood", "critic_likelihood")
OF_CRITIC = ("regret_critic", "critic_likelihood")
LIKELIHOOD = {"regret_mc": "expert_likelihood", "regret_critic": "critic_likelihood"}  # of the same expert's actions
META: dict[str, tuple[type, ...]] = {
    "created_by": (str,),
    "env_name": (str, NoneType),
    "env": (dict, NoneType),
    "segment_length": (int,),
    "sources": (list,),
    "teacher": (dict, NoneType),
    "command": (str,),
    "labels": (list,),
    "counts": (dict,),
    "sha256": (dict,),
    "last_obs": (bool,),
}
OPTIONAL_META: dict[str, tuple[type, ...]] = {"true_reward": (bool,), "actions": (dict,), "videos": (dict,)}
EPISODES = {  # dtype kinds and dimensions; obs may be images
    "obs": ("fu", None),
    "actions": ("f", 2),
    "true_reward": ("f", 1),
    "length": ("i", 1),
    "terminated": ("b", 1),
    "success": ("f", 1),
    "source": ("i", 1),
}
PER_STEP = ("obs", "actions", "true_reward", "states", "factors")
COMPARISONS = {"left": ("i", 1), "right": ("i", 1), "prefers_right": ("f", 1), "answered": ("b", 1)}


def comparisons_file(label: str) -> str:
    return f"comparisons_{label}.npz"


def read_meta(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise UserError(f"{file} is missing; valid is a directory that `pbrl collect` or `pbrl data import` wrote")
    check_meta(meta := read_object(file), file)
    return meta


def check_meta(meta: dict[str, Any], file: Path) -> None:
    if meta.get("format") != FORMAT:
        raise UserError(f'{file} is not of a data set; valid has "format": "{FORMAT}"')
    if meta.get("version") not in (1, VERSION) or isinstance(meta["version"], bool):
        raise UserError(f"{file} has version {meta.get('version')!r}, this pbrl reads 1 to {VERSION}; update pbrl")
    for name, types in (META | {k: v for k, v in OPTIONAL_META.items() if k in meta}).items():
        if name not in meta or not isinstance(meta[name], types):
            valid = " or ".join("null" if t is NoneType else t.__name__ for t in types)
            raise UserError(f"{file}: {name} is {meta.get(name, 'missing')!r}, expected {valid}")
    if isinstance(meta["segment_length"], bool) or not 1 <= meta["segment_length"] < 1 << 31:
        raise UserError(f"{file}: segment_length is {meta['segment_length']!r}, expected at least 1, and below 2^31")
    check_names(meta["sources"], "sources", file)
    if meta["env_name"] is not None:
        check_names([meta["env_name"]], "env_name", file)
    if factors := meta.get("factor_names"):
        check_names(factors if isinstance(factors, list) else [factors], "factor_names", file)
    labels = meta["labels"]
    if any(label not in SCORES for label in labels) or len(set(labels)) < len(labels):
        raise UserError(f"{file}: labels is {labels!r}, valid are different ones of {', '.join(SCORES)}")


def check_episodes(arrays: Arrays, meta: dict[str, Any], where: Path) -> None:
    """Refuse episodes without steps, whose rows do not fill the arrays, or with numbers that no algorithm can use."""
    known = meta.get("true_reward", True)
    _check_kinds(arrays, EPISODES if known else {k: v for k, v in EPISODES.items() if k != "true_reward"}, where)
    length = arrays["length"]
    if not len(length):
        raise UserError(f"{where}: length is empty, expected at least one episode")
    if arrays["obs"].ndim < 2:
        raise UserError(f"{where}: obs has shape {arrays['obs'].shape}, expected (rows, O) or (rows, H, W, C)")
    rows = len(arrays["obs"])
    refuse((length < 1) | (length >= rows), length, "length", f"at least 1, and below the {rows} rows of obs", where)
    if "states" in arrays and (arrays["states"].ndim != 2 or arrays["states"].dtype != np.float64):
        found = f"{arrays['states'].dtype}{arrays['states'].shape}"
        raise UserError(f"{where}: states is {found}, expected float64 of (rows, D)")
    names = meta.get("factor_names") or []
    if "factors" in arrays and (arrays["factors"].ndim != 2 or arrays["factors"].shape[1] != len(names)):
        raise UserError(f"{where}: factors has shape {arrays['factors'].shape}, expected (rows, {len(names)}): {names}")
    _check_rows(arrays, [n for n in PER_STEP if n in arrays], int((length + 1).sum()), "length + 1 of all", where)
    _check_rows(arrays, ["terminated", "success", "source"], len(length), "length", where)
    require_width(arrays, ("obs", "actions"), where)
    for name in ("obs", *(["true_reward"] if known else []), *(["factors"] if "factors" in arrays else [])):
        refuse_rows(lambda rows: ~np.isfinite(rows), arrays[name], name, "finite numbers", where)
    if "states" in arrays:
        check_states(arrays["states"], "states", where)
    refuse_rows(lambda rows: ~(np.abs(rows) <= 1), arrays["actions"], "actions", "-1 to 1", where)
    success, source = arrays["success"], arrays["source"]
    refuse(~((success >= 0) & (success <= 1) | np.isnan(success)), success, "success", "0 to 1, or NaN", where)
    refuse((source < 0) | (source >= len(meta["sources"])), source, "source", "an index into sources", where)


def check_segments(
    arrays: Arrays, store: EpisodeStore, length: np.ndarray, meta: dict[str, Any], where: Path
) -> np.ndarray:
    """Refuse segments outside their episodes, and episodes in two splits; return the episode (N,) of each segment."""
    names = [name for name in arrays if name.startswith("score/")]
    _check_kinds(arrays, {"ids": ("i", 1), "split": ("i", 1)} | dict.fromkeys(names, ("f", 1)), where)
    ids, split = arrays["ids"], arrays["split"]
    _check_rows(arrays, ["split", *names], len(ids), "ids", where)
    first = np.cumsum(length + 1) - (length + 1)
    episode_of = np.searchsorted(first, ids, side="right") - 1
    room = store.count_starts(meta["segment_length"], len(length))[episode_of]
    valid = f"the row of an episode from which {meta['segment_length']} steps follow"
    refuse((ids < 0) | (ids - first[episode_of] >= room), ids, "ids", valid, where)
    refuse((split < 0) | (split >= len(SPLITS)), split, "split", f"an index into {SPLITS}", where)
    of_episode = np.full(len(length), -1)
    of_episode[episode_of] = split
    refuse(of_episode[episode_of] != split, split, "split", "one split for all segments of an episode", where)
    for name in names:
        if (score := name.removeprefix("score/")) not in SCORES:
            raise UserError(f"{where}: there is a score {score!r}, {choices(score, SCORES)}")
        refuse(~np.isfinite(arrays[name]), arrays[name], name, "finite numbers", where)
    return episode_of


def check_comparisons(arrays: Arrays, segments: Arrays, label: str, where: Path) -> None:
    """Refuse pairs that are not of two segments of one split, by a score that the segments have."""
    _check_kinds(arrays, COMPARISONS, where)
    left, right, value, answered = (arrays[name] for name in COMPARISONS)
    _check_rows(arrays, ["right", "prefers_right", "answered"], len(left), "left", where)
    n, split = len(segments["ids"]), segments["split"]
    for name in ("left", "right"):
        refuse((arrays[name] < 0) | (arrays[name] >= n), arrays[name], name, f"a segment, 0 to {n - 1}", where)
    ids = segments["ids"]
    refuse((left == right) | (ids[left] == ids[right]), right, "right", "another segment than left", where)
    refuse(split[left] != split[right], right, "right", "a segment of the same split as left", where)
    refuse(answered & ~((value >= 0) & (value <= 1)), value, "prefers_right", "0 to 1 where answered", where)
    refuse(~answered & ~np.isnan(value), value, "prefers_right", "NaN where skipped", where)
    if f"score/{label}" not in segments:
        raise UserError(f"{where}: there is no score {label} for its segments, so what it judged is unknown")


def count_rows(episodes: Arrays, segments: Arrays, comparisons: Mapping[str, Arrays]) -> dict[str, Any]:
    split = segments["split"]
    return {
        "episodes": len(episodes["length"]),
        "steps": int(episodes["length"].sum()),
        "segments": _by_split(split),
        "comparisons": {label: _by_split(split[arrays["left"]]) for label, arrays in comparisons.items()},
    }


def _by_split(split: np.ndarray) -> dict[str, int]:
    return {name: int((split == number).sum()) for number, name in enumerate(SPLITS)}


def _check_kinds(arrays: Arrays, expected: Mapping[str, tuple[str, int | None]], where: Path) -> None:
    require(arrays, list(expected), where)
    for name, (kinds, dimensions) in expected.items():
        array = arrays[name]
        if array.dtype.kind not in kinds or dimensions not in (None, array.ndim):
            valid = " or ".join(KIND_NAMES[k] for k in kinds)
            size = "" if dimensions is None else f" of {dimensions} dimension" + "s" * (dimensions > 1)
            raise UserError(f"{where}: {name} is {array.dtype}{array.shape}, expected {valid}{size}")


def _check_rows(arrays: Arrays, names: list[str], rows: int, like: str, where: Path) -> None:
    for name in names:
        if len(arrays[name]) != rows:
            raise UserError(f"{where}: {name} has {len(arrays[name])} rows, expected {rows}, as {like}")
