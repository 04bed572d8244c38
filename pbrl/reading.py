"""Reading files that others may have written: every file is looked at before it is opened, and every fault is one line.

A pipe or a device hangs whoever opens it, a header can claim more memory than there is, a small archive can unpack to
a large one. What is declared is therefore checked first, and what still fails names the file.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from pbrl.errors import UserError, one_line
from pbrl.memory import free_memory

MAX_TEXT = 64 << 20  # bytes of a JSON, YAML or CSV file; those of a run of weeks have a few
MAX_NODES = 1_000_000  # of a YAML tree with its aliases written out
BOMB_BYTES, BOMB_RATIO = 256 << 20, 500  # above both, what an archive declares is no recording: zeros give 1030
PICKLE = "pickled objects are never loaded"


def require_file(path: Path) -> None:
    """Refuses what is not there, or is no file that can be read to its end: a folder, a pipe, a device, a link loop."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or one_line(error)}") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder, expected a file")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is a pipe, a socket or a device, expected a file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: Permission denied")


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Wrap whatever opens and decodes a file: what fails inside is one line that names it.

    expected: what the file should be, as "an npz file". Decoders fail in ways that they do not document, such as with
    RecursionError, MemoryError, struct.error or zlib.error, so everything is taken for damage.
    """
    require_file(path)
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is damaged or not {expected} ({one_line(error)})") from error


def read_text(path: Path) -> str:
    """Read a text file in UTF-8."""
    with reading(path, "a text file in UTF-8"):
        if (size := path.stat().st_size) > MAX_TEXT:
            raise UserError(f"{path} has {size:,} bytes, expected a text file of at most {MAX_TEXT:,}")
        return path.read_text(encoding="utf-8")


def read_json(path: Path) -> Any:
    text = read_text(path)
    with reading(path, "JSON"):
        return json.loads(text)


def read_object(path: Path) -> dict[str, Any]:
    """Read the object that a JSON file holds."""
    if not isinstance(found := read_json(path), dict):
        raise UserError(f"{path} holds {_excerpt(found)}, expected a JSON object")
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table, each with a value for every column of its first line.

    A last line without its end is left out: it is being written, or was when the process was killed.
    """
    lines = [line for line in read_text(path).splitlines(keepends=True) if line.endswith("\n")]
    if not lines:
        raise UserError(f"{path} is no table: it has no first line with the names of its columns")
    with reading(path, "a CSV file"):
        rows = list(csv.DictReader(lines, strict=True))
    if any(None in row or None in row.values() for row in rows):
        raise UserError(f"{path} has rows of another length than its first line")
    return rows


def find_object(path: Path) -> dict[str, Any] | None:
    """Read the object of a JSON file that may be missing or half written; None then."""
    try:
        return read_object(path)
    except UserError:
        return None


def read_yaml(path: Path) -> Any:
    """Read a YAML file, not yet resolved; return OmegaConf's type for what it holds."""
    from omegaconf import OmegaConf

    text = read_text(path)
    with reading(path, "a YAML file"):
        if "&" in text and _count_nodes(yaml.compose(text, Loader=yaml.SafeLoader), {}) > MAX_NODES:
            raise UserError(f"{path} has aliases that write out to more than {MAX_NODES:,} values")
        return OmegaConf.create(text) if text.strip() else OmegaConf.create()


def sha256_of(path: Path) -> str:
    with reading(path, "a file that can be read"), path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an npz file, numbers or booleans; sizes are compared with what is there before any is read."""
    with reading(path, "an npz file"), zipfile.ZipFile(path) as archive:
        arrays = {}
        for member in _members(archive, path):
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as stream:
                arrays[name] = _read_array(stream, member.file_size, f"{path}: {name}")
        return arrays


def require_archive(path: Path) -> None:
    """Refuses a zip file that no library must open: with a name twice, or more in it than memory has room for."""
    with reading(path, "a zip file"), zipfile.ZipFile(path) as archive:
        _members(archive, path)


def read_array(path: Path) -> np.ndarray:
    """Read the array of a .npy file."""
    with reading(path, "an array file"), path.open("rb") as stream:
        return _read_array(stream, path.stat().st_size, str(path))


def require_memory(needed: int, path: Path) -> None:
    """Refuses to unpack more than the memory that is free."""
    if needed > (free := free_memory()):
        raise UserError(f"{path} would take {needed / 2**30:,.1f} GiB of memory, {free / 2**30:,.1f} are free")


def _read_array(stream: IO[bytes], size: int, where: str) -> np.ndarray:
    """Read an array of numbers or booleans from a stream of `size` bytes in NumPy's format."""
    if size < 10 or stream.read(6) != np.lib.format.MAGIC_PREFIX:
        raise UserError(f"{where} is no array in NumPy's format; {PICKLE}")
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise UserError(f"{where} is an array of format {version}, expected (1, 0) or (2, 0)")
    shape, _, dtype = read_header[version](stream)
    if dtype.hasobject:
        raise UserError(f"{where} holds something else than plain numeric arrays; {PICKLE}")
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or not dtype.isnative:
        raise UserError(f"{where} has dtype {dtype}, expected numbers or booleans, little-endian")
    declared, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or declared != there:
        raise UserError(f"{where} is damaged: its header says {dtype}{shape}, {declared:,} bytes, and {there:,} follow")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """Return what an archive holds, without folders, once its names and declared sizes are checked."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    counts = Counter(member.filename.removesuffix(".npy") for member in members)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError(f"{path} holds {twice[0]!r} twice, expected every name once")
    for member in members:
        _refuse_bomb(member.file_size, member.compress_size, f"{path}: {member.filename!r}")
    require_memory(sum(member.file_size for member in members), path)
    return members


def _refuse_bomb(size: int, packed: int, where: str) -> None:
    if size > BOMB_BYTES and size > BOMB_RATIO * packed:
        raise UserError(f"{where} would unpack from {packed:,} to {size:,} bytes, which no recording does")


def _count_nodes(node: Any, known: dict[int, int]) -> int:
    """Count the values of a YAML tree, those under an alias once for each time that it is named."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES  # until it is counted: a tree that holds itself has no end
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = [n for part in parts for n in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = min(1 + sum(_count_nodes(n, known) for n in flat), 2 * MAX_NODES)
    return known[id(node)]


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
