"""A run directory that is copied while it is being written, so that the copy can be gone on with at any moment.

What a run needs to go on is its last checkpoint, and of all else (tables, labels, segments) at least what there was
when that checkpoint was made: those only grow, and a resumed run cuts off what it repeats. So the writer's side reads
the checkpoint first, and the copy gets it last.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from pbrl.errors import UserError
from pbrl.files import replacing, sync

INDEX_HEAD = 48  # bytes
PIECE_BYTES = 32 << 20  # of a message: a checkpoint with its replay buffer can have gigabytes
# Named here once more: the modules that own them import torch, which a process that only copies has no need of.
CHECKPOINTS, POINTER, MANIFEST, SEGMENTS = "checkpoints", "last", "manifest.json", "episodes"
LABELS, SUMMARY, CONFIG, COMMAND = "labels.sqlite", "summary.json", "config.yaml", "command.txt"
TRIES = 100  # a checkpoint is replaced once in seconds at most
Signature = tuple[int, ...]


class Piece(NamedTuple):
    """The next bytes of a file."""

    name: str  # path below the folder
    content: bytes


def read_pieces(folder: Path, names: Iterable[str]) -> Iterator[list[Piece]]:
    """The files in messages of about PIECE_BYTES: small ones together, large ones cut."""
    message, size = [], 0
    for name in names:
        with (folder / name).open("rb") as file:
            first = True
            while (block := file.read(PIECE_BYTES - size)) or first:
                first = False
                message.append(Piece(name, block))
                size += len(block)
                if size >= PIECE_BYTES:
                    yield message
                    message, size = [], 0
    if message:
        yield message


def write_pieces(folder: Path, message: Iterable[Piece]) -> None:
    for name, content in message:
        path = folder / name
        path.parent.mkdir(_mode(name), parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content)


def all_files(folder: Path) -> list[str]:
    """Paths below the folder, in order; what is hidden or still being written beside its place is none."""
    found = (Path(base, n) for base, _, names in os.walk(folder) for n in names if not n.startswith("."))
    return sorted(path.relative_to(folder).as_posix() for path in found if ".partial" not in path.name)


class Source:
    """The folder of a run that may be running, of which each `stage` takes what changed since the one before."""

    def __init__(self, folder: Path, known: bool = False) -> None:
        """known: the other side has what is in the folder now."""
        self.folder = folder
        self._step = ""  # of the checkpoint that the other side goes on from
        self._sent: dict[str, Signature] = {}
        if known:
            self._sent = self._sign(all_files(folder))
            if (pointer := folder / CHECKPOINTS / POINTER).exists():
                self._step = pointer.read_text().strip()

    def stage(self, staging: Path, ended: bool) -> tuple[list[str], list[str]]:
        """Fills the new folder `staging` with files of one state; what is in it, and what is no longer in the run's.

        ended: nobody writes any more. The summary goes only then: it says of all other files that they are final.
        """
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(0o700, parents=True)
        self._stage_checkpoint(staging)
        self._stage_changed([LABELS], staging)
        # Listed after the labels were read: segments are there before the labels that name them.
        self._stage_changed([name for name in self._names() if ended or name != SUMMARY], staging)
        current = f"{CHECKPOINTS}/{self._step}/"  # may be gone by now, but nothing newer has been taken yet
        kept = (current, f"{CHECKPOINTS}/{POINTER}")
        removed = [n for n in self._sent if not n.startswith(kept) and not (self.folder / n).exists()]
        self._sent = {name: signature for name, signature in self._sent.items() if name not in removed}
        return all_files(staging), removed

    def _names(self) -> list[str]:
        """All but the checkpoints and the files of the label store."""
        apart = (LABELS, f"{LABELS}-wal", f"{LABELS}-shm")
        return [n for n in all_files(self.folder) if n not in apart and not n.startswith(f"{CHECKPOINTS}/")]

    def _sign(self, names: Iterable[str]) -> dict[str, Signature]:
        """Of each file that is there, what changes when it does."""
        signatures = {}
        for name in names:
            with suppress(FileNotFoundError):
                stats = [(self.folder / name).stat()]
                counted = b""
                if name == LABELS and (log := self.folder / f"{LABELS}-wal").exists():
                    stats.append(log.stat())
                    # SQLite writes its log over from the start, so that an answer may change neither its size nor its
                    # coarse time; the head of the index to it counts transactions (sqlite.org/walformat.html).
                    with suppress(FileNotFoundError), (self.folder / f"{LABELS}-shm").open("rb") as index:
                        counted = index.read(INDEX_HEAD)
                told = (n for stat in stats for n in (stat.st_ino, stat.st_size, stat.st_mtime_ns))
                signatures[name] = (*told, *counted)
        return signatures

    def _stage_changed(self, names: list[str], staging: Path) -> None:
        for name, signature in self._sign(names).items():  # of before: what is written meanwhile goes next time
            if self._sent.get(name) != signature:
                with suppress(FileNotFoundError):
                    _copy(self.folder / name, staging / name)
                    self._sent[name] = signature

    def _stage_checkpoint(self, staging: Path) -> None:
        """The one that is pointed to, as links: its files never change, but a newer one makes them vanish."""
        pointer = self.folder / CHECKPOINTS / POINTER
        for _ in range(TRIES):
            if not pointer.exists():
                return
            step = pointer.read_text(errors="replace").strip()
            checkpoint = self.folder / CHECKPOINTS / step
            with suppress(OSError, ValueError):
                identity = checkpoint.stat().st_ino
                names = [MANIFEST, *json.loads((checkpoint / MANIFEST).read_text())]
                signatures = self._sign(f"{CHECKPOINTS}/{step}/{name}" for name in names)
                if any(self._sent.get(name) != signature for name, signature in signatures.items()):
                    for name in signatures:
                        _link(self.folder / name, staging / name)
                    (staging / CHECKPOINTS / POINTER).write_text(f"{step}\n")
                if len(signatures) == len(names) and checkpoint.stat().st_ino == identity:
                    self._sent |= signatures
                    self._step = step
                    return
            shutil.rmtree(staging / CHECKPOINTS, ignore_errors=True)
        raise UserError(f"{pointer} names {step!r}, which is not a whole checkpoint")


def adopt(incoming: Path, folder: Path, removed: Iterable[str]) -> None:
    """Moves what was staged into the copy. A kill at any moment leaves one that can be gone on with."""
    names = all_files(incoming)
    for name in names:
        sync(incoming / name)
    late = (LABELS, SUMMARY)
    for name in names:
        if name not in late and not name.startswith(f"{CHECKPOINTS}/"):
            _move(incoming / name, folder / name)
    if LABELS in names:
        _copy_database(incoming / LABELS, folder / LABELS)
    _adopt_checkpoint(incoming / CHECKPOINTS, folder / CHECKPOINTS)
    for name in removed:
        (folder / name).unlink(missing_ok=True)
        if name.startswith(f"{CHECKPOINTS}/") and not any((folder / name).parent.glob("*")):
            shutil.rmtree((folder / name).parent, ignore_errors=True)
    if SUMMARY in names:
        sync(folder)
        _move(incoming / SUMMARY, folder / SUMMARY)
    shutil.rmtree(incoming)


def relocate(folder: Path, run_dir: str, data: str | None, config_dir: str | None) -> None:
    """Makes the copied config and command in `folder` name where run and data are for those who read them next."""
    from omegaconf import OmegaConf

    if (path := folder / CONFIG).exists():
        config = OmegaConf.load(path)
        config.run_dir = run_dir
        if data is not None:
            config.data = data
        with replacing(path) as partial:
            OmegaConf.save(config, partial)
    if (path := folder / COMMAND).exists():
        words = shlex.split(path.read_text())
        named = {"run_dir": run_dir, "data": data}
        for i, word in enumerate(words):
            key = word.split("=", 1)[0]
            if "=" in word and named.get(key) is not None:
                words[i] = f"{key}={named[key]}"
            if i and words[i - 1] == "--config-dir" and config_dir is not None:
                words[i] = config_dir
        path.write_text(shlex.join(words) + "\n")


def _adopt_checkpoint(incoming: Path, folder: Path) -> None:
    """As `Checkpoints.save` does: a folder that is whole, then the pointer to it."""
    if not (incoming / POINTER).exists():
        return
    step = (incoming / POINTER).read_text().strip()
    folder.mkdir(0o700, parents=True, exist_ok=True)
    shutil.rmtree(folder / step, ignore_errors=True)
    (incoming / step).rename(folder / step)
    sync(folder)
    _move(incoming / POINTER, folder / POINTER)
    sync(folder)


def _mode(name: str) -> int:
    """Of the folder that a file of a run is in: answers and what was shown are for the owner alone."""
    return 0o700 if name.split("/")[0] in (CHECKPOINTS, SEGMENTS) else 0o777


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(_mode(f"{target.parent.name}/"), parents=True, exist_ok=True)
    source.replace(target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.name == LABELS:
        _copy_database(source, target)
    else:
        shutil.copyfile(source, target)


def _copy_database(source: Path, target: Path) -> None:
    """Of one moment, with what is in the write-ahead log of either; readers and writers of both may go on."""
    target.touch(0o600)
    with closing(sqlite3.connect(source, timeout=60)) as old, closing(sqlite3.connect(target, timeout=60)) as new:
        old.backup(new)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)
