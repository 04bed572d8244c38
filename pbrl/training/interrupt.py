"""Ctrl-C ends a run at a moment where it can be saved."""

from __future__ import annotations

import signal
from collections.abc import Callable


class StopOnInterrupt:
    """The first Ctrl-C calls `stop`, which ends the round and saves; the second is Python's own."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop = stop

    def __enter__(self) -> None:
        self.previous = signal.getsignal(signal.SIGINT)
        try:
            signal.signal(signal.SIGINT, self._stop)
        except ValueError:  # not the main thread: whoever runs us there handles signals
            self.previous = None

    def __exit__(self, *_: object) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def _stop(self, *_: object) -> None:
        self.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
