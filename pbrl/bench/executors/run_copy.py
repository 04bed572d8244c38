"""The near side of a run that works elsewhere: its folder, which takes over one state after the other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from pbrl.bench.executors.mirror import Piece, Source, adopt, read_pieces, write_pieces
from pbrl.bench.executors.ray_worker import Part
from pbrl.bench.jobs import Job
from pbrl.training.run_dir import RunDir


class RunCopy:
    """The run directory where it belongs, locked while a node writes it."""

    def __init__(self, job: Job) -> None:
        self._job, self._run = job, RunDir(job.folder)
        self._incoming = job.folder.with_name(f".{job.folder.name}.incoming")
        shutil.rmtree(self._incoming, ignore_errors=True)
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        if job.folder.exists() and not job.has_begun():
            shutil.rmtree(job.folder)
        job.folder.mkdir(exist_ok=True)
        self._run.lock()
        self.whole = True  # no part of a state is missing

    def read(self) -> Iterator[list[Piece]]:
        """What the run goes on from."""
        staging = self._job.folder.with_name(f".{self._job.folder.name}.outgoing")
        if self._job.has_begun():
            names, _ = Source(self._job.folder).stage(staging, ended=True)
            yield from read_pieces(staging, names)
            shutil.rmtree(staging)

    def receive(self, part: Part) -> None:
        """A state becomes part of the folder when its last part is there."""
        if part.log:
            with self._job.log.open("ab") as log:
                log.write(part.log)
        self._incoming.mkdir(0o700, exist_ok=True)
        write_pieces(self._incoming, part.pieces)
        self.whole = part.whole
        if part.whole:
            adopt(self._incoming, self._job.folder, part.removed)

    def close(self) -> None:
        self._run.unlock()
        shutil.rmtree(self._incoming, ignore_errors=True)
        if not self._job.has_begun():
            shutil.rmtree(self._job.folder, ignore_errors=True)
