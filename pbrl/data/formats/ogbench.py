"""OGBench's npz: flat rows, of which the last of each episode is the observation after its end; a folder of them too.

`terminals` marks that last row and is a time limit, never an end of the MDP. There are no rewards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pbrl.data.formats.npz import npz_names
from pbrl.data.formats.reader import Format, Option, Options, Recorded, Recording
from pbrl.errors import UserError
from pbrl.labels.segment_files import require
from pbrl.labels.set_checks import refuse
from pbrl.reading import read_arrays


def is_ogbench(path: Path) -> bool:
    files = npz_files(path)
    names = npz_names(files[0]) if files else set()
    return {"observations", "actions", "terminals"} <= names and not {"rewards", "timeouts"} & names


def npz_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.npz")) if path.is_dir() else [path]


def read(path: Path, options: Options) -> Recording:
    if not (files := npz_files(path)):
        raise UserError(f"{path} has no npz files")
    return Recording(_episodes(files, options.get("source")))


def _episodes(files: list[Path], source: str | None) -> Iterator[Recorded]:
    """Yield episodes file by file, since an npz is unpacked whole."""
    number = 0
    for file in files:
        data = read_arrays(file)
        require(data, ["observations", "actions", "terminals"], file)
        m, ends = len(np.atleast_1d(data["observations"])), data["terminals"]
        if ends.shape != (m,) or data["observations"].ndim < 2 or data["actions"].shape[:1] != (m,):
            shapes = ", ".join(f"{name} {data[name].shape}" for name in ("observations", "actions", "terminals"))
            raise UserError(f"{file}: {shapes}; expected (M, O), (M, A) and (M,)")
        refuse((ends != 0) & (ends != 1), ends, "terminals", "0 or 1", file)
        states = all(name in data and data[name].ndim == 2 and len(data[name]) == m for name in ("qpos", "qvel"))
        begin = 0
        for last in [*np.flatnonzero(ends).tolist(), *([] if m and ends[-1] else [m - 1])]:
            part = slice(begin, last + 1)
            actions = data["actions"][part][:-1]
            yield Recorded(
                name=str(number),
                obs=data["observations"][part],
                actions=actions.astype(np.int64) if actions.ndim == 1 and actions.dtype.kind in "iu" else actions,
                source=source or file.stem,
                qpos_qvel=(data["qpos"][part], data["qvel"][part]) if states else None,
            )
            begin, number = last + 1, number + 1


FORMAT = Format(
    name="ogbench",
    about="OGBench's npz (observations, actions, terminals), or a folder of them",
    is_one=is_ogbench,
    read=read,
    options=(Option("source", "who acted (the name of the file)"),),
)
