"""D4RL's flat rows, in HDF5 or npz: those of its files (with `timeouts`) or those that `qlearning_dataset` returns.

An episode ends at a terminal or a timeout, or, where there are no timeouts, where the next row is not what followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.formats.npz import npz_names
from pbrl.data.formats.reader import Format, Option, Options, Recorded, Recording
from pbrl.errors import UserError
from pbrl.hdf5 import SUFFIXES, open_hdf5, read_rows
from pbrl.labels.set_checks import refuse
from pbrl.reading import read_arrays

NEEDED = ("observations", "actions", "rewards", "terminals")
QPOS, QVEL = ("infos/qpos", "qpos"), ("infos/qvel", "qvel")
SAME = 1e-5  # distance from which an observation is another one, as in the published code
BLOCK = 1 << 16

ReadRows = Callable[[str, slice], np.ndarray]


def is_d4rl(path: Path) -> bool:
    names = npz_names(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        try:
            with open_hdf5(path) as content:
                names = set(content)
        except UserError:
            return False
    return {"observations", "actions", "rewards", "terminals"} <= names


def read(path: Path, options: Options) -> Recording:
    return Recording(_episodes(path, options.get("source", "recorded")))


@contextmanager
def _open_rows(path: Path) -> Iterator[tuple[ReadRows, dict[str, int]]]:
    """A function that reads some rows of an array, and how many rows each has."""
    if path.suffix.lower() in SUFFIXES:
        with open_hdf5(path) as content:
            names = (*NEEDED, "timeouts", "next_observations", *QPOS, *QVEL)
            lengths = {
                name: len(content[name]) for name in names if name in content and hasattr(content[name], "shape")
            }
            yield (lambda name, rows: read_rows(content, name, path, rows)), lengths
    else:
        arrays = read_arrays(path)
        yield (lambda name, rows: arrays[name][rows]), {name: len(np.atleast_1d(a)) for name, a in arrays.items()}


def _episodes(path: Path, source: str) -> Iterator[Recorded]:
    with _open_rows(path) as (rows, lengths):
        if missing := [name for name in NEEDED if name not in lengths]:
            raise UserError(f"{path}: {', '.join(missing)} missing; it has {', '.join(sorted(lengths)) or 'no arrays'}")
        m = lengths["observations"]
        if wrong := [name for name, length in lengths.items() if length != m and name in (*NEEDED, "timeouts")]:
            raise UserError(f"{path}: {wrong[0]} has {lengths[wrong[0]]} rows, observations has {m}, expected as many")
        terminated, ended = _ends(rows, lengths, m, path)
        begin = 0
        for number, last in enumerate([*np.flatnonzero(ended).tolist(), m - 1]):
            if last >= begin:
                part = slice(begin, last + 1)
                yield _recorded(rows, lengths, part, bool(terminated[last]), str(number), source)
            begin = last + 1


def _ends(rows: ReadRows, lengths: dict[str, int], m: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows after which an MDP ended, and after which an episode did, as masks (M,)."""
    flags: dict[str, Any] = {name: rows(name, slice(None)) for name in ("terminals", "timeouts") if name in lengths}
    for name, flag in flags.items():
        if flag.ndim != 1:
            raise UserError(f"{path}: {name} has shape {flag.shape}, expected ({m},)")
        refuse((flag != 0) & (flag != 1), flag, name, "0 or 1", path)
    terminated = flags["terminals"] != 0
    if "timeouts" in flags:
        return terminated, terminated | (flags["timeouts"] != 0)
    if "next_observations" not in lengths:
        raise UserError(
            f"{path}: timeouts missing; valid are the arrays of D4RL's file, which have timeouts, or those that "
            "qlearning_dataset returns, which have next_observations: without either nobody knows where episodes end"
        )
    ended = terminated.copy()
    for begin in range(0, m - 1, BLOCK):
        end = min(begin + BLOCK, m - 1)
        following, next_row = (
            rows("next_observations", slice(begin, end)),
            rows("observations", slice(begin + 1, end + 1)),
        )
        ended[begin:end] |= np.linalg.norm(following - next_row, axis=1) > SAME
    return terminated, ended


def _recorded(
    rows: ReadRows, lengths: dict[str, int], part: slice, terminated: bool, name: str, source: str
) -> Recorded:
    obs = rows("observations", part)
    last = slice(part.stop - 1, part.stop)
    after_end_is_next = terminated and "timeouts" not in lengths  # `qlearning_dataset` takes the next episode's first
    if "next_observations" in lengths and not after_end_is_next:
        obs = np.concatenate([obs, rows("next_observations", last)])
    qpos, qvel = (next((n for n in names if n in lengths), None) for names in (QPOS, QVEL))
    states = None
    if qpos and qvel and lengths[qpos] == lengths[qvel] == lengths["observations"]:
        states = rows(qpos, part), rows(qvel, part)
        if len(obs) > len(states[0]):  # nobody knows them after the end
            obs = obs[:-1]
    return Recorded(
        name=name,
        obs=obs,
        actions=rows("actions", part),
        rewards=rows("rewards", part),
        terminated=terminated,
        source=source,
        qpos_qvel=states,
    )


FORMAT = Format(
    name="d4rl",
    about="D4RL's HDF5, an npz of its arrays, or an npz of what qlearning_dataset returned",
    is_one=is_d4rl,
    read=read,
    options=(Option("source", "who acted, as source=medium (recorded)"),),
)
