"""Faults of a disk that is full, read-only or broken, told from mistakes: one line that names it, from any library."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pbrl.errors import EnvError, StorageError

NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
# The words of libraries that raise no such OSError: safetensors, HDF5 and SQLite; NumPy and torch.
WORDS = re.compile(
    r"no space left on device|disk quota exceeded|read-only file ?system|input/output error|file too large"
    r"|database or disk is full|disk i/o error|attempt to write a readonly database",
    re.IGNORECASE,
)
CUT_SHORT = re.compile(r"requested and \d+ written|failed writing file|unexpected pos|iostream error")


@contextmanager
def storing(path: Path, way_on: str = "") -> Iterator[None]:
    """Turn what the disk itself refuses into one line that names the file, or else `path`, and says how to go on."""
    try:
        yield
    except Exception as error:
        problem = storage_problem(error, path)
        if problem is None:
            raise
        raise StorageError(f"{problem}; {way_on}" if way_on else problem) from error


@contextmanager
def silence_threads() -> Iterator[None]:
    """Keep threads that write, as TensorBoard's, from printing such an error: the one they serve raises it again."""
    before = threading.excepthook

    def hook(met: threading.ExceptHookArgs, /) -> None:
        if met.exc_value is None or storage_problem(met.exc_value) is None:
            before(met)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def storage_problem(error: BaseException, path: Path | None = None) -> str | None:
    """Describe a disk that is full, read-only or broken, or a quota used up, in one line; None for any other error.

    path: what was being written, where the error does not say it.
    """
    chain = _chain(error)
    if any(isinstance(one, EnvError) for one in chain):
        return None  # an environment, as a robot, may have such errors of its own
    for one in chain:
        if isinstance(one, StorageError):
            return str(one)
    for one in chain:
        if isinstance(one, OSError) and one.errno in NUMBERS:
            return f"{one.filename or path or 'a file'}: {os.strerror(one.errno)}"
    for one in chain:
        if found := WORDS.search(str(one)):
            return f"{path or 'a file'}: {found[0]}"
        if CUT_SHORT.search(str(one)):
            return f"{path or 'a file'}: only a part could be written; is the disk full?"
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and those that led to it."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return chain
