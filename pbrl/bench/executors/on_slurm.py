"""Runs as SLURM jobs, through submitit; the nodes share the disk with OUT."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from pbrl.bench.executors.options import check_names, number, whole
from pbrl.bench.executors.slurm_job import SlurmCell
from pbrl.bench.executors.slurm_queue import cancel, in_queue
from pbrl.bench.jobs import INTERRUPTED, Job, Outcome
from pbrl.errors import UserError, choices, one_line
from pbrl.files import replacing
from pbrl.install import install_extra
from pbrl.reading import read_object

CLUSTERS = ("slurm", "local", "debug")
OPTIONS = ("partition", "time", "mem_gb", "cpus", "gpus", "array_parallelism", "cluster")
ARRAY = 1000  # tasks of an array; SLURM's own limit, MaxArraySize, is 1001 unless set
REQUEUES = 100  # after timeouts: a run that never comes to a checkpoint must end some day
LOOK_S = 1.0  # between looks for results
QUEUE_S = 10.0  # between calls of squeue
SAVE_S = 180.0  # in which a run that was asked to stop must have saved
LOST = -9  # exit code of a job that left the queue without a result


class SlurmExecutor:
    """Arrays of jobs, at most `slots` at once. Where a bench is killed its jobs go on, and the next one finds them."""

    def __init__(self, *, slots: int, cluster: str, parameters: dict[str, Any], retries: int) -> None:
        """cluster: slurm, or local or debug: submitit's own stand-ins on this machine. parameters: submitit's."""
        self.slots, self.cluster, self.parameters, self.retries = slots, cluster, parameters, retries
        self._stopped = Event()
        self._asked_at: float | None = None  # when the runs were asked to stop
        self._looked_at = 0.0  # at the queue
        self._cells: list[_Cell] = []
        self._again: list[_Cell] = []  # lost, to be submitted once more

    @classmethod
    def from_options(cls, options: dict[str, str], retries: int) -> SlurmExecutor:
        """Make one from those of OPTIONS. time: hours; mem_gb, cpus, gpus: of each run."""
        check_names("slurm", options, OPTIONS)
        cluster = options.get("cluster", "slurm")
        if cluster not in CLUSTERS:
            raise UserError(f"cluster={cluster}: {choices(cluster, CLUSTERS)}")
        cpus, gpus = whole(options, "cpus", 1, least=1), whole(options, "gpus", 0, least=0)
        minutes = round(60 * number(options, "time", 24, above=True))
        parameters: dict[str, Any] = {"cpus_per_task": cpus, "timeout_min": max(minutes, 1), "name": "pbrl-bench"}
        if cpus > 1:
            parameters["slurm_srun_args"] = [f"--cpus-per-task={cpus}"]  # since 22.05 srun does not take sbatch's
        if gpus:
            parameters["gpus_per_node"] = gpus
        if "mem_gb" in options:
            parameters["mem_gb"] = number(options, "mem_gb", 0, above=True)
        if "partition" in options:
            parameters["slurm_partition"] = options["partition"]
        slots = whole(options, "array_parallelism", 100, least=1)
        return cls(slots=slots, cluster=cluster, parameters=parameters, retries=retries)

    def check(self, name: str, config: Any) -> None:
        """Accept every config: whatever `pbrl train` takes runs there."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        waiting = (_Cell(job) for job in jobs)
        try:
            while True:
                yield from self._fill(waiting)
                if not self._cells:
                    return
                yield from self._step()
        finally:
            self.stop()  # whoever stops listening stops the runs
            while self._cells:
                self._step()

    def stop(self) -> None:
        self._stopped.set()
        for cell in list(self._cells):
            cell.stop_file.touch()

    def _fill(self, waiting: Iterator[_Cell]) -> Iterator[Outcome]:
        """Submit what there is room for: to SLURM an array once the one before has ended, so that `slots` holds."""
        room = self.slots - len(self._cells)
        if self.cluster == "slurm":
            room = 0 if self._cells else ARRAY
        new: list[_Cell] = []
        while not self._stopped.is_set() and len(new) < room:
            if (cell := self._again.pop() if self._again else next(waiting, None)) is None:
                break
            if cell.job.finished():
                yield Outcome(cell.job, 0, 0.0, cell.attempts)
            else:
                new.append(cell)
        while self._stopped.is_set() and self._again:
            yield self._outcome(self._again.pop(), INTERRUPTED, "stopped")
        if new:
            self._submit(new)

    def _submit(self, cells: list[_Cell]) -> None:
        executor = self._executor(cells[0].logs)
        earlier = self._find_earlier(cells[0].logs)
        new = []
        for cell in cells:
            cell.attempts += 1
            cell.missing = 0
            if (job_id := earlier.get(cell.job.name)) is not None:
                cell.handle = _found_again(cell.logs, job_id)
                self._cells.append(cell)
            else:
                cell.stop_file.unlink(missing_ok=True)
                new.append(cell)
        calls = [SlurmCell(cell.there, self.retries, cell.stop_file) for cell in new]
        try:
            handles = executor.submit_array(calls) if calls else []
        except Exception as error:  # submitit's, with what sbatch said
            raise UserError(f"SLURM took no jobs: {one_line(error)}") from error
        for cell, cell.handle in zip(new, handles, strict=True):
            self._cells.append(cell)
        self._looked_at = time.monotonic()
        with replacing(cells[0].logs / "submitted.json") as partial:
            partial.write_text(json.dumps({cell.job.name: cell.handle.job_id for cell in self._cells}, indent=1))

    def _executor(self, logs: Path) -> Any:
        try:
            import submitit
        except ImportError:
            raise UserError(f"executor=slurm needs submitit: {install_extra('slurm')}") from None
        limits = {"slurm_max_num_timeout": REQUEUES, "local_max_num_timeout": REQUEUES}
        try:
            executor = submitit.AutoExecutor(logs, cluster=self.cluster, **limits)
        except RuntimeError:
            message = "executor=slurm needs SLURM's commands, which are not here; cluster=local does without"
            raise UserError(message) from None
        logs.mkdir(parents=True, exist_ok=True)
        executor.update_parameters(**self.parameters, slurm_array_parallelism=self.slots)
        return executor

    def _find_earlier(self, logs: Path) -> dict[str, str]:
        """Find the jobs of a bench that was killed, by name: they are still in the queue."""
        file = logs / "submitted.json"
        if self.cluster != "slurm" or not file.exists():
            return {}
        queue = in_queue()
        return {name: job_id for name, job_id in read_object(file).items() if job_id in queue}

    def _step(self) -> list[Outcome]:
        """Wait a moment; return the outcomes of what has ended by then."""
        self._ask_to_stop()
        self._look_at_queue()
        outcomes = []
        present = {path.name for logs in {cell.logs for cell in self._cells} for path in logs.glob("*.pkl")}
        for cell in list(self._cells):
            if cell.handle.done() if self.cluster != "slurm" else cell.handle.paths.result_pickle.name in present:
                self._cells.remove(cell)
                outcomes += self._hear_out(cell)
            elif cell.missing > 1:  # at two looks, since a shared disk may show the result late
                self._cells.remove(cell)
                outcomes += self._try_again(cell, "left SLURM's queue without a result")
        if not outcomes:
            time.sleep(LOOK_S)
        return outcomes

    def _hear_out(self, cell: _Cell) -> list[Outcome]:
        try:
            outcome = cell.handle.result()
        except Exception as error:  # what SLURM or submitit say of a job that could not run
            return self._try_again(cell, one_line(error))
        return [replace(outcome, job=cell.job, attempts=outcome.attempts + cell.attempts - 1)]

    def _try_again(self, cell: _Cell, why: str) -> list[Outcome]:
        """Try a lost job again, or return its outcome where it had its last try."""
        if self._stopped.is_set():
            return [self._outcome(cell, INTERRUPTED, "stopped")]
        if cell.attempts <= self.retries:
            self._again.append(cell)
            return []
        return [self._outcome(cell, LOST, f"job {cell.handle.job_id}: {why}; see {cell.logs}")]

    def _outcome(self, cell: _Cell, code: int, message: str) -> Outcome:
        return Outcome(cell.job, code, time.monotonic() - cell.begun, cell.attempts, message)

    def _look_at_queue(self) -> None:
        every = QUEUE_S if self._asked_at is None else 2 * LOOK_S
        if self.cluster != "slurm" or time.monotonic() - self._looked_at < every:
            return
        self._looked_at = time.monotonic()
        try:
            queue = in_queue()
        except UserError:
            return  # a controller that is away for a while says nothing about the jobs
        for cell in self._cells:
            cell.missing = 0 if cell.handle.job_id in queue else cell.missing + 1

    def _ask_to_stop(self) -> None:
        """Ask running jobs to save and end; SLURM ends those that wait, and in the end those that do not save."""
        if not self._stopped.is_set():
            return
        jobs = [cell.handle.job_id for cell in self._cells]
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self.stop()
            if self.cluster == "slurm":
                cancel(jobs, only_waiting=True)
        elif time.monotonic() - self._asked_at > SAVE_S:
            self._asked_at = time.monotonic()
            if self.cluster == "slurm":
                cancel(jobs, only_waiting=False)
            else:
                for cell in self._cells:
                    cell.handle.cancel()


def _found_again(logs: Path, job_id: str) -> Any:
    from submitit.slurm.slurm import SlurmJob

    return SlurmJob(logs, job_id)


@dataclass(eq=False)
class _Cell:
    """A job and what became of it."""

    job: Job
    begun: float = field(default_factory=time.monotonic)
    attempts: int = 0
    missing: int = 0  # looks at the queue, in a row, at which it was not there
    handle: Any = None

    @property
    def there(self) -> Job:
        """The job as a node sees it, whose working directory may be another."""
        data, own = (path and path.absolute() for path in (self.job.data, self.job.config_dir))
        return replace(self.job, folder=self.job.folder.absolute(), data=data, config_dir=own)

    @property
    def logs(self) -> Path:
        """The folder OUT/slurm, where the run is OUT/runs/NAME."""
        above = itertools.islice(self.there.folder.parents, self.job.name.count("/") + 1, None)
        return next(above) / "slurm"

    @property
    def stop_file(self) -> Path:
        return self.logs / f"{self.job.name.replace('/', '-')}.stop"
