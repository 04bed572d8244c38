"""HDF5 files of others: numbers that lie in the file itself, read after their size was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.errors import UserError
from pbrl.install import install_extra
from pbrl.reading import reading, require_memory

SUFFIXES = (".hdf5", ".h5", ".hdf")


@contextmanager
def open_hdf5(file: Path) -> Iterator[Any]:
    """Yield the open file, an `h5py.File`; what fails inside is one line that names it."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{file} needs the package h5py ({error}); install it with: {install_extra('data')}") from error
    with reading(file, "an HDF5 file"), h5py.File(file, "r") as content:
        yield content


def find_array(group: Any, name: str, file: Path) -> Any:
    """Return the `h5py.Dataset` of this path below the group.

    UserError where it is missing, is of no numbers or booleans, or does not lie in this very file.
    """
    import h5py

    where = f"{file}: {group.name.rstrip('/')}/{name}"
    if name not in group:
        raise UserError(f"{where} is missing; there are {', '.join(list_arrays(group)[:20]) or 'no arrays'}")
    folder, last = group, name
    while "/" in last:
        first, last = last.split("/", 1)
        if not isinstance(folder.get(first, getlink=True), h5py.HardLink):
            raise UserError(f"{where} is no array of this file")
        folder = folder[first]
    link, found = folder.get(last, getlink=True), folder.get(last)
    if not isinstance(link, h5py.HardLink) or not isinstance(found, h5py.Dataset) or found.is_virtual:
        raise UserError(f"{where} is no array of this file")
    if found.dtype.kind not in "fiub" or found.dtype.itemsize > 8:
        raise UserError(f"{where} has dtype {found.dtype}, expected numbers or booleans")
    return found


def read_rows(group: Any, name: str, file: Path, rows: slice = slice(None)) -> np.ndarray:
    """Numbers of an array, all of it or some rows of its first dimension."""
    found = find_array(group, name, file)
    n = len(range(*rows.indices(len(found)))) if found.ndim else 1
    require_memory(n * int(np.prod(found.shape[1:])) * found.dtype.itemsize, file)
    return np.asarray(found[rows] if found.ndim else found[()])


def list_arrays(group: Any) -> list[str]:
    """Paths of the arrays below a group, in the order of their names; links to elsewhere are not followed."""
    import h5py

    found = []
    for name in sorted(group):
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            below = group[name]
            found += [f"{name}/{path}" for path in list_arrays(below)] if isinstance(below, h5py.Group) else [name]
    return found
