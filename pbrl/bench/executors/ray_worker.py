"""The far side of the Ray executor: a run in a temporary folder of its node, handed back piece by piece."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from filelock import FileLock, Timeout

from pbrl.bench.executors.code_facts import code_facts, differences
from pbrl.bench.executors.mirror import Piece, Source, read_pieces, relocate, write_pieces
from pbrl.bench.jobs import Job, attempt
from pbrl.errors import UserError

FETCH_S = 600.0  # in which another node or process must hand over what it has
UNUSED_S = 7 * 24 * 3600  # after which a node's copy of a data set is removed


@dataclass(frozen=True)
class Bundle:
    """A folder in Ray's object store."""

    name: str
    digest: str  # of names and contents
    messages: list[Any]  # references to lists of Piece


@dataclass(frozen=True)
class Shipment:
    """A job and all that it reads, for a node that shares no disk with where it comes from."""

    job: Job  # with the paths that it has there
    data: Bundle | None
    config_dir: Bundle | None
    state: list[Any]  # of a run that has begun: references to lists of Piece
    scratch: str | None  # folder of the node for temporary files, its own choice if None
    gpu: bool
    facts: dict[str, str]  # what the node must agree on


@dataclass(frozen=True)
class Part:
    """What `RayWorker.changes` hands back: a message of files that belong to one state of the run."""

    pieces: list[Piece]
    whole: bool  # the state is complete with this part
    removed: list[str]  # files that the run had and has no more
    log: bytes  # what it printed since the last part
    code: int | None  # exit code, in the last part of all


class RayWorker:
    """An actor that runs one attempt of one job. `stop` may be called while `changes` waits."""

    def __init__(self) -> None:
        self._stopped = Event()
        self._code: Future[int] = Future()

    def begin(self, shipment: Shipment) -> None:
        """Unpacks and starts; a run that has begun goes on from its last checkpoint."""
        if unlike := differences(shipment.facts, code_facts()):
            raise UserError(f"Ray node {platform.node()} has {unlike}; install there what is here")
        home = shipment.job
        root = Path(shipment.scratch or tempfile.gettempdir(), f"pbrl-bench-{os.getuid()}")
        self._folder, self._lock = _own_folder(root)
        data, config_dir = (unpack(b, root / "data") if b else None for b in (shipment.data, shipment.config_dir))
        self._job = replace(home, folder=self._folder / home.folder.name, data=data, config_dir=config_dir)
        self._job.log.touch()
        for reference in shipment.state:
            write_pieces(self._job.folder, _fetch(reference))
        relocate(self._job.folder, str(self._job.folder), _text(data), _text(config_dir))
        paths = ((self._job.folder, home.folder), (data, home.data), (config_dir, home.config_dir))
        self._paths = [(str(here), str(there)) for here, there in paths if here is not None]
        self._home = (str(home.folder), _text(home.data), _text(home.config_dir))
        self._source = Source(self._job.folder, known=True)
        self._told = 0  # bytes of the log
        self._parts: Iterator[Part] = iter(())
        if not shipment.gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what was not asked for belongs to others
        Thread(target=self._run, daemon=True).start()

    def changes(self, wait_s: float) -> Part:
        """The next part; where a state is complete, of a new one, after wait_s seconds or when the run has ended."""
        if (part := next(self._parts, None)) is None:
            wait_for([self._code], timeout=wait_s)
            self._parts = self._read()
            part = next(self._parts)
        return part

    def stop(self) -> None:
        """The run saves and ends with code 130."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            self._code.set_result(attempt(self._job, self._stopped))
        except BaseException as error:
            self._code.set_exception(error)

    def _read(self) -> Iterator[Part]:
        """One state of the run, as parts."""
        ended = self._code.done()
        staging = self._folder / "staged"
        names, removed = self._source.stage(staging, ended)
        relocate(staging, *self._home)
        log = self._new_log(ended)
        code = self._code.result() if ended else None
        last: list[Piece] = []
        for pieces in read_pieces(staging, names):
            if last:
                yield Part(last, False, [], b"", None)
            last = pieces
        if ended:
            self._lock.release()
            shutil.rmtree(self._folder, ignore_errors=True)
        yield Part(last, True, removed, log, code)

    def _new_log(self, ended: bool) -> bytes:
        """Whole lines, in which paths of this node are those of where the run belongs."""
        with self._job.log.open("rb") as file:
            file.seek(self._told)
            text = file.read()
        if not ended:
            text = text[: text.rfind(b"\n") + 1]
        self._told += len(text)
        for here, there in self._paths:
            text = text.replace(here.encode(), there.encode())
        return text


def unpack(bundle: Bundle, cache: Path) -> Path:
    """The folder of that content, made once per node; those that nobody has used for a week go."""
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / bundle.digest
    with FileLock(cache / "lock", timeout=FETCH_S):
        for other in cache.iterdir():
            if other.is_dir() and other != folder and time.time() - other.stat().st_mtime > UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)
        if not folder.exists():
            partial = cache / f"{bundle.digest}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            (partial / bundle.name).mkdir(parents=True)
            for reference in bundle.messages:
                write_pieces(partial / bundle.name, _fetch(reference))
            partial.rename(folder)
        os.utime(folder)
    return folder / bundle.name


def _own_folder(root: Path) -> tuple[Path, FileLock]:
    """A new folder under a lock that ends with this process; those of processes that were killed are removed."""
    runs = root / "runs"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    runs.mkdir(exist_ok=True)
    with FileLock(root / "lock", timeout=FETCH_S):
        for other in runs.iterdir():
            with suppress(Timeout), FileLock(other / ".lock", timeout=0):
                shutil.rmtree(other, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=runs))
        lock = FileLock(folder / ".lock", thread_local=False)  # Ray calls each method from a thread of its own
        lock.acquire(timeout=0)
    return folder, lock


def _fetch(reference: Any) -> list[Piece]:
    import ray

    return ray.get(reference, timeout=FETCH_S)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
