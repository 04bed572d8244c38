"""A run of a bench: `python -m pbrl.bench.child train ...`, which saves and ends when its parent does.

The parent holds the other end of standard input. When that closes, by the parent's will or its death, the run gets what
Ctrl-C would send; so a bench that is killed leaves no run behind that holds the lock of its folder. SIGTERM, with which
clusters and their schedulers end what they run, does the same.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

_ended = threading.Lock()


def _end_run(*_: object) -> None:
    if _ended.acquire(blocking=False):  # once: a second Ctrl-C would cut the saving short
        os.kill(os.getpid(), signal.SIGINT)


def _follow_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    _end_run()


def _set_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # Ray's processes have it blocked
    signal.signal(signal.SIGTERM, _end_run)
    for name in (signal.SIGUSR1, signal.SIGUSR2):  # SLURM sends them to all processes of a job; the parent acts on them
        signal.signal(name, signal.SIG_IGN)


if __name__ == "__main__":
    _set_signals()
    from pbrl.cli import main

    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.exit(main())
