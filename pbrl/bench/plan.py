"""The plan of a bench: a cell that is done is never run again, one of another config or code is another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pbrl.bench.data_sets import data_version
from pbrl.bench.grid import Cell, Grid
from pbrl.bench.identity import config_version, stamp
from pbrl.bench.jobs import Job
from pbrl.bench.sources import code_version, same_modules
from pbrl.errors import UserError
from pbrl.files import write_json
from pbrl.reading import find_object

STATES = {
    "done": "finished",
    "begun": "go on from their checkpoints",
    "failed": "failed before, and are tried again",
    "new": "new",
    "stale": "made with another config or other code, and are made anew",
}


@dataclass(frozen=True)
class Planned:
    """A cell, where it runs and how far it is."""

    cell: Cell
    job: Job
    stamp: str
    data: str  # stands for its data set
    state: str  # of STATES

    @property
    def record_file(self) -> Path:
        return self.job.folder.with_name(f"{self.job.folder.name}.json")

    def record(self) -> dict[str, Any]:
        """The record about the cell; empty before it was begun."""
        return find_object(self.record_file) or {}

    def write_record(self, **fields: Any) -> None:
        self.job.folder.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.record_file, self.record() | fields)


def make_plan(grid: Grid, chosen: Sequence[Cell], out: Path, composed: Composed, any_code: bool) -> list[Planned]:
    """Plan all cells. any_code: what other code has finished counts too."""
    extra_dir, names = composed.extra_dir, {cell.name for cell in chosen}
    version = cache(lambda env: data_version(grid.envs[env], out, extra_dir))
    planned = []
    for cell in grid.cells:
        folder, old = out / "runs" / cell.name, out / "old" / f"{cell.name}_refused"
        job = Job(cell.name, folder, cell.arguments, _folder(grid, cell, out), extra_dir, old)
        new = Planned(cell, job, "", "", "new")
        if cell.name in names or new.record():  # others may lack their data
            data = version(cell.env) if cell.reads_data else ""
            new = replace(new, stamp=stamp(cell, data, extra_dir), data=data)
        planned.append(replace(new, state=_state(new, composed, any_code)))
    return planned


def describe(grid: Grid, planned: Sequence[Planned]) -> list[str]:
    """Say in lines how many cells are in which state, and where the tables will lack a column."""
    counts, ends = Counter(p.state for p in planned), {(c.env, c.method) for c in grid.cells}
    parts = [f"{counts[state]} {text}" for state, text in STATES.items() if counts[state]]
    return [
        f"{len(planned)} cells: {'; '.join(parts)}",
        *(
            f"{env.name}: no normalised scores, since {env.high}, its high, has no cell there"
            for env in grid.envs.values()
            if (env.name, env.high) not in ends
        ),
    ]


class Composed:
    """Configs of cells; those that differ in the seed alone are composed once."""

    def __init__(self, extra_dir: Path | None) -> None:
        self.extra_dir = extra_dir
        self._known: dict[tuple[str, ...], Any] = {}

    def version(self, cell: Cell, data: str) -> str:
        return config_version(self.config(cell), data)

    def config(self, cell: Cell) -> Any:
        """Return the resolved and checked config; a UserError names the cell."""
        from pbrl.config import compose_config

        key = tuple(text for text in cell.arguments if not text.startswith("seed="))
        try:
            if key not in self._known:
                extra = None if self.extra_dir is None else str(self.extra_dir)
                self._known[key] = compose_config([*key, f"seed={cell.seed}"], extra)
                _check(self._known[key], cell)
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from error
        config = self._known[key].copy()
        config.seed = cell.seed
        return config


def _check(config: Any, cell: Cell) -> None:
    """Refuse what a run would refuse at its start; its data set, which may not be there yet, apart."""
    if config.env.make is None:
        raise UserError("env=none: a bench compares what policies reach, which takes an environment")
    config = config.copy()
    config.data = "later" if cell.reads_data else config.data
    from pbrl.training.check import check

    check(config)


def _state(new: Planned, composed: Composed, any_code: bool) -> str:
    record = new.record()
    if not record:
        return "stale" if new.job.folder.exists() else "new"
    same_code = record.get("code") == code_version() or (any_code and new.job.finished())
    same = record.get("stamp") == new.stamp and same_modules(record.get("own", {}))
    same = same or record.get("config") == composed.version(new.cell, new.data)
    if not (same and same_code):
        return "stale"
    if new.job.finished():
        return "done"
    return "failed" if record.get("status") == "failed" else "begun" if new.job.folder.exists() else "new"


def _folder(grid: Grid, cell: Cell, out: Path) -> Path | None:
    """Return where the data set of a cell lies."""
    if not cell.reads_data:
        return None
    env = grid.envs[cell.env]
    return Path(env.data).resolve() if env.data is not None else out / "data" / env.name
