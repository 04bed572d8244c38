"""One cell of a bench as a process of its own: started or resumed, heard out, ended with its parent."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeVar

from filelock import FileLock, Timeout

from pbrl.bench.child import SAVE_S, Child
from pbrl.errors import UserError, one_line
from pbrl.reading import find_object
from pbrl.training.interrupt import StopOnInterrupt

MakeLine = Callable[[], Connection | None]
Item = TypeVar("Item")
Result = TypeVar("Result")
INTERRUPTED = 130  # exit code of a run that was stopped, and saved
WRONG_INPUT = 2  # exit code of what another attempt cannot mend
POLL_S = 0.05
HEAR_S = 0.1  # longest wait of the main thread: a signal that another thread takes, or that comes just before a wait,
# does not wake it, and Python tells of signals in this thread alone


@dataclass(frozen=True)
class Job:
    """A run of `pbrl train` that has a folder of its own."""

    name: str  # env/method/teacher/budget/sSEED
    folder: Path  # the run directory
    arguments: tuple[str, ...]  # of `pbrl train`, all but run_dir and data
    data: Path | None = None  # data set or label set that it reads
    config_dir: Path | None = None  # YAMLs of the user's own
    old: Path | None = None  # where a run goes that cannot be gone on with, and is begun anew; None: it fails

    @property
    def log(self) -> Path:
        """The file of what the process prints, of all attempts."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def finished(self) -> bool:
        return (find_object(self.folder / "summary.json") or {}).get("status") == "finished"

    def has_begun(self) -> bool:
        return (self.folder / "config.yaml").exists()

    def command(self) -> list[str]:
        """The arguments of `pbrl`: a run that has begun goes on from its last checkpoint."""
        if self.has_begun():
            return ["train", f"resume={self.folder}"]
        data = [] if self.data is None else [f"data={self.data}"]
        own = [] if self.config_dir is None else ["--config-dir", str(self.config_dir)]
        return ["train", *self.arguments, *data, f"run_dir={self.folder}", *own]


@dataclass(frozen=True)
class Outcome:
    """The end of a job: its exit code and why it failed."""

    job: Job
    code: int  # exit code of the last attempt; negative: killed by that signal
    wall_s: float  # of all attempts of this bench
    attempts: int
    message: str = ""  # why it failed: the last line it printed, or the signal that killed it


class Executor(Protocol):
    """A place where jobs run."""

    @property
    def slots(self) -> int:
        """The number of jobs that run at the same time."""
        ...

    def check(self, name: str, config: Any) -> None:
        """Raise UserError for the config of a cell that cannot run there; before any has begun."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield outcomes in the order in which jobs end; their folders are whole by then."""
        ...

    def stop(self) -> None:
        """Ask what runs to save and end, and start nothing more; `run` still yields what it had started."""
        ...


class Stop(Protocol):
    """A wish that a run should save and end; a threading.Event is one."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, at most so many seconds; return whether it is."""
        ...


def run_job(job: Job, retries: int, stopped: Stop, line: MakeLine = lambda: None) -> Outcome:
    """Run a job to its end, again after an attempt that was killed or failed, up to `retries` times.

    A stop is no failure: the attempt saves and ends with code 130. line: of each attempt, see `Child`.
    """
    begun = time.monotonic()
    attempts, code, message = 0, 0, ""
    while not job.finished():
        attempts += 1
        went_on = job.has_begun()
        code, message = _try(job, stopped, line)
        if code == WRONG_INPUT and went_on and job.old is not None:
            attempts += 1
            code, message = _begin_anew(job, job.old, stopped, line)
        if code in (0, WRONG_INPUT) or stopped.is_set() or attempts > retries:
            break
    return Outcome(job, code, time.monotonic() - begun, attempts, message)


def _try(job: Job, stopped: Stop, line: MakeLine) -> tuple[int, str]:
    """Make an attempt; return its exit code, and why it failed."""
    try:
        code = attempt(job, stopped, line)
    except UserError as error:
        return WRONG_INPUT, str(error)
    except Exception as error:  # no process, no disk: the other runs go on, and what they come to is kept
        return 1, f"{type(error).__name__}: {one_line(error)}"
    return code, "" if code == 0 else last_words(code, job.log)


def _begin_anew(job: Job, old: Path, stopped: Stop, line: MakeLine) -> tuple[int, str]:
    """Start a run over that cannot be gone on with. If it is refused too, the run is not to blame."""
    aside = set_aside([job.folder], old)
    code, message = _try(job, stopped, line)
    if code == WRONG_INPUT:
        shutil.rmtree(job.folder, ignore_errors=True)
        shutil.move(aside / job.folder.name, job.folder)
        aside.rmdir()
    return code, message


def attempt(job: Job, stopped: Stop, line: MakeLine = lambda: None) -> int:
    """Start the run, or go on with it, in its own process; return the exit code, negative if a signal killed it."""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    settle(job, stopped)
    if stopped.is_set():
        return INTERRUPTED
    if job.has_begun() and job.data is not None:
        _follow_data(job)
    told = False
    with Child(job.command(), job.log, line()) as child:
        while (code := child.wait(POLL_S)) is None:
            if stopped.is_set():
                child.stop()
                told = True
    # A run that was ended after its last line, or while Python was shutting down, has nothing left to do.
    if job.finished():
        return 0
    # One that was still importing when it was told to stop ends with an error, and yet has not failed.
    return INTERRUPTED if told and code != WRONG_INPUT else code


def _follow_data(job: Job) -> None:
    """Make a run go on with its data set where that lies now; a bench may have been moved, and its data with it."""
    from pbrl.bench.executors.relocate import relocate
    from pbrl.config import load_config

    own = None if job.config_dir is None else str(job.config_dir)
    if load_config(job.folder / "config.yaml").data != str(job.data):
        relocate(job.folder, str(job.folder), str(job.data), own)


def settle(job: Job, stopped: Stop) -> None:
    """Wait for a run whose bench has died to end (UserError after SAVE_S), and clear a folder that is no run yet."""
    lock, end = job.folder / ".lock", time.monotonic() + SAVE_S
    while lock.exists() and not stopped.is_set():
        try:
            with FileLock(lock, timeout=POLL_S):
                break
        except Timeout:
            if time.monotonic() > end:
                raise UserError(f"{job.folder}: another process has been at work there for {SAVE_S:.0f} s") from None
    if job.folder.exists() and not job.has_begun():
        shutil.rmtree(job.folder)  # `pbrl train` refuses a folder that is not empty


def last_words(code: int, log: Path) -> str:
    """Return why a process failed; one that a signal killed had no time to say it."""
    return f"killed by signal {-code}" if code < 0 else last_line(log)


def last_line(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""  # a process may die before it opens its log
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def set_aside(paths: Iterable[Path], folder: Path) -> Path:
    """Move paths into a new folder of this name, or with a number after it, so that nothing is lost."""
    names = (folder.name if n == 1 else f"{folder.name}_{n}" for n in itertools.count(1))
    folder = next(free for name in names if not (free := folder.with_name(name)).exists())
    folder.mkdir(parents=True)
    for path in paths:
        if path.exists():
            shutil.move(path, folder / path.name)
    return folder


def side_by_side(work: Callable[[Item, Stop], Result], items: Iterable[Item], slots: int) -> list[Result]:
    """Call `work` on each item, `slots` at once in threads; return the results in order.

    An error leaves out what has not begun, and is raised. The first Ctrl-C tells all to stop, then the caller.
    """
    stopped = Event()

    def work_on(item: Item) -> Result:
        if stopped.is_set():
            raise KeyboardInterrupt
        return work(item, stopped)

    with StopOnInterrupt(stopped.set), ThreadPoolExecutor(slots) as pool:
        futures = [pool.submit(work_on, item) for item in items]
        while not all(future.done() for future in futures):
            wait(futures, HEAR_S)
            if any(map(_has_failed, futures)):
                for future in futures:
                    future.cancel()  # those that have not begun
    if stopped.is_set():
        raise KeyboardInterrupt
    return [future.result() for future in futures]


def _has_failed(future: Future[Result]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None


def cores() -> int:
    """Return how many CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
