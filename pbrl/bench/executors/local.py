"""Processes on this machine, as many at once as it has cores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any

from pbrl.bench.executors.options import check_names, whole
from pbrl.bench.jobs import HEAR_S, Job, Outcome, cores, run_job


class LocalExecutor:
    """A thread per slot, each waiting for one process."""

    def __init__(self, slots: int, retries: int) -> None:
        self.slots, self.retries = slots, retries
        self._stopped = Event()

    @classmethod
    def from_options(cls, options: dict[str, str], retries: int) -> LocalExecutor:
        """Make one from options: `workers`, by default as many as there are cores."""
        check_names("local", options, ("workers",))
        return cls(whole(options, "workers", cores(), least=1), retries)

    def check(self, name: str, config: Any) -> None:
        """Accept every config: whatever `pbrl train` takes runs here."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        waiting = iter(jobs)
        running: set[Future[Outcome]] = set()
        with ThreadPoolExecutor(self.slots) as pool:
            try:
                while True:
                    while len(running) < self.slots and not self._stopped.is_set():
                        if (job := next(waiting, None)) is None or self._stopped.is_set():
                            break  # drawing a job takes a moment, in which a stop may come
                        running.add(pool.submit(self._run_one, job))
                    if not running:
                        return
                    done, running = wait(running, HEAR_S, FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            finally:
                self._stopped.set()  # whoever stops listening stops the runs

    def _run_one(self, job: Job) -> Outcome:
        return run_job(job, self.retries, self._stopped)

    def stop(self) -> None:
        self._stopped.set()
