"""What a person sees of a bench: a live table on a terminal, a line per cell elsewhere."""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pbrl.bench.jobs import INTERRUPTED, Outcome
from pbrl.bench.plan import Planned

if TYPE_CHECKING:
    from rich.table import Table

    from pbrl.bench.estimate import Estimate


class Spoken:
    """Lines on standard error."""

    def say(self, message: str) -> None:
        print(f"pbrl: {message}", file=sys.stderr, flush=True)

    def begin(self, todo: Sequence[Planned], expected: Estimate, slots: int) -> None:
        self.todo, self.expected, self.slots = list(todo), expected, slots
        self.started, self.outcomes = time.monotonic(), dict[str, Outcome]()
        if todo:
            hours = expected.hours(todo, slots)
            said = "an unknown time" if hours is None else f"about {duration(hours * 3600)}"
            self.say(f"{len(todo)} to run, {min(slots, len(todo))} at a time: {said}")

    def ended(self, planned: Planned, outcome: Outcome, row: dict[str, Any]) -> None:
        self.outcomes[outcome.job.name] = outcome
        left = self.left_s()
        rest = "" if left is None or not self.waiting() else f", {duration(left)} to go"
        self.say(f"[{len(self.outcomes)}/{len(self.todo)}] {ending(outcome, row)}{rest}")

    def close(self) -> None:
        pass

    def waiting(self) -> list[Planned]:
        return [p for p in self.todo if p.cell.name not in self.outcomes]

    def left_s(self) -> float | None:
        """What the estimate says of the rest, corrected by how far it was off so far."""
        waiting = self.waiting()
        if not waiting or (hours := self.expected.hours(waiting, self.slots)) is None:
            return None
        ended = [p for p in self.todo if p.cell.name in self.outcomes and self.expected.of(p)]
        foreseen = sum(self.expected.of(p) or 0 for p in ended)
        taken = sum(self.outcomes[p.cell.name].wall_s for p in ended)
        return hours * 3600 * (taken / foreseen if foreseen and taken else 1.0)


class LiveTable(Spoken):
    """A table of what runs now and what has ended, drawn anew twice a second."""

    def begin(self, todo: Sequence[Planned], expected: Estimate, slots: int) -> None:
        from rich.console import Console
        from rich.live import Live

        super().begin(todo, expected, slots)
        self.console = Console(file=sys.stderr)
        self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=2)
        self.live.start()

    def ended(self, planned: Planned, outcome: Outcome, row: dict[str, Any]) -> None:
        self.outcomes[outcome.job.name] = outcome
        if outcome.code not in (0, INTERRUPTED):
            self.live.console.print(f"pbrl: {ending(outcome, row)}", highlight=False)

    def close(self) -> None:
        if hasattr(self, "live"):
            self.live.stop()

    def _table(self) -> Table:
        from rich.table import Table

        left = self.left_s()
        ended, failed = len(self.outcomes), sum(o.code not in (0, INTERRUPTED) for o in self.outcomes.values())
        title = (
            f"{ended} of {len(self.todo)} ended, {failed} failed; {duration(time.monotonic() - self.started)} so far"
        )
        table = Table(title=title + ("" if left is None else f", {duration(left)} to go"), title_justify="left")
        for column in ("method", "done", "of", "running", "at step"):
            table.add_column(column, justify="left" if column in ("method", "running") else "right")
        totals = Counter(p.cell.method for p in self.todo)
        done = Counter(p.cell.method for p in self.todo if p.cell.name in self.outcomes)
        running = [p for p in self.waiting() if (p.job.folder / "progress.csv").exists()][: self.slots]
        for method, total in totals.items():
            now = [p for p in running if p.cell.method == method]
            names = "\n".join(p.cell.name for p in now)
            table.add_row(method, str(done[method]), str(total), names, "\n".join(map(step_of, now)))
        return table


def step_of(planned: Planned) -> str:
    """The last row of a run's progress.csv."""
    try:
        rows = list(csv.DictReader((planned.job.folder / "progress.csv").read_text().splitlines()))
    except OSError:
        return ""
    last = rows[-1] if rows else {}
    step = last.get("time/total_timesteps") or last.get("time/total_updates")
    return f"{float(step):,.0f}" if step else ""


def ending(outcome: Outcome, row: dict[str, Any]) -> str:
    """One line about a cell that ended."""
    name, took = outcome.job.name, duration(outcome.wall_s)
    if row["status"] == "finished":
        success = "" if row["success"] is None else f", success {row['success']:.0%}"
        return f"{name}: return {row['return']:.1f}{success} in {took}"
    if outcome.code == INTERRUPTED:
        return f"{name}: stopped, and saved"
    return f"{name}: failed with exit code {outcome.code}: {outcome.message}; see {outcome.job.log}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
