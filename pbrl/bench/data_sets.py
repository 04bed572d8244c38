"""The data sets that a bench's offline cells learn from: made once by `pbrl collect`, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pbrl.bench.child import Child
from pbrl.bench.grid import EnvEntry, Grid
from pbrl.bench.identity import data_version
from pbrl.bench.jobs import POLL_S, Stop, last_words, side_by_side
from pbrl.bench.plan import Planned
from pbrl.errors import UserError


def make_data_sets(
    grid: Grid, todo: Sequence[Planned], out: Path, extra_dir: Path | None, slots: int, say: Callable[[str], None]
) -> None:
    """Those that cells still need and that are missing, `slots` at once."""
    names = dict.fromkeys(p.cell.env for p in todo if p.cell.reads_data)
    missing = [env for env in map(grid.envs.__getitem__, names) if env.collect is not None and not _there(env, out)]
    for env in missing:
        say(f"{env.name}: collecting its data set")
    side_by_side(partial(_collect, out, extra_dir), missing, slots)


def _there(env: EnvEntry, out: Path) -> bool:
    """Whether it is there, and made with today's arguments; data of others are never replaced."""
    folder = out / "data" / env.name
    if not folder.exists():
        return False
    made = out / "data" / f"{env.name}.made"
    if not made.exists() or made.read_text() != data_version(env, True):
        raise UserError(
            f"{folder} was made with other arguments than envs.{env.name} has now; take it away, or choose another out="
        )
    return True


def _collect(out: Path, extra_dir: Path | None, env: EnvEntry, stopped: Stop) -> None:
    folder = out / "data" / env.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written first: the data set itself appears whole, or not at all.
    (folder.parent / f"{env.name}.made").write_text(data_version(env, True))
    own = [] if extra_dir is None else ["--config-dir", str(extra_dir)]
    log = folder.parent / f"{env.name}.log"
    with Child(["collect", *env.collecting, f"out={folder}", *own], log) as child:
        while (code := child.wait(POLL_S)) is None:
            if stopped.is_set():
                child.stop()
    if code and not stopped.is_set():
        raise UserError(f"envs.{env.name}.collect: {last_words(code, log)}; see {log}")
