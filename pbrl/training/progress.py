"""A progress bar on a terminal, silence elsewhere."""

from __future__ import annotations

import sys


class Progress:
    """Shows step, return and labels while a run goes on."""

    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("return {task.fields[score]}  labels {task.fields[labels]}"),
        )
        self.bar = Bar(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty())
        self.task = self.bar.add_task("", total=steps, score="-", labels=0)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, step: int, score: float | None, labels: int) -> None:
        shown = "-" if score is None else f"{score:.1f}"
        self.bar.update(self.task, completed=step, score=shown, labels=labels)
