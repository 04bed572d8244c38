"""Runs on a Ray cluster whose nodes share no disk: what a run writes is handed back while it runs."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from pbrl.bench.executors.code_facts import code_facts, differences
from pbrl.bench.executors.mirror import all_files, read_pieces
from pbrl.bench.executors.options import check_names, number, share
from pbrl.bench.executors.ray_cluster import RayCluster, reason
from pbrl.bench.executors.ray_worker import FETCH_S, Bundle, RayWorker, Shipment
from pbrl.bench.executors.run_copy import RunCopy
from pbrl.bench.jobs import INTERRUPTED, WRONG_INPUT, Job, Outcome, last_words
from pbrl.errors import UserError

OPTIONS = ("address", "cpus", "gpus", "sync_s", "scratch")
POLL_S = 0.2
LOST = -9  # exit code of an attempt whose node or process is gone


class RayExecutor:
    """An actor per run, on any node that has the resources; one that is lost begins anew from what it handed back."""

    def __init__(
        self, *, address: str, cpus: float, gpus: float, sync_s: float, scratch: str | None, retries: int
    ) -> None:
        """address: of a cluster, or local: one of this machine. cpus, gpus: of each run.

        sync_s: seconds between the states of a run that are handed back. scratch: folder for temporary files of nodes.
        """
        self.cpus, self.gpus, self.sync_s, self.scratch, self.retries = cpus, gpus, sync_s, scratch, retries
        self._cluster = RayCluster(address)
        self._stopped = Event()
        self._told = False  # the runs were asked to stop
        self._cells: dict[Any, _Cell] = {}  # by the reference to what each is asked for
        self._bundles: dict[Path, Bundle] = {}

    @classmethod
    def from_options(cls, options: dict[str, str], retries: int) -> RayExecutor:
        """options: those of OPTIONS; the address is otherwise that of the environment's RAY_ADDRESS, if any."""
        check_names("ray", options, OPTIONS)
        sync_s = number(options, "sync_s", 30, above=True)
        address = options.get("address", os.environ.get("RAY_ADDRESS", "local"))
        cpus, gpus = share(options, "cpus", 1, above=True), share(options, "gpus", 0)
        return cls(
            address=address, cpus=cpus, gpus=gpus, sync_s=sync_s, scratch=options.get("scratch"), retries=retries
        )

    @property
    def slots(self) -> int:
        """What the nodes of the cluster have room for now."""
        return self._cluster.slots(self.cpus, self.gpus)

    def check(self, name: str, config: Any) -> None:
        """Whatever `pbrl train` takes runs there."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        waiting = iter(jobs)
        try:
            self._check()
            while True:
                yield from self._fill(waiting)
                if not self._cells:
                    return
                yield from self._step()
        finally:
            self._stopped.set()  # whoever stops listening stops the runs
            self._end()

    def stop(self) -> None:
        self._stopped.set()

    def _check(self) -> None:
        for node, facts in self._cluster.ask_nodes(code_facts):
            if unlike := differences(code_facts(), facts):
                raise UserError(f"Ray node {node} has {unlike}; install there what is here")
        if self.slots == 0:
            gpus = f" and gpus={self.gpus:g}" if self.gpus else ""
            raise UserError(f"no node of the Ray cluster has room for a run with cpus={self.cpus:g}{gpus}")

    def _fill(self, waiting: Iterator[Job]) -> Iterator[Outcome]:
        """Starts what there is room for; yields what had ended before or cannot be read."""
        while not self._stopped.is_set() and len(self._cells) < max(self.slots, 1):  # 0 while a lost node comes back
            if (job := next(waiting, None)) is None:
                return
            if job.finished():
                yield Outcome(job, 0, 0.0, 0)
                continue
            try:
                self._start(_Cell(job))
            except UserError as error:
                yield Outcome(job, WRONG_INPUT, 0.0, 0, str(error))

    def _start(self, cell: _Cell) -> None:
        """The next attempt, with what is known of the run's last state."""
        import ray

        job, gpu = cell.job, self.gpus > 0
        data, config_dir = self._bundle(job.data), self._bundle(job.config_dir)
        cell.copy = RunCopy(job)
        try:
            messages = [ray.put(message) for message in cell.copy.read()]
        except UserError:
            cell.copy.close()
            raise
        worker = ray.remote(RayWorker).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
        )
        cell.attempts += 1
        cell.worker = worker.remote()
        cell.running = False
        shipment = Shipment(job, data, config_dir, messages, self.scratch, gpu, code_facts())
        self._cells[cell.worker.begin.remote(shipment)] = cell

    def _bundle(self, folder: Path | None) -> Bundle | None:
        """Put into the object store once, however many runs read it."""
        import ray

        if folder is None:
            return None
        if folder not in self._bundles:
            if not folder.is_dir():
                raise UserError(f"{folder} is not a folder")
            digest, messages = hashlib.sha256(), []
            for message in read_pieces(folder, all_files(folder)):
                for name, content in message:
                    digest.update(f"{name}\0{len(content)}\0".encode() + content)
                messages.append(ray.put(message))
            self._bundles[folder] = Bundle(folder.resolve().name, digest.hexdigest(), messages)
        return self._bundles[folder]

    def _step(self) -> list[Outcome]:
        """Waits a moment for what runs hand back; what has ended by it."""
        import ray

        if self._stopped.is_set() and not self._told:
            self._tell()
        ready, _ = ray.wait(list(self._cells), timeout=POLL_S)
        outcomes = []
        for reference in ready:
            cell = self._cells.pop(reference)
            code, message = self._hear(cell, reference)
            if code is None:
                wait_s = self.sync_s if cell.copy.whole else 0.0
                self._cells[cell.worker.changes.remote(wait_s)] = cell
            elif (outcome := self._ended(cell, code, message)) is not None:
                outcomes.append(outcome)
        return outcomes

    def _hear(self, cell: _Cell, reference: Any) -> tuple[int | None, str]:
        """The exit code if the attempt has ended, and why if the run itself does not say it."""
        import ray

        try:
            part = ray.get(reference, timeout=FETCH_S)
            if part is not None:
                cell.copy.receive(part)
        except ray.exceptions.RayError as error:
            if isinstance(cause := getattr(error, "cause", None), UserError):
                return WRONG_INPUT, str(cause)
            return LOST, f"lost on its Ray node: {reason(error)}"
        except UserError as error:
            return WRONG_INPUT, str(error)
        if part is None:  # has begun
            cell.running = True
            if self._told:
                cell.worker.stop.remote()
            return None, ""
        return part.code, ""

    def _ended(self, cell: _Cell, code: int, message: str) -> Outcome | None:
        """None if it is tried again."""
        import ray

        ray.kill(cell.worker)
        cell.copy.close()
        if code not in (0, WRONG_INPUT) and not self._stopped.is_set() and cell.attempts <= self.retries:
            try:
                self._start(cell)
            except UserError as error:
                code, message = WRONG_INPUT, str(error)
            else:
                return None
        if code == LOST and self._stopped.is_set():
            code = INTERRUPTED
        if code and not message:
            message = last_words(code, cell.job.log)
        return Outcome(cell.job, code, time.monotonic() - cell.begun, cell.attempts, message)

    def _tell(self) -> None:
        """Asks the runs to save and end; those that no node has taken yet end at once."""
        import ray

        self._told = True
        for cell in self._cells.values():
            if cell.running:
                cell.worker.stop.remote()
            else:
                ray.kill(cell.worker)

    def _end(self) -> None:
        """Hears out what runs; a second Ctrl-C leaves it."""
        import ray

        try:
            while self._cells:
                self._step()
        finally:
            for cell in self._cells.values():
                with suppress(Exception):
                    ray.kill(cell.worker)
            self._cells.clear()
            self._bundles.clear()
            self._cluster.leave()


@dataclass(eq=False)
class _Cell:
    """A job that runs."""

    job: Job
    begun: float = field(default_factory=time.monotonic)
    attempts: int = 0
    worker: Any = None
    running: bool = False
    copy: RunCopy = field(init=False)
