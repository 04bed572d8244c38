"""Pairs of segments on disk: npz files without pickle that are there whole or not at all."""

from __future__ import annotations

import dataclasses
import filecmp
import hashlib
import itertools
import os
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.errors import UserError
from pbrl.files import sync
from pbrl.types import Segments

SEGMENT_ARRAYS = tuple(f.name for f in dataclasses.fields(Segments) if f.name != "factors")  # those are a teacher's
SIDES = ("left", "right")
KINDS = {"obs": "fiu", "actions": "f", "mask": "f", "terminated": "f", "true_reward": "f", "ids": "i", "states": "f"}
KIND_NAMES = {"f": "float", "i": "int", "u": "unsigned int", "b": "bool"}
Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class SegmentPairs:
    """What was shown in N queries, with the simulator states that a clip of it needs, where they are known."""

    left: Segments
    right: Segments
    left_states: np.ndarray | None = None  # (N, T+1, D) float64
    right_states: np.ndarray | None = None  # (N, T+1, D) float64

    def __post_init__(self) -> None:
        n, t = len(self.left), self.left.steps
        for side in SIDES:
            segments, states = getattr(self, side), getattr(self, f"{side}_states")
            if len(segments) != n or segments.steps != t:
                raise ValueError(f"{side} has {len(segments)} segments of {segments.steps} steps, expected {n} of {t}")
            if states is not None and (states.ndim != 3 or states.shape[:2] != (n, t + 1)):
                raise ValueError(f"{side}_states has shape {states.shape}, expected ({n}, {t + 1}, D)")
        if (self.left_states is None) != (self.right_states is None):
            raise ValueError("simulator states are given for one side only, expected both or none")

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, rows: Sequence[int]) -> SegmentPairs:
        left, right = self.left_states, self.right_states
        index = torch.as_tensor(rows, dtype=torch.long)
        return SegmentPairs(
            self.left[index],
            self.right[index],
            None if left is None else left[index.numpy()],
            None if right is None else right[index.numpy()],
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, *O, A): what pairs must have in common to be one batch."""
        return (self.left.steps, *self.left.obs.shape[2:], self.left.actions.shape[-1])

    def hashes(self) -> list[tuple[str, str]]:
        """What tells the content of each pair: a hash of left and one of right."""
        return list(zip(_hashes(self.left), _hashes(self.right), strict=True))

    def to_arrays(self) -> Arrays:
        arrays: Arrays = {}
        for side in SIDES:
            segments, states = getattr(self, side), getattr(self, f"{side}_states")
            arrays |= {f"{side}/{name}": _numpy(getattr(segments, name)) for name in SEGMENT_ARRAYS}
            if states is not None:
                arrays[f"{side}/states"] = np.asarray(states, np.float64)
        return arrays

    @staticmethod
    def from_arrays(arrays: Arrays, where: Path) -> SegmentPairs:
        parts: dict[str, Any] = {f"{side}_states": arrays.get(f"{side}/states") for side in SIDES}
        require(arrays, [f"{side}/{name}" for side in SIDES for name in SEGMENT_ARRAYS], where)
        for side, (name, kinds) in itertools.product(SIDES, KINDS.items()):
            require_kind(arrays.get(f"{side}/{name}"), f"{side}/{name}", kinds, where)
        try:
            for side in SIDES:
                parts[side] = Segments(**{name: torch.from_numpy(arrays[f"{side}/{name}"]) for name in SEGMENT_ARRAYS})
            return SegmentPairs(**parts)
        except (TypeError, ValueError) as error:
            raise UserError(f"{where}: {error}") from None

    @staticmethod
    def cat(parts: Sequence[SegmentPairs]) -> SegmentPairs:
        """One after another; states only where all parts have them."""
        shapes = {p.shape for p in parts}
        if len(shapes) > 1:
            raise UserError(
                f"segments of different shapes (steps, observation, action) cannot be one batch: {sorted(shapes)}; "
                "take those of one shape"
            )
        states = {}
        for side in SIDES:
            known = [s for p in parts if (s := getattr(p, f"{side}_states")) is not None]
            alike = len(known) == len(parts) and len({s.shape[2] for s in known}) == 1
            states[side] = np.concatenate(known) if alike else None
        left, right = (Segments.cat([getattr(p, side) for p in parts]) for side in SIDES)
        both = states["left"] is not None and states["right"] is not None
        return SegmentPairs(left, right, *((states["left"], states["right"]) if both else ()))


def content_hash(hashes: Sequence[tuple[str, str]]) -> str:
    """One hash for the pairs of a session, in order."""
    return hashlib.blake2b(" ".join(left + right for left, right in hashes).encode(), digest_size=16).hexdigest()


def stage(folder: Path, arrays: Arrays) -> Path:
    """Writes the arrays to a temporary file in the folder, through to the disk; `publish` gives it its name."""
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
    """Gives a staged file its name; after a power cut the file has it whole or does not exist."""
    os.replace(staged, path)
    sync(path.parent)


def free_name(run_dir: Path, stem: str, staged: Path, taken: Collection[str]) -> str:
    """A name that no batch has. A file left by a process killed before its commit is reused if equal, else let be."""
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
    """kinds: NumPy's letters of what the numbers may be, as "fiu"."""
    if array is not None and array.dtype.kind not in kinds:
        valid = " or ".join(KIND_NAMES[k] for k in kinds)
        raise UserError(f"{where}: {name} has dtype {array.dtype}, expected {valid}")


def _hashes(segments: Segments) -> list[str]:
    columns = [_numpy(getattr(segments, name)) for name in ("obs", "actions", "mask")]
    shape = " ".join(f"{column.dtype.str}{column.shape[1:]}" for column in columns).encode()
    return [_hash(shape, [column[row] for column in columns]) for row in range(len(segments))]


def _hash(shape: bytes, arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.blake2b(shape, digest_size=16)
    for array in arrays:
        digest.update(array.data)
    return digest.hexdigest()


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
