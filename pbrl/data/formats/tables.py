"""Plain tables of steps: a CSV or parquet file with a column that names the episode, or a folder with one file each.

The last row of an episode may leave its actions empty: it is the observation after the last action.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pbrl.data.formats.reader import Format, Option, Options, Recorded, Recording, split_words
from pbrl.data.table_files import SUFFIXES, Batch, as_matrix, by_episode, find_columns, table_batches, table_columns
from pbrl.errors import UserError, choices

EPISODE = ("episode", "episode_id", "episode_index", "video", "file", "trajectory", "demo")  # what names an episode
OBS = ("obs_*", "observation_*", "obs", "observation", "observations", "state")  # lists of numbers too, in parquet
ACTION, REWARD = ("act_*", "action_*", "act", "action", "actions"), ("reward",)
ENDS, SUCCESS, TASK = ("terminated", "terminal"), ("success", "is_success"), ("task",)

STEP_OPTIONS = (
    Option("episode", "the column that names the episode (episode, video, file, ...; a folder: each file is one)"),
    Option("obs", "columns of the observation, patterns too (obs_*)"),
    Option("action", "columns of the action, patterns too (act_*, action_*)"),
    Option("reward", "the column of the reward, if there is one (reward)"),
    Option("terminated", "1 where the task ended, which a time limit does not (terminated)"),
    Option("success", "1 where the task succeeded (success)"),
    Option("source", "the column that says who acted, or a name for all (recorded)"),
)


@dataclass(frozen=True)
class Columns:
    """The meaning of each column of a table."""

    episode: str | None
    obs: list[str]
    action: list[str]
    reward: str | None
    terminated: str | None
    success: str | None
    task: str | None
    source: str | None

    @property
    def text(self) -> list[str]:
        return [name for name in (self.episode, self.task, self.source) if name]

    @property
    def numbers(self) -> list[str]:
        return [*self.obs, *self.action, *(name for name in (self.reward, self.terminated, self.success) if name)]


def is_tables(path: Path) -> bool:
    """A table that is not one of comparisons, or a folder of nothing else."""
    files = table_files(path)
    if not files or (path.is_dir() and any(f.suffix.lower() not in SUFFIXES for f in path.iterdir())):
        return False
    try:
        return not is_comparisons(table_columns(files[0]))
    except UserError:
        return False


def is_comparisons(columns: Sequence[str]) -> bool:
    """Return whether a table with these columns tells of pairs: an answer in each row, or two episodes."""
    return bool({"choice", "prefers_right", "label_info"} & set(columns)) or {"left_episode", "right_episode"} <= set(
        columns
    )


def table_files(path: Path) -> list[Path]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [f for f in files if f.suffix.lower() in SUFFIXES and f.is_file()]


def read(path: Path, options: Options) -> Recording:
    if not (files := table_files(path)):
        raise UserError(f"{path} is no table; valid are {', '.join(SUFFIXES)}, or a folder of them")
    columns = choose(table_columns(files[0]), options, files[0], one_each=path.is_dir())
    notes = {"obs": columns.obs, "action": columns.action}
    return Recording(_episodes(files, columns, options.get("source", "recorded")), notes=notes)


def choose(there: list[str], options: Options, where: Path, *, one_each: bool, pictures: bool = False) -> Columns:
    """Return what the user named, or the usual names.

    one_each: a file may be an episode without a column that says so. pictures: they are observed, and no column.
    """
    episode = _one(there, options, "episode", EPISODE, where)
    if episode is None and not one_each:
        raise UserError(f"{where} has no column that names the episode; episode=COLUMN, {choices('episode', there)}")
    source = options.get("source")
    return Columns(
        episode=episode,
        obs=[] if pictures else _several(there, options, "obs", OBS, where),
        action=_several(there, options, "action", ACTION, where),
        reward=_one(there, options, "reward", REWARD, where),
        terminated=_one(there, options, "terminated", ENDS, where),
        success=_one(there, options, "success", SUCCESS, where),
        task=_one(there, options, "task", TASK, where),
        source=source if source in there else "source" if source is None and "source" in there else None,
    )


def make_episode(name: str, rows: Batch, columns: Columns, source: str, where: Path) -> Recorded:
    """Make one episode of the rows of a table."""
    actions = as_matrix(rows, columns.action)
    steps = len(actions)
    obs = as_matrix(rows, columns.obs) if columns.obs else np.zeros((steps, 1))  # pictures will stand there
    if np.isnan(actions[-1]).all() and steps > 1:  # the observation after the last action
        steps -= 1
    for column in columns.action:
        if (empty := np.isnan(rows[column][:steps]).reshape(steps, -1).any(1)).any():
            step = int(np.argmax(empty))
            raise UserError(f"{where}: {column} of step {step} in episode {name} is empty, expected a number")
    ends = rows[columns.terminated][:steps] if columns.terminated else np.zeros(steps)
    if np.nan_to_num(ends[:-1]).any():
        found = int(np.flatnonzero(ends[:-1])[0])
        raise UserError(f"{where}: {columns.terminated} of step {found} in episode {name} is set, and steps follow it")
    success = rows[columns.success] if columns.success else None
    return Recorded(
        name=name,
        obs=obs,
        actions=actions[:steps],
        rewards=rows[columns.reward][:steps] if columns.reward else None,
        terminated=bool(np.nan_to_num(ends[-1])),
        success=None if success is None or np.isnan(success).all() else float(np.clip(np.nanmax(success), 0, 1)),
        source=str(rows[columns.source][0]) if columns.source else source,
        task=str(rows[columns.task][0]) if columns.task else "",
    )


def _episodes(files: list[Path], columns: Columns, source: str) -> Iterator[Recorded]:
    for file in files:
        for name, rows in by_episode(table_batches(file, columns.text, columns.numbers), columns.episode, file):
            yield make_episode(name, rows, columns, source, file)


def _one(there: list[str], options: Options, key: str, usual: Sequence[str], where: Path) -> str | None:
    if (name := options.get(key)) is not None:
        if name not in there:
            raise UserError(f"{where}: {key}={name} is no column; {choices(name, there)}")
        return name
    return next((name for name in usual if name in there), None)


def _several(there: list[str], options: Options, key: str, usual: Sequence[str], where: Path) -> list[str]:
    if (named := split_words(options, key)) is not None:
        return find_columns(named, there, key, where)
    for pattern in usual:
        if any(fnmatch.fnmatchcase(name, pattern) for name in there):
            return find_columns([pattern], there, key, where)
    found = f"{where} has no columns {', '.join(usual)}"
    raise UserError(f"{found}; {key}=COLUMN,COLUMN names them, {choices('', there)}")


FORMAT = Format(
    name="tables",
    about="a CSV or parquet table of steps, or a folder with a table for each episode",
    is_one=is_tables,
    read=read,
    options=(*STEP_OPTIONS, Option("task", "the column of the task in words (task)")),
)
