"""The rows of many episodes, written to the disk as they come and mapped into memory when all are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from pbrl.errors import UserError

Arrays = dict[str, np.ndarray]


class Columns:
    """Arrays that grow by rows, one file each in a folder that the caller removes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}

    def add(self, where: str, rows: Mapping[str, np.ndarray]) -> None:
        """Append rows to every column. UserError: they are of another shape or kind than those before."""
        if self._kinds and rows.keys() != self._kinds.keys():
            name = sorted(rows.keys() ^ self._kinds.keys())[0]
            verb, others = ("has", "have none") if name in rows else ("has no", "have some")
            raise UserError(f"{where} {verb} {name}, and those before it {others}; valid are all or none")
        for name, array in rows.items():
            kind = array.dtype, array.shape[1:]
            if self._kinds.setdefault(name, kind) != kind:
                dtype, shape = self._kinds[name]
                found, before = f"{kind[0]} of shape {kind[1]}", f"{dtype} of shape {shape}"
                raise UserError(f"{where}: {name} are {found}, those before it {before}; expected the same in all")
            if name not in self._files:
                self._files[name] = (self._folder / f"{name}.rows").open("wb")
            self._files[name].write(np.ascontiguousarray(array).data)

    def map(self) -> Arrays:
        """Map all rows into memory: pages that are not in use cost none. Nothing can be added afterwards."""
        for file in self._files.values():
            file.close()
        arrays = {}
        for name, (dtype, shape) in self._kinds.items():
            path = self._folder / f"{name}.rows"
            row = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            size = (path.stat().st_size // row if row else 0, *shape)
            arrays[name] = np.memmap(path, dtype, "r+", shape=size) if size[0] else np.zeros(size, dtype)
        return arrays
