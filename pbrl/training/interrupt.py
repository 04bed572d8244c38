"""Ctrl-C, SIGTERM and SIGHUP end what runs at a moment where it can be saved."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

# SIGTERM comes from `kill`, `timeout` or a scheduler's time limit, SIGHUP from a closed terminal or connection.
NAMES = {int(getattr(signal, name)): name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)}
SAVES = "saving a checkpoint at the end of this round, then ending"  # `plan` of a run
_asked_by = int(signal.SIGINT)  # the signal that last asked this process to end


def exit_code() -> int:
    """Return 128 plus the signal that asked this process to end, as shells count: 130, 143 or 129."""
    return 128 + _asked_by


@contextlib.contextmanager
def catch_ending_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt here, as Ctrl-C does, so that half-made things are cleared."""
    global _asked_by
    _asked_by = int(signal.SIGINT)

    def end(number: int, _: object) -> None:
        _note(number)
        for name in NAMES:  # one closed terminal sends several: none may cut the clearing away short
            _set(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: _set(number, end) for number in NAMES if _is_ours(signal.getsignal(number))}
    try:
        yield
    finally:
        _restore(before)


class StopOnInterrupt:
    """Calls `stop` at the first Ctrl-C, SIGTERM or SIGHUP, which ends the round and saves; Ctrl-C then ends at once.

    What ignores SIGHUP (`nohup`) or SIGINT (a job in the background of a script) goes on ignoring it, and a handler of
    somebody else's for SIGTERM and SIGHUP stays.

    Args:
        stop: asks what runs to end; called in the signal's handler.
        plan: what will happen then, in words.
        lost: what a second Ctrl-C loses, in words.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        plan: str = "the runs save and end, and nothing more is started",
        lost: Callable[[], str] = lambda: "what a run has not saved by then is lost",
    ) -> None:
        self.stop, self.plan, self.lost = stop, plan, lost
        self.stopping = False

    def __enter__(self) -> StopOnInterrupt:
        ours = [number for number in NAMES if _is_ours(signal.getsignal(number))]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            ours.append(int(signal.SIGINT))
        self.before = {number: _set(number, self._stop) for number in ours}
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self.before)
        if self.stopping:
            _drop_dead_output()

    def _stop(self, number: int, _: object) -> None:
        if self.stopping and number != signal.SIGINT:
            return  # a closed terminal sends several, and all are heard
        if self.stopping:
            _set(signal.SIGINT, signal.default_int_handler)
            _say(f"ended at once: {self.lost()}")
            raise KeyboardInterrupt
        self.stopping = True
        _note(number)
        self.stop()
        if number in NAMES:  # of a scheduler, say, whose users have no Ctrl-C
            _say(f"{NAMES[number]}: {self.plan}")
        else:
            _say(f"Ctrl-C: {self.plan}; another Ctrl-C ends it at once: {self.lost()}")


Handler = Any  # a function, SIG_IGN or SIG_DFL; None: set by code that is not Python's


def _is_ours(handler: Handler) -> bool:
    """Return whether nobody else has plans for this signal."""
    return handler is signal.SIG_DFL or getattr(handler, "__module__", None) == __name__


def _set(number: int, handler: Handler) -> Handler:
    """Set a handler, return the one before; None where it cannot be set, which only the main thread can."""
    try:
        return signal.signal(number, handler)
    except ValueError:
        return None


def _restore(before: dict[int, Handler]) -> None:
    for number, handler in before.items():
        if handler is not None:
            _set(number, handler)


def _note(number: int) -> None:
    global _asked_by
    _asked_by = number
    _drop_dead_output()


def _say(message: str) -> None:
    """Write in a handler, which may have interrupted somebody who was writing."""
    line = f"pbrl: {message}"
    try:
        print(line, file=sys.stderr, flush=True)
    except RuntimeError:
        os.write(2, f"{line}\n".encode())
    except OSError:
        pass  # nobody reads


def _drop_dead_output() -> None:
    """Send output that nobody can read any more nowhere: a closed terminal must not end what is being saved."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    for stream in (1, 2):
        poll.register(stream, 0)  # errors are always told
    for stream, _ in poll.poll(0):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream)
        os.close(null)
