"""The formats of the field, one module each: any of them that has a `FORMAT` is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pbrl import hdf5
from pbrl.data import table_files
from pbrl.errors import UserError, choices
from pbrl.hdf5 import open_hdf5
from pbrl.reading import read_json, read_text, reading

if TYPE_CHECKING:
    from pbrl.data.formats.reader import Format

VALID = "valid is a file or folder of a format that `pbrl data formats` names"


@cache
def all_formats() -> dict[str, Format]:
    """Return formats by name, in the order of their modules; a format imports its library when it reads."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    formats = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return {found.name: found for found in formats}


def find_format(path: Path, name: str | None) -> Format:
    """Find the format of this name, or without one the only one that the path looks like."""
    formats = all_formats()
    if name is not None:
        if name not in formats:
            raise UserError(f"format={name}: {choices(name, formats)}")
        return formats[name]
    fitting = [known for known in formats.values() if known.is_one(path)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"{path} may be {' or '.join(f.name for f in fitting)}; say which as format={fitting[0].name}")
    if not path.exists():
        raise UserError(f"{path} is missing; {VALID}")
    _refuse_damaged(path)
    raise UserError(f"{path} looks like none of the known formats; say which as format=NAME, {choices('', formats)}")


def _refuse_damaged(path: Path) -> None:
    """Refuse an empty folder, and a file (of a folder the first) that is not what its ending says."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if not files or (path.is_file() and not path.stat().st_size):
        raise UserError(f"{path} is empty; {VALID}")
    if not files[0].is_dir() and (read := READERS.get(files[0].suffix.lower())) is not None:
        read(files[0])


def _open_hdf5(file: Path) -> None:
    with open_hdf5(file):
        pass


def _open_npz(file: Path) -> None:
    with reading(file, "an npz file"), zipfile.ZipFile(file):
        pass


READERS: dict[str, Callable[[Path], object]] = {  # by ending; each refuses what is damaged
    **dict.fromkeys(hdf5.SUFFIXES, _open_hdf5),
    **dict.fromkeys(table_files.SUFFIXES, table_files.table_columns),
    ".npz": _open_npz,
    ".json": read_json,
    ".txt": read_text,
}
