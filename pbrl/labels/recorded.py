"""The source of labels on recorded data: the data set and its videos, beside the label store and in label sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pbrl.data.datasets import Dataset
from pbrl.data.stored_videos import FOLDER
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.reading import read_object

FILE = "recorded.json"  # in the folder of a label store
KEYS = ("data", "videos", "actions")
KEPT = (*KEYS, "env_name", "env", "last_obs")  # of the meta.json of a label set


def describe_source(dataset: Dataset) -> dict[str, Any]:
    """Describe the data set for the meta.json of labels about it: with that, episodes and clips are found again."""
    notes: dict[str, Any] = {"data": {"path": str(dataset.path.resolve()), "sha256": dataset.meta["sha256"]}}
    if (videos := dataset.meta.get("videos")) is not None:
        notes["videos"] = {**videos, "root": videos["root"] or str((dataset.path / FOLDER).resolve())}
    for name in ("env_name", "env", "actions"):
        if dataset.meta.get(name) is not None:
            notes[name] = dataset.meta[name]
    return notes if dataset.meta.get("last_obs", True) else notes | {"last_obs": False}


def write_source(folder: Path, dataset: Dataset) -> None:
    """Note beside a label store which data set its questions are from; rows in `ids` and positions are of that."""
    _write(folder, describe_source(dataset))


def keep_source(folder: Path, meta: Mapping[str, Any]) -> None:
    """Note what the meta.json of a label set says of it."""
    _write(folder, {name: meta[name] for name in KEPT if meta.get(name) is not None})


def read_source(folder: Path) -> dict[str, Any]:
    """Return what was noted, as meta.json of a label set has it; empty where the labels are of a run."""
    file = folder / FILE
    if not file.exists():
        return {}
    found = read_object(file)
    if wrong := [key for key in KEYS if not isinstance(found.get(key, {}), dict)]:
        raise UserError(f"{file}: {wrong[0]} is {found[wrong[0]]!r}, expected an object")
    return found


def require_same_videos(meta: Mapping[str, Any], folder: Path) -> None:
    """Refuse answers whose clips are in other videos than those of the store in this folder."""
    theirs, ours = (source.get("videos") for source in (meta, read_source(folder)))
    if theirs is None and ours is None:
        return
    files = [None if v is None else [(f["path"], f["bytes"]) for f in v["files"]] for v in (theirs, ours)]
    if files[0] != files[1]:
        data = (meta.get("data") or {}).get("path", "recorded videos")
        whose = f"of {data}" if theirs is not None else "drawn from states of a simulator"
        raise UserError(
            f"the clips of the label set are {whose}, and those of {folder} are not; valid are labels of one kind"
        )


def _write(folder: Path, notes: Mapping[str, Any]) -> None:
    with replacing(folder / FILE, private=True) as partial:
        partial.write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
