"""The job of a bench that SLURM runs: it saves and goes back into the queue when its time is up or others need it."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from pbrl.bench.child import SAVE_S
from pbrl.bench.jobs import INTERRUPTED, Job, Outcome, run_job

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

LOOK_S = 2.0  # between looks at the shared disk for the wish to stop
GRACE_S = 120.0  # in which SLURM ends a job that it told to end


class StopFile:
    """A wish to stop that reaches all nodes through the disk they share, and one that is this process's own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = Event()
        self._looked = 0.0

    def is_set(self) -> bool:
        if not self.own.is_set() and time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            if self.path.exists():
                self.own.set()
        return self.own.is_set()

    def wait(self, timeout: float) -> bool:
        return self.is_set() or self.own.wait(timeout)


class SlurmCell:
    """The callable that submitit pickles; `checkpoint` is its protocol for jobs that are preempted or out of time."""

    def __init__(self, job: Job, retries: int, stop_file: Path) -> None:
        self.job, self.retries, self.stop_file = job, retries, stop_file

    def __call__(self) -> Outcome:
        self._stopped = StopFile(self.stop_file)
        with ThreadPoolExecutor(1) as pool:
            # The run has a thread, so that `checkpoint`, which a signal calls in the main one, can wait for it to save.
            self._run: Future[Outcome] = pool.submit(run_job, self.job, self.retries, self._stopped)
            while not self._run.done():
                wait_for([self._run], timeout=1.0)  # signals are heard between waits
        outcome = self._run.result()
        if outcome.code == INTERRUPTED and not self.stop_file.exists():
            time.sleep(
                GRACE_S
            )  # SLURM's SIGTERM ended the run: if it means to requeue this job, a result would not let it
        return outcome

    def checkpoint(self) -> DelayedSubmission:
        from submitit.helpers import DelayedSubmission

        self._stopped.own.set()
        wait_for([self._run], timeout=SAVE_S)
        return DelayedSubmission(SlurmCell(self.job, self.retries, self.stop_file))
