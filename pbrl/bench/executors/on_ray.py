"""Runs on a Ray cluster whose nodes share a disk: an actor per run, on any node that has the resources."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from pbrl.bench.executors.code_facts import code_facts, differences
from pbrl.bench.executors.options import check_names, share
from pbrl.bench.executors.ray_cluster import RayCluster, reason
from pbrl.bench.jobs import INTERRUPTED, WRONG_INPUT, Job, Outcome, run_job
from pbrl.errors import UserError

OPTIONS = ("address", "cpus", "gpus")
POLL_S = 0.2
LOST = -9  # exit code of an attempt whose node or process is gone


class RayExecutor:
    """Hands jobs to the nodes of a cluster; one whose node is lost goes on elsewhere from its last checkpoint."""

    def __init__(self, *, address: str, cpus: float, gpus: float, retries: int) -> None:
        """address: of a cluster, or local: one of this machine. cpus, gpus: of each run."""
        self.cpus, self.gpus, self.retries = cpus, gpus, retries
        self._cluster = RayCluster(address)
        self._stopped = Event()
        self._told = False  # the runs were asked to stop
        self._cells: dict[Any, _Cell] = {}  # by the reference to their outcome

    @classmethod
    def from_options(cls, options: dict[str, str], retries: int) -> RayExecutor:
        """Make one from those of OPTIONS; the address is otherwise that of the environment's RAY_ADDRESS, if any."""
        check_names("ray", options, OPTIONS)
        address = options.get("address", os.environ.get("RAY_ADDRESS", "local"))
        cpus, gpus = share(options, "cpus", 1, above=True), share(options, "gpus", 0)
        return cls(address=address, cpus=cpus, gpus=gpus, retries=retries)

    @property
    def slots(self) -> int:
        """Return how many runs the nodes of the cluster have room for now."""
        return self._cluster.slots(self.cpus, self.gpus)

    def check(self, name: str, config: Any) -> None:
        """Accept every config: whatever `pbrl train` takes runs there."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        waiting = iter(jobs)
        try:
            self._check()
            while True:
                while not self._stopped.is_set() and len(self._cells) < max(self.slots, 1):  # 0: a lost node comes back
                    if (job := next(waiting, None)) is None:
                        break
                    self._start(_Cell(job))
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

    def _start(self, cell: _Cell) -> None:
        import ray

        actor = ray.remote(RayRun).options(num_cpus=self.cpus, num_gpus=self.gpus, max_concurrency=2)
        cell.job.folder.parent.mkdir(parents=True, exist_ok=True)  # the node looks whether it sees it
        cell.actor = actor.remote()
        cell.ready = cell.actor.__ray_ready__.remote()
        left = self.retries - cell.attempts
        self._cells[cell.actor.run.remote(_absolute(cell.job), left, self.gpus > 0, code_facts())] = cell

    def _step(self) -> list[Outcome]:
        """Wait a moment for runs to end; return the outcomes of those that are not tried again."""
        import ray

        if self._stopped.is_set() and not self._told:
            self._told = True
            for cell in self._cells.values():
                if ray.wait([cell.ready], timeout=0)[0]:
                    cell.actor.stop.remote()
                else:  # no node has taken it, and none may come
                    ray.kill(cell.actor)
        ready, _ = ray.wait(list(self._cells), timeout=POLL_S)
        return [outcome for reference in ready if (outcome := self._hear_out(reference)) is not None]

    def _hear_out(self, reference: Any) -> Outcome | None:
        """Hear out a run; None if its node was lost and it goes on elsewhere."""
        import ray

        cell = self._cells.pop(reference)
        try:
            outcome: Outcome = ray.get(reference)
            code, message, attempts = outcome.code, outcome.message, cell.attempts + outcome.attempts
        except ray.exceptions.RayError as error:
            attempts, code, message = cell.attempts + 1, LOST, f"lost on its Ray node: {reason(error)}"
            if isinstance(cause := getattr(error, "cause", None), UserError):
                code, message = WRONG_INPUT, str(cause)
        with suppress(Exception):
            ray.kill(cell.actor)
        if code == LOST and self._stopped.is_set():
            code = INTERRUPTED
        if code == LOST and attempts <= self.retries:
            cell.attempts = attempts
            self._start(cell)
            return None
        return Outcome(cell.job, code, time.monotonic() - cell.begun, attempts, message)

    def _end(self) -> None:
        """Hear out what runs; a second Ctrl-C leaves it."""
        import ray

        try:
            while self._cells:
                self._step()
        finally:
            for cell in self._cells.values():
                with suppress(Exception):
                    ray.kill(cell.actor)
            self._cells.clear()
            self._cluster.leave()


class RayRun:
    """An actor that runs one job on its node; `stop` is heard while `run` works."""

    def __init__(self) -> None:
        self._stopped = Event()

    def run(self, job: Job, retries: int, gpu: bool, facts: dict[str, str]) -> Outcome:
        """Run a job; UserError if the node does not agree on `facts`, see `code_facts`, or sees another disk."""
        if unlike := differences(facts, code_facts()):
            raise UserError(f"Ray node {platform.node()} has {unlike}; install there what is here")
        if not job.folder.parent.is_dir():
            where = "the folder must lie on a disk that all nodes see under the same path"
            raise UserError(f"Ray node {platform.node()} has no {job.folder.parent}; {where}")
        if not gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what was not asked for belongs to others
        return run_job(job, retries, self._stopped)

    def stop(self) -> None:
        """Ask the run to save and end with code 130."""
        self._stopped.set()


@dataclass(eq=False)
class _Cell:
    """A job that runs."""

    job: Job
    begun: float = field(default_factory=time.monotonic)
    attempts: int = 0  # that were lost with their nodes
    actor: Any = None
    ready: Any = None  # a reference to when it has begun


def _absolute(job: Job) -> Job:
    """The same job for a process in another folder."""
    data, own = (None if path is None else path.resolve() for path in (job.data, job.config_dir))
    return replace(job, folder=job.folder.resolve(), data=data, config_dir=own, old=job.old and job.old.resolve())
