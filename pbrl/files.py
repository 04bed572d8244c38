"""Writing files so that a reader, or a power cut, finds the old one or the new one, never half of it.

What others must read, as models and reports, gets the mode that the umask gives; what is private, as answers of people
and the segments that they were shown, is for the owner alone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pbrl.errors import UserError
from pbrl.storage import storing

LOCK = ".lock"  # of folders that one process at a time may write to
SHORT = 50  # letters of a name that may grow a prefix and a suffix: file systems take 255 bytes
HOME = re.compile(r"(^|[,:])(~[^/,:]*)(?=[/,]|$)")


def expand_home(text: str) -> str:
    """Expand ~ to the home folder in a path, or several with commas between, as a shell would have done."""
    return HOME.sub(lambda match: match[1] + os.path.expanduser(match[2]), text)


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the name of `path` if the block ends well, and else vanishes."""
    # Keep the suffix, since SB3 adds its own to names without it.
    partial = path.with_name(f".{path.stem[:SHORT]}.partial{path.suffix}")
    try:
        with storing(path):
            partial.unlink(missing_ok=True)
            partial.touch(0o600 if private else 0o666)
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # safetensors makes its files private
            sync(partial)
            partial.replace(path)
            sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def no_folder(path: Path) -> str:
    """Return what to say of a path that should be a folder, and is none."""
    if os.path.exists(path):
        return f"it is a {'file' if os.path.isfile(path) else 'device, a pipe or a socket'}, expected a folder"
    return "it is a link to nothing, expected a folder" if os.path.lexists(path) else "there is no such folder"


def require_new(out: Path) -> None:
    """Refuses a folder that is there already, or that could not be made: before an hour of work is spent on it."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists and is not overwritten; valid is a path where there is nothing yet")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{out} cannot be made: {parent} is not a folder that can be written to")


@contextmanager
def new_folder(out: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a folder to fill; it takes the name `out` when the block ends well, and vanishes when it does not."""
    require_new(out)
    folder = out.parent / f".{out.name[:SHORT]}_{secrets.token_hex(4)}"
    with folder_if_all_goes_well(out.parent):
        try:
            with storing(out):
                folder.mkdir(0o700 if private else 0o777)
                mode = folder.stat().st_mode & 0o666
                yield folder
                for file in folder.iterdir():
                    if file.is_file():
                        file.chmod(mode)
                    sync(file)
                folder.rename(out)
                sync(out.parent)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def make_folder(path: Path) -> list[Path]:
    """Makes a folder with its parents; returns those that were not there, the innermost first. OSError leaves none."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those that are there and hold nothing, or nothing but a lock."""
    for folder in folders:
        with suppress(OSError):
            if os.listdir(folder) == [LOCK]:
                (folder / LOCK).unlink()
            folder.rmdir()


@contextmanager
def folder_if_all_goes_well(path: Path) -> Iterator[None]:
    """Make a folder, its parents included; if the block fails, those that are new and stay empty go again."""
    made = make_folder(path)
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """Yield a folder for what is on its way to `out`, on the same disk; it vanishes when the block ends."""
    with folder_if_all_goes_well(out.parent), storing(out):
        prefix = f".{out.name[:SHORT]}_rows_"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def sync(path: Path) -> None:
    """Bring this file, or the names in this folder, onto the disk before this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
