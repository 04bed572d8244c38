"""The progress of a run: a bar on a terminal, lines where output goes elsewhere, so that no log is silent for long."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

SILENCE_S = 60.0  # at most, where lines are written
WINDOW = 10  # lines over which the speed is measured: the first steps, with nothing to learn from, are fast


class State(NamedTuple):
    step: int
    score: float | None  # the return of the last evaluation; None where nothing is evaluated
    labels: int


class Progress:
    """Shows step, return and labels while a run goes on.

    Args:
        steps: of the whole run.
        look: how far the run is; also called from another thread.
        silent: show nothing.
    """

    def __init__(self, steps: int, look: Callable[[], State], silent: bool = False) -> None:
        self.steps, self.look = steps, look
        bar, lines = sys.stderr.isatty(), not (sys.stderr.isatty() and sys.stdout.isatty())
        bar, lines = bar and not silent, lines and not silent
        self.shown: list[Bar | Lines] = [*([Bar(steps)] if bar else []), *([Lines(steps, look)] if lines else [])]

    def __enter__(self) -> Progress:
        for one in self.shown:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.shown:
            with contextlib.suppress(OSError):  # nobody reads it any more
                one.stop()

    def update(self, evaluated: bool = False) -> None:
        """Show the progress anew. evaluated: there is a new return."""
        for one in self.shown:
            with contextlib.suppress(OSError):
                one.show(self.look(), evaluated)


class Bar:
    """One line of a terminal, drawn again and again."""

    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
        )
        self.bar = RichProgress(*columns, console=Console(file=sys.stderr))
        self.task = self.bar.add_task("", total=steps, told="")
        self.start, self.stop = self.bar.start, self.bar.stop

    def show(self, state: State, evaluated: bool) -> None:
        self.bar.update(self.task, completed=state.step, told="  ".join(_figures(state)))


class Lines:
    """A line at each evaluation, and after each minute without one, whatever the run is busy with."""

    def __init__(self, steps: int, look: Callable[[], State]) -> None:
        self.steps, self.look = steps, look
        self.marks: deque[tuple[float, int]] = deque(maxlen=WINDOW)  # times and steps of the last lines
        self.written = time.monotonic()
        self.ticking = contextlib.ExitStack()

    def start(self) -> None:
        self.ticking.enter_context(call_every(SILENCE_S / 60, self._break_silence))

    def stop(self) -> None:
        self.ticking.close()

    def show(self, state: State, evaluated: bool) -> None:
        if not evaluated:
            return
        self.written = now = time.monotonic()
        self.marks.append((now, state.step))
        clock, share = time.strftime("%H:%M:%S"), state.step / self.steps
        done = f"step {state.step} of {self.steps} ({share:.0%})"
        print(f"{clock} {', '.join([done, *_figures(state), self._left(state.step)])}", flush=True)

    def _break_silence(self) -> None:
        if time.monotonic() - self.written >= SILENCE_S:
            self.show(self.look(), True)

    def _left(self, step: int) -> str:
        """Return what the last lines let expect of the rest."""
        (first_time, first_step), (last_time, last_step) = self.marks[0], self.marks[-1]
        if step >= self.steps:
            return "done"
        if last_step == first_step:
            return "time left unknown"
        return f"about {duration((self.steps - step) * (last_time - first_time) / (last_step - first_step))} left"


@contextlib.contextmanager
def call_every(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    """Call `action` in a thread of its own again and again, as long as the block runs."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(OSError):  # nobody reads it any more
                action()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(seconds)


def duration(seconds: float) -> str:
    """Describe a duration roughly, as said of what is to come."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def _figures(state: State) -> list[str]:
    """Return the return, where there is one, and the labels, in words."""
    score = [] if state.score is None else [f"return {state.score:.1f}"]
    return [*score, f"labels {state.labels}"]
