"""The segments of questions on disk: npz files without pickle that are there whole or not at all."""

from __future__ import annotations

import dataclasses
import filecmp
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.errors import UserError
from pbrl.files import sync
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Form, Question
from pbrl.types import OVERALL, Segments

SEGMENT_ARRAYS = tuple(f.name for f in dataclasses.fields(Segments) if f.name != "factors")  # those are a teacher's
SIDES = ("left", "right")
PAIRS = Form(SegmentPair.kind, 2, OVERALL)  # what is asked unless something else is said
KINDS = {"obs": "fiu", "actions": "f", "mask": "f", "terminated": "f", "true_reward": "f", "ids": "i", "states": "f"}
KIND_NAMES = {"f": "float", "i": "int", "u": "unsigned int", "b": "bool"}
Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]


SegmentPairs = SegmentPair  # the name it has where pairs are the only kind


def to_arrays(questions: Question) -> Arrays:
    """Return the arrays of each item under its place, as they are written to a file."""
    arrays: Arrays = {}
    places = questions.places(len(questions.items))
    for place, segments in zip(places, questions.items, strict=True):
        arrays |= {f"{place}/{name}": _numpy(getattr(segments, name)) for name in SEGMENT_ARRAYS}
    for place, states in zip(places, questions.item_states or (), strict=False):
        arrays[f"{place}/states"] = np.asarray(states, np.float64)
    return arrays


def from_arrays(arrays: Arrays, form: Form, where: Path) -> Question:
    """Read questions of a form; anything wrong with the arrays is one line."""
    places = form.type.places(form.items)
    require(arrays, [f"{place}/{name}" for place in places for name in SEGMENT_ARRAYS], where)
    for place, (name, kinds) in itertools.product(places, KINDS.items()):
        require_kind(arrays.get(f"{place}/{name}"), f"{place}/{name}", kinds, where)
    states: Any = tuple(arrays.get(f"{place}/states") for place in places)
    try:
        items = [
            Segments(**{name: torch.from_numpy(arrays[f"{place}/{name}"]) for name in SEGMENT_ARRAYS})
            for place in places
        ]
        known = any(s is not None for s in states)
        return form.type.of(items, states if known else None, criterion=form.criterion, **json.loads(form.details))
    except (TypeError, ValueError, UserError) as error:
        raise UserError(f"{where}: {error}") from None


def content_hash(hashes: Sequence[tuple[str, ...]], form: Form) -> str:
    """Hash the questions of a session, in order, and what they ask unless it is the usual."""
    asked = "" if form == PAIRS else f"{json.dumps(form)} "
    text = asked + " ".join("".join(items) for items in hashes)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stage(folder: Path, arrays: Arrays) -> Path:
    """Write the arrays to a temporary file in the folder, through to the disk; `publish` gives it its name."""
    if not folder.is_dir():
        folder.mkdir(0o700, parents=True, exist_ok=True)
        sync(folder.parent)
    handle, name = tempfile.mkstemp(prefix=".staged_", suffix=".tmp", dir=folder)  # for the owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def publish(staged: Path, path: Path) -> None:
    """Give a staged file its name; after a power cut the file has it whole or does not exist."""
    os.replace(staged, path)
    sync(path.parent)


def free_name(run_dir: Path, stem: str, staged: Path, taken: Collection[str]) -> str:
    """Find a name that no batch has. A file that a killed process left is reused if equal, else let be."""
    for number in itertools.count(1):
        name = f"{stem}.npz" if number == 1 else f"{stem}_{number}.npz"
        path = run_dir / name
        if name not in taken and (not path.exists() or filecmp.cmp(staged, path, shallow=False)):
            break
    return name


def require(arrays: Arrays, names: Sequence[str], where: Path) -> None:
    if missing := [name for name in names if name not in arrays]:
        raise UserError(f"{where}: {', '.join(missing)} missing; it has {', '.join(sorted(arrays)) or 'no arrays'}")


def require_kind(array: np.ndarray | None, name: str, kinds: str, where: Path) -> None:
    """Refuse an array of another kind. kinds: NumPy's letters of what the numbers may be, as "fiu"."""
    if array is not None and array.dtype.kind not in kinds:
        valid = " or ".join(KIND_NAMES[k] for k in kinds)
        raise UserError(f"{where}: {name} has dtype {array.dtype}, expected {valid}")


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
