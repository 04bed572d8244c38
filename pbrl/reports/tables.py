"""Tables that are shown in several forms, and how their numbers are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table

NOTHING = "\N{EN DASH}"
BLANK = (NOTHING, "-", "")


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of each row names it. Pages draw it with `parts.table`."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]

    def filled(self) -> Table:
        """Leave out the columns in which no row has anything."""
        kept = [i for i in range(len(self.header)) if not i or any(row[i] not in BLANK for row in self.rows)]
        return Table(self.title, self.note, [self.header[i] for i in kept], [[r[i] for i in kept] for r in self.rows])

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        rows = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        return f"## {self.title}\n\n{self.note}\n\n{rows}\n" if self.note else f"## {self.title}\n\n{rows}\n"

    def in_terminal(self) -> rich.table.Table:
        from rich.table import Table as Drawn
        from rich.text import Text

        drawn = Drawn(*self.header)
        for row in self.rows:
            drawn.add_row(*map(Text, row))
        return drawn


def number(value: float | None) -> str:
    """About three significant digits, with a real minus sign."""
    if value is None or math.isnan(value):
        return NOTHING
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
