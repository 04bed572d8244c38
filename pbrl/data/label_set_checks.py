"""The format of label sets, version 1, and what is checked before one is used; see docs/data-format.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from pbrl.data.segment_files import SIDES, Arrays, SegmentPairs, require
from pbrl.errors import UserError, is_name
from pbrl.reading import find_object, read_object

FORMAT = "pbrl-labels"
VERSION = 1
ARRAYS_FILE = "comparisons.npz"
META_FILE = "meta.json"
META: dict[str, tuple[type, ...]] = {
    "env_name": (str, NoneType),
    "env": (dict, NoneType),
    "annotators": (list,),
    "counts": (dict,),
    "sha256": (str,),
    "true_reward": (bool,),
    "created_by": (str,),
}
OPTIONAL_META: dict[str, tuple[type, ...]] = {"last_obs": (bool,)}  # where it is missing it is true
COLUMNS: dict[str, type] = {
    "prefers_right": np.float64,
    "answered": np.bool_,
    "annotator": np.int64,
    "query": np.int64,
    "session": np.int64,
    "env_steps": np.int64,
    "response_s": np.float64,
}


def format_of(folder: Path) -> str | None:
    """What the directory says it is in meta.json: "pbrl-labels", "pbrl-dataset", or None. It may still be damaged."""
    found = find_object(Path(folder) / META_FILE) or {}
    return found["format"] if isinstance(found.get("format"), str) else None


def read_meta(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise UserError(f"{file} is missing; valid is a directory that `pbrl labels export` wrote")
    check_meta(meta := read_object(file), file)
    return meta


def check_meta(meta: dict[str, Any], file: Path) -> None:
    if meta.get("format") != FORMAT:
        raise UserError(f'{file} is not of a label set; valid has "format": "{FORMAT}"')
    if meta.get("version") != VERSION or isinstance(meta["version"], bool):
        raise UserError(f"{file} has version {meta.get('version')!r}, this pbrl reads {VERSION}")
    optional = {name: types for name, types in OPTIONAL_META.items() if name in meta}
    for name, types in (META | optional).items():
        if name not in meta or not isinstance(meta[name], types):
            valid = " or ".join("null" if t is NoneType else t.__name__ for t in types)
            raise UserError(f"{file}: {name} is {meta.get(name, 'missing')!r}, expected {valid}")
    check_names(meta["annotators"], "annotators", file)
    if meta["env_name"] is not None:
        check_names([meta["env_name"]], "env_name", file)


def check_names(names: list[Any], key: str, file: Path) -> None:
    """Names that a table can show, which are not blank and of which each is there once."""
    if not names or not all(map(is_name, names)) or len(set(names)) < len(names):
        raise UserError(f"{file}: {key} is {names!r}, expected different names without control characters")


def check_label_set(arrays: Arrays, meta: dict[str, Any], where: Path) -> SegmentPairs:
    """All that a label set must fulfil, whether it is read or about to be written; returns its pairs."""
    require(arrays, list(COLUMNS), where)
    if not meta["true_reward"]:
        require(arrays, ["left/mask", "right/mask"], where)
        arrays = arrays | {f"{side}/true_reward": np.full(arrays[f"{side}/mask"].shape, np.nan, "f4") for side in SIDES}
    pairs = SegmentPairs.from_arrays(arrays, where)
    check_types(arrays, len(pairs), where)
    check_values(arrays, meta, where)
    check_queries(arrays["query"], arrays["annotator"], pairs, where)
    return pairs


def check_types(arrays: Arrays, rows: int, where: Path) -> None:
    """Every array has as many rows as there are pairs, and numbers of its kind."""
    for name, dtype in COLUMNS.items():
        if arrays[name].shape != (rows,) or arrays[name].dtype != dtype:
            found = f"{arrays[name].dtype}{arrays[name].shape}"
            raise UserError(f"{where}: {name} is {found}, expected {np.dtype(dtype)}({rows},)")
    shapes = {name: [arrays[f"{side}/{name}"].shape for side in SIDES] for name in ("obs", "actions")}
    for name, (left, right) in shapes.items():
        if left != right:
            raise UserError(f"{where}: {name} has shape {left} on the left and {right} on the right, expected the same")


def check_values(arrays: Arrays, meta: dict[str, Any], where: Path) -> None:
    """No number that an algorithm would choke on or that contradicts meta.json."""
    value, answered, who = arrays["prefers_right"], arrays["answered"], arrays["annotator"]
    seconds = arrays["response_s"]
    refuse(answered & ~((value >= 0) & (value <= 1)), value, "prefers_right", "0 to 1 where answered", where)
    refuse(~answered & ~np.isnan(value), value, "prefers_right", "NaN where skipped", where)
    refuse((who < 0) | (who >= len(meta["annotators"])), who, "annotator", "an index into annotators", where)
    refuse(~((seconds >= 0) & np.isfinite(seconds) | np.isnan(seconds)), seconds, "response_s", "from 0 or NaN", where)
    for side in SIDES:
        for name in ("mask", "terminated"):
            array = arrays[f"{side}/{name}"]
            refuse((array != 0) & (array != 1), array, f"{side}/{name}", "0 or 1", where)
        mask, actions = arrays[f"{side}/mask"], arrays[f"{side}/actions"]
        if not mask.shape[1]:
            raise UserError(f"{where}: {side}/mask has shape {mask.shape}, expected segments of at least one step")
        refuse(mask[:, :1] != 1, mask, f"{side}/mask", "1 on the first step: a segment has at least one", where)
        refuse(np.diff(mask, axis=1, prepend=1) > 0, mask, f"{side}/mask", "0 after a 0: padding is at the end", where)
        refuse(~(np.abs(actions) <= 1), actions, f"{side}/actions", "-1 to 1", where)
        require_width(arrays, (f"{side}/obs", f"{side}/actions"), where)
        for name in ("obs", *(["true_reward"] if meta["true_reward"] else [])):
            array = arrays[f"{side}/{name}"]
            refuse(~np.isfinite(array), array, f"{side}/{name}", "finite numbers", where)
        if (states := arrays.get(f"{side}/states")) is not None:
            check_states(states, f"{side}/states", where)
    if (counts := count_rows(arrays)) != meta["counts"]:
        raise UserError(f"{where}: rows are {counts}, {META_FILE} says {meta['counts']}")


def check_states(states: np.ndarray, name: str, where: Path) -> None:
    """NaN stands for what a task does not know yet, as the pendulum's last torque before its first step."""
    refuse(np.isinf(states), states, name, "finite numbers, or NaN where the task knows none yet", where)


def check_queries(query: np.ndarray, annotator: np.ndarray, pairs: SegmentPairs, where: Path) -> None:
    """A query means the same pair in all its rows, and has one answer of each annotator."""
    if len(set(zip(query.tolist(), annotator.tolist(), strict=True))) < len(query):
        raise UserError(f"{where}: an annotator has two answers to one query, expected the one that stands")
    content: dict[int, tuple[str, str]] = {}
    for number, hashes in zip(query.tolist(), pairs.hashes(), strict=True):
        if content.setdefault(number, hashes) != hashes:
            raise UserError(f"{where}: query {number} has different segments in different rows, expected the same")


def count_rows(arrays: Arrays) -> dict[str, int]:
    answered, value = arrays["answered"], arrays["prefers_right"]
    return {
        "answers": len(value),
        "decisive": int((answered & (value != 0.5)).sum()),
        "equal": int((answered & (value == 0.5)).sum()),
        "skipped": int((~answered).sum()),
        "queries": len(np.unique(arrays["query"])),
    }


def count_twins(hashes: Iterable[Sequence[str]]) -> int:
    """How many questions show the same clip more than once, from what `hashes` tells of each."""
    return sum(len(set(items)) < len(items) for items in hashes)


def require_width(arrays: Arrays, names: Sequence[str], where: Path) -> None:
    """Refuses steps of no numbers: there is nothing to learn from them."""
    for name in names:
        if 0 in arrays[name].shape[1:]:
            raise UserError(f"{where}: {name} has shape {arrays[name].shape}, expected at least one number per step")


def refuse(wrong: np.ndarray, values: np.ndarray, name: str, valid: str, where: Path) -> None:
    """Names the first value that is wrong."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise UserError(f"{where}: {name}{list(place)} is {values[place]}, expected {valid}")
