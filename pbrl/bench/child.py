"""A process that runs one command of `pbrl`, and saves and ends when its parent does.

It is forked from a server that has imported what a run needs, which takes seconds; the server begins with the first
run. The parent holds the other end of a pipe. When that closes, by the parent's will or its death, the run gets what
Ctrl-C would send; so a bench that is killed leaves no run behind that holds the lock of its folder. SIGTERM, with which
clusters and their schedulers end what they run, does the same.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pbrl.training.interrupt import exit_code

IMPORTED = (  # once, before the first fork
    "torch",
    "torch.utils.tensorboard",
    "pbrl.cli",
    "pbrl.commands.train_command",
    "pbrl.training.start",
)
OF_SCHEDULERS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)  # SIGHUP: of a closed terminal too
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

SAVE_S = 600.0  # in which a run that was asked to stop must have saved and ended
KILL_S = 10.0  # in which the system ends what was killed

_ended = threading.Lock()


class Child:
    """`pbrl ARGUMENTS` with its output at the end of a file; a context, which stops it and waits for its end.

    updates: the line to whoever makes the run's updates, see `StackServer`; None: it makes them itself.
    """

    def __init__(self, arguments: Sequence[str], log: Path, updates: Connection | None = None) -> None:
        for name in ONE_THREAD:
            os.environ.setdefault(name, "1")  # one run per core
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if hasattr(context, "set_forkserver_preload"):
            context.set_forkserver_preload(list(IMPORTED))
        ours, theirs = context.Pipe()
        also = () if updates is None else (updates,)
        self._lifeline: Connection = ours
        self._asked_at: float | None = None  # when it was asked to stop
        self.process: BaseProcess = context.Process(target=_run, args=(list(arguments), str(log), theirs, *also))
        # The server inherits the mask: a scheduler that signals all processes of a job must not end it under its runs.
        resource_tracker.ensure_running()  # else `start` begins it, which unblocks SIGTERM
        before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_SCHEDULERS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        if updates is not None:
            updates.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.process.join(SAVE_S)
        if self.process.exitcode is None:
            self.kill()
            self.process.join(KILL_S)

    def stop(self) -> None:
        """Ask it to save and end; one that does not within SAVE_S is killed by `wait`."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        with contextlib.suppress(OSError):
            self._lifeline.close()

    def kill(self) -> None:
        """End it at once, with nothing saved."""
        self.process.kill()

    def wait(self, seconds: float) -> int | None:
        """Wait so many seconds at most; return the exit code, negative after a signal, None if it still runs."""
        if self._asked_at is not None and time.monotonic() - self._asked_at > SAVE_S:
            self.kill()
        self.process.join(seconds)
        return self.process.exitcode


def _run(arguments: list[str], log: str, lifeline: Connection, updates: Connection | None = None) -> None:
    try:
        code = _main(arguments, log, lifeline, updates)
    except KeyboardInterrupt:  # told to end before `main` would have heard it
        code = exit_code()
    sys.exit(code)


def _main(arguments: list[str], log: str, lifeline: Connection, updates: Connection | None) -> int:
    _set_signals()
    from pbrl.cli import main

    if updates is not None:
        from pbrl.agents import stacked_updates

        stacked_updates.line = updates

    os.setsid()  # Ctrl-C is the parent's, which passes it on once
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(out, stream)
    sys.argv = ["pbrl", *arguments]
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()
    return main(arguments)


def _follow(lifeline: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    _end_run()


def _set_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    ending = (signal.SIGTERM, signal.SIGHUP)
    for name in ending:
        if signal.getsignal(name) is not signal.SIG_IGN:  # nohup
            signal.signal(name, _end_run)
    for name in (signal.SIGUSR1, signal.SIGUSR2):  # SLURM sends them to all processes of a job; the parent acts on them
        signal.signal(name, signal.SIG_IGN)
    # Last: what has come in the meantime is heard now. The server and Ray's processes have these blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, *ending})


def _end_run(*_: object) -> None:
    if _ended.acquire(blocking=False):  # once: a second Ctrl-C would cut the saving short
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # another thread would not wake it
