"""Append-only rows on disk: in pieces, of which a checkpoint shares with the one before what has not changed.

The pieces of rows are a few MiB each and end at the same row numbers whenever they are written. All but the last never
change again, so a checkpoint has hard links to those that the one before has written: it is whole by itself, and goes
when its folder goes. Where the file system has no hard links, pieces are written anew.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.append_only import AppendOnly
from pbrl.reading import read_object, reading

INDEX = "rows.json"
PIECE_BYTES = 2**22


@dataclass(frozen=True)
class Piece:
    file: str
    begin: int  # numbers of its rows
    end: int
    bytes: int
    crc32: int


@dataclass(frozen=True)
class Stored:
    """The place where the rows of one node of the tree lie."""

    dtype: str
    shape: list[int]  # of a row
    first: int
    start: int
    pieces: list[Piece]


class Shards:
    """Writes the rows of each checkpoint, knowing the pieces of the last one that was written or read."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._stored: dict[str, Stored] = {}

    def write(self, folder: Path, columns: Mapping[str, AppendOnly]) -> dict[str, Stored]:
        """Fill a new folder; hand what this returns to `follow` once that folder is in force."""
        stored = {}
        for number, (place, rows) in enumerate(columns.items()):
            known = {(p.begin, p.end): p for p in self._known(place, rows)}
            pieces = []
            for begin, end in _cuts(rows):
                piece = known.get((begin, end))
                if piece is None or not self._link(piece, folder / _name(number, begin)):
                    pieces.append(_write(folder, _name(number, begin), rows.rows(begin, end), begin))
                else:
                    pieces.append(Piece(_name(number, begin), begin, end, piece.bytes, piece.crc32))
            shape = list(rows.array.shape[1:])
            stored[place] = Stored(rows.array.dtype.str, shape, rows.first, rows.start, pieces)
        if stored:
            (folder / INDEX).write_text(json.dumps({place: asdict(s) for place, s in stored.items()}))
        return stored

    def read(self, folder: Path) -> dict[str, AppendOnly]:
        """Read all rows in a folder whose files are known to be intact; nothing where it has none."""
        if not (folder / INDEX).exists():
            return {}
        found: dict[str, Any] = read_object(folder / INDEX)
        with reading(folder / INDEX, "an index of rows"):
            stored = {k: Stored(**{**v, "pieces": [Piece(**p) for p in v["pieces"]]}) for k, v in found.items()}
        rows = {place: _read(folder, s) for place, s in stored.items()}
        self.follow(folder, stored)
        return rows

    def follow(self, folder: Path, stored: dict[str, Stored]) -> None:
        """Let the next checkpoint link to the pieces in this folder."""
        self._folder, self._stored = folder, stored

    def _known(self, place: str, rows: AppendOnly) -> list[Piece]:
        stored = self._stored.get(place)
        same = stored is not None and (stored.dtype, stored.shape) == (rows.array.dtype.str, [*rows.array.shape[1:]])
        return stored.pieces if stored is not None and same else []

    def _link(self, piece: Piece, target: Path) -> bool:
        assert self._folder is not None
        try:
            os.link(self._folder / piece.file, target)
        except OSError:  # no hard links here, or somebody has removed the folder
            return False
        return True


def described(stored: Mapping[str, Stored]) -> dict[str, dict[str, int]]:
    """Return what a manifest says of the pieces, which need not be read for it."""
    return {p.file: {"bytes": p.bytes, "crc32": p.crc32} for s in stored.values() for p in s.pieces}


def _cuts(rows: AppendOnly) -> list[tuple[int, int]]:
    """Return where pieces begin and end; the first may have lost its oldest rows, and the last grows."""
    size = max(1, PIECE_BYTES // max(1, rows.array[:1].nbytes))
    inner = range(rows.first - rows.first % size + size, rows.end, size)
    ends = [*inner, rows.end]
    return list(zip([rows.first, *inner], ends, strict=True))


def _name(number: int, begin: int) -> str:
    return f"rows_{number}_{begin}.bin"


def _write(folder: Path, name: str, array: np.ndarray, begin: int) -> Piece:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    (folder / name).write_bytes(content)
    return Piece(name, begin, begin + len(array), len(content), zlib.crc32(content))


def _read(folder: Path, stored: Stored) -> AppendOnly:
    rows = []
    for piece in stored.pieces:
        with reading(folder / piece.file, "rows of a checkpoint"):
            raw = np.fromfile(folder / piece.file, np.dtype(stored.dtype))
            rows.append(raw.reshape(piece.end - piece.begin, *stored.shape))
    array = np.concatenate(rows)
    return AppendOnly(np.roll(array, stored.start, axis=0) if stored.start else array, stored.first, stored.start)
