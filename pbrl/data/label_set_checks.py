"""The format of label sets, version 1, and what is checked before one is used; see docs/data-format.md."""

from __future__ import annotations

import json
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from pbrl.data.segment_files import SIDES, Arrays, SegmentPairs
from pbrl.errors import UserError

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
KINDS = {"obs": "fiu", "actions": "f", "mask": "f", "terminated": "f", "true_reward": "f", "ids": "i", "states": "f"}


def format_of(folder: Path) -> str | None:
    """What the directory says it is in meta.json: "pbrl-labels", "pbrl-dataset", or None. It may still be damaged."""
    try:
        meta = json.loads((Path(folder) / META_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta.get("format") if isinstance(meta, dict) else None


def read_meta(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"{file} is missing; valid is a directory that `pbrl labels export` wrote")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error})") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise UserError(f'{file} is not of a label set; valid has "format": "{FORMAT}"')
    if meta.get("version") != VERSION or isinstance(meta["version"], bool):
        raise UserError(f"{file} has version {meta.get('version')!r}, this pbrl reads {VERSION}")
    optional = {name: types for name, types in OPTIONAL_META.items() if name in meta}
    for name, types in (META | optional).items():
        if name not in meta or not isinstance(meta[name], types):
            valid = " or ".join("null" if t is NoneType else t.__name__ for t in types)
            raise UserError(f"{file}: {name} is {meta.get(name, 'missing')!r}, expected {valid}")
    names = meta["annotators"]
    if not names or not all(isinstance(n, str) and n.strip() for n in names) or len(set(names)) < len(names):
        raise UserError(f"{file}: annotators is {names!r}, expected different names, at least one")
    return meta


def check_types(arrays: Arrays, rows: int, where: Path) -> None:
    """Every array has as many rows as there are pairs, and numbers of its kind."""
    for name, dtype in COLUMNS.items():
        if arrays[name].shape != (rows,) or arrays[name].dtype != dtype:
            found = f"{arrays[name].dtype}{arrays[name].shape}"
            raise UserError(f"{where}: {name} is {found}, expected {np.dtype(dtype)}({rows},)")
    for side in SIDES:
        for name, kinds in KINDS.items():
            array = arrays.get(f"{side}/{name}")
            if array is not None and array.dtype.kind not in kinds:
                valid = " or ".join({"f": "float", "i": "int", "u": "unsigned int"}[k] for k in kinds)
                raise UserError(f"{where}: {side}/{name} has dtype {array.dtype}, expected {valid}")
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
        for name in ("obs", "actions", *(["true_reward"] if meta["true_reward"] else [])):
            array = arrays[f"{side}/{name}"]
            refuse(~np.isfinite(array), array, f"{side}/{name}", "finite numbers", where)
    if (counts := count_rows(arrays)) != meta["counts"]:
        raise UserError(f"{where}: rows are {counts}, {META_FILE} says {meta['counts']}")


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


def refuse(wrong: np.ndarray, values: np.ndarray, name: str, valid: str, where: Path) -> None:
    """Names the first value that is wrong."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise UserError(f"{where}: {name}{list(place)} is {values[place]}, expected {valid}")
