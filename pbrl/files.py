"""Writing files so that a reader, or a power cut, finds the old one or the new one, never half of it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pbrl.errors import UserError

HOME = re.compile(r"(^|[,:])(~[^/,:]*)(?=[/,]|$)")


def expand_home(text: str) -> str:
    """A path, or several with commas between, in which ~ is the home folder, as a shell would have made it."""
    return HOME.sub(lambda match: match[1] + os.path.expanduser(match[2]), text)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the name of `path` when the block ends well."""
    # The suffix stays: SB3 adds its own to names without it.
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    yield partial
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def require_new(out: Path) -> None:
    """Refuses a folder that is there already, or that could not be made: before an hour of work is spent on it."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists and is not overwritten; valid is a path where there is nothing yet")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{out} cannot be made: {parent} is not a folder that can be written to")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill; it takes the name `out` when the block ends well, and vanishes when it does not."""
    require_new(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}_", dir=out.parent))
    try:
        yield folder
        for file in folder.iterdir():
            sync(file)
        folder.chmod(0o755)  # mkdtemp hides it from the other users of a shared disk
        folder.rename(out)
        sync(out.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """What was written to this file, or the names in this folder, is on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
