"""The display of a bench: a live table on a terminal, a line per cell elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pbrl.bench.jobs import INTERRUPTED, Outcome
from pbrl.bench.plan import Planned
from pbrl.training.progress import SILENCE_S, call_every, duration

if TYPE_CHECKING:
    from rich.table import Table

    from pbrl.bench.estimate import Estimate

TAIL = 4096  # bytes of progress.csv that hold its last row


class Spoken:
    """Lines on standard error."""

    def say(self, message: str) -> None:
        print(f"pbrl: {message}", file=sys.stderr, flush=True)

    def begin(self, todo: Sequence[Planned], steps: Mapping[str, int], expected: Estimate, slots: int) -> None:
        """Hear that the bench begins. steps: of each cell's whole run, by name."""
        self.todo, self.steps, self.expected, self.slots = list(todo), steps, expected, slots
        self.began, self.outcomes, self.running = time.monotonic(), dict[str, Outcome](), dict[str, Planned]()
        if todo:
            seconds = expected.left_s(todo, slots)
            said = "an unknown time" if seconds is None else f"about {duration(seconds)}"
            self.say(f"{len(todo)} to run, {min(slots, len(todo))} at a time: {said}")
        self.showing = contextlib.ExitStack()
        self._show()

    def on_start(self, planned: Planned) -> None:
        self.running[planned.cell.name] = planned

    def on_end(self, planned: Planned, outcome: Outcome, row: dict[str, Any]) -> None:
        self.note(outcome)
        left = self.left_s()
        rest = "" if left is None else f", {duration(left)} to go"
        self.say(f"[{len(self.outcomes)}/{len(self.todo)}] {ending(outcome, row)}{rest}")

    def close(self) -> None:
        self.showing.close()

    def note(self, outcome: Outcome) -> None:
        self.outcomes[outcome.job.name] = outcome
        del self.running[outcome.job.name]

    def waiting(self) -> list[Planned]:
        return [p for p in self.todo if p.cell.name not in self.outcomes]

    def left_s(self) -> float | None:
        """Return what the estimate says of the rest, corrected by how far it was off in runs that were seen whole."""
        waiting = self.waiting()
        if not waiting or (seconds := self.expected.left_s(waiting, self.slots, self._share_left)) is None:
            return None
        seen = [
            (foreseen, outcome.wall_s)
            for p in self.todo
            if p.state in ("new", "stale")
            and (outcome := self.outcomes.get(p.cell.name)) is not None
            and outcome.code == 0
            and (foreseen := self.expected.of(p))
        ]
        return seconds * (sum(taken for _, taken in seen) / sum(foreseen for foreseen, _ in seen) if seen else 1.0)

    def _show(self) -> None:
        """Print a line about what runs every minute, in a thread of its own."""
        self.showing.enter_context(call_every(SILENCE_S, self._tell))

    def _tell(self) -> None:
        running = list(self.running.values())[: self.slots]
        steps = "; ".join(f"{p.cell.name} at step {_step(p) or 0}" for p in running)
        left = self.left_s()
        rest = "" if left is None else f", {duration(left)} to go"
        self.say(f"[{len(self.outcomes)}/{len(self.todo)}] {time.strftime('%H:%M:%S')} {steps}{rest}")

    def _share_left(self, planned: Planned) -> float:
        name = planned.cell.name
        if name not in self.running and planned.state not in ("begun", "failed"):
            return 1.0  # what lies there, if anything, is of a run that is made anew
        return max(0.0, 1 - (step_of(planned) or 0) / self.steps[name])


class LiveTable(Spoken):
    """A table of what runs now and what has ended, drawn anew twice a second."""

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(file=sys.stderr)
        self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=2)
        self.live.start()
        self.showing.callback(self.live.stop)

    def on_end(self, planned: Planned, outcome: Outcome, row: dict[str, Any]) -> None:
        self.note(outcome)
        if outcome.code not in (0, INTERRUPTED):
            self.live.console.print(f"pbrl: {ending(outcome, row)}", highlight=False)

    def _table(self) -> Table:
        from rich.table import Table

        left = self.left_s()
        ended, failed = len(self.outcomes), sum(o.code not in (0, INTERRUPTED) for o in self.outcomes.values())
        title = f"{ended} of {len(self.todo)} ended, {failed} failed; {duration(time.monotonic() - self.began)} so far"
        table = Table(title=title + ("" if left is None else f", {duration(left)} to go"), title_justify="left")
        for column in ("method", "done", "of", "running", "at step"):
            table.add_column(column, justify="left" if column in ("method", "running") else "right")
        totals = Counter(p.cell.method for p in self.todo)
        done = Counter(p.cell.method for p in self.todo if p.cell.name in self.outcomes)
        running = list(self.running.values())[: self.slots]  # of a cluster's, others are in its queue
        for method, total in totals.items():
            now = [p for p in running if p.cell.method == method]
            names = "\n".join(p.cell.name for p in now)
            table.add_row(method, str(done[method]), str(total), names, "\n".join(map(_step, now)))
        return table


def step_of(planned: Planned) -> float | None:
    """Return the step of the last whole row of a run's progress.csv; None before the first."""
    try:
        with (planned.job.folder / "progress.csv").open("rb") as file:
            header = file.readline()
            file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - TAIL))
            rows = file.read().split(b"\n")[:-1]  # the last may be being written
    except OSError:
        return None
    if not rows:
        return None
    last = dict(zip(header.decode().strip().split(","), rows[-1].decode().strip().split(","), strict=False))
    step = last.get("time/total_timesteps") or last.get("time/total_updates")
    return float(step) if step else None


def _step(planned: Planned) -> str:
    step = step_of(planned)
    return "" if step is None else f"{step:,.0f}"


def ending(outcome: Outcome, row: dict[str, Any]) -> str:
    """Describe in one line how a cell ended."""
    name, took = outcome.job.name, duration(outcome.wall_s)
    if row["status"] == "finished":
        success = "" if row["success"] is None else f", success {row['success']:.0%}"
        return f"{name}: return {row['return']:.1f}{success} in {took}"
    if outcome.code == INTERRUPTED:
        return f"{name}: stopped, and saved"
    code = "" if outcome.code < 0 else f" with exit code {outcome.code}"  # a signal is named by the message
    return f"{name}: failed{code}: {outcome.message}; see {outcome.job.log}"
