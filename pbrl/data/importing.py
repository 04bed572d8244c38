"""Import what a reader yields as the rows of a data set, one episode in memory at a time."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.columns import Arrays, Columns
from pbrl.data.dataset_checks import NAMES_FILE
from pbrl.data.formats.reader import Recorded, Recording
from pbrl.data.frame_keeper import FrameKeeper
from pbrl.data.stored_videos import FOLDER, FPS, StoredVideos
from pbrl.data.unit_actions import ActionRange, scale_rows
from pbrl.errors import UserError, is_name
from pbrl.labels.set_checks import refuse

MakeState = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A simulator's state (D,) of MuJoCo's qpos and qvel."""


@dataclass(frozen=True)
class Imported:
    """K episodes as rows on the disk, and what meta.json says of them."""

    rows: Arrays  # as `flatten` makes them, less `source`
    source: np.ndarray  # (K,) int64 into about["sources"]
    about: dict[str, Any]
    scores: dict[str, np.ndarray]  # (K,) of segments that are whole episodes
    files: list[Path]  # that go into the folder of the data set
    left_out: int  # steps whose next observation is not known


def import_recording(
    recording: Recording,
    folder: Path,
    where: Path,
    *,
    actions: ActionRange | str | int | None,
    clip: bool,
    frames: bool,
    make_state: MakeState | None,
) -> Imported:
    """Read all episodes and scale their actions; `folder` holds the rows as long as they are needed.

    Args:
        where: the file or folder that is read, for what is wrong with it.
        actions, clip: see `unit_actions.scale_rows`.
        frames: keep the pictures that a file holds, as videos from which clips are drawn.
        make_state: of the environment that was named, for files with qpos and qvel.
    """
    columns, index = Columns(folder), _Index()
    keeper = FrameKeeper(_make_folder(folder / FOLDER), recording.fps or FPS)
    for found in recording.episodes:
        name = f"{where}: episode {found.name}"
        recorded = _with_pictures(found, recording, keeper, frames, make_state, name)
        complete, left_out = _complete(recorded, recording.last_obs, name)
        index.add(complete, left_out)
        if len(complete.actions):
            columns.add(name, _rows(complete, name))
    keeper.close()
    rows = columns.map() | index.arrays()
    if "obs" not in rows:
        raise UserError(f"{where} has no episode of a step whose next observation is known")
    last = np.cumsum(rows["length"] + 1) - 1
    said, name_row = recording.actions, partial(index.name_row, last)
    rows["actions"], scaled = scale_rows(rows["actions"], actions, said, clip, str(where), name_row)
    rows["actions"][last] = 0
    about: dict[str, Any] = {"sources": index.sources, "last_obs": recording.last_obs}
    about |= {} if scaled is None else {"actions": scaled}
    videos = _describe_videos(recording, keeper)
    about |= {} if videos is None or "states" not in rows else {"videos": videos.describe()}
    scores = {} if recording.scores is None else {str(recording.score): recording.scores}
    files = [index.write(folder / NAMES_FILE), *([folder / FOLDER] if keeper.files else [])]
    return Imported(rows, np.array(index.source, np.int64), about, scores, files, index.left_out)


class _Index:
    """The facts about each episode as a whole."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.source: list[int] = []
        self.left_out = 0
        self._columns: dict[str, list[Any]] = {"length": [], "terminated": [], "success": []}
        self._names: list[tuple[str, str]] = []

    def add(self, episode: Recorded, left_out: int) -> None:
        self.left_out += left_out
        if not len(episode.actions):
            return
        if episode.source not in self.sources:
            self.sources.append(episode.source)
        self.source.append(self.sources.index(episode.source))
        self._columns["length"].append(len(episode.actions))
        self._columns["terminated"].append(episode.terminated)
        self._columns["success"].append(np.nan if episode.success is None else float(episode.success))
        self._names.append((episode.name, episode.task))

    def arrays(self) -> Arrays:
        types = {"length": np.int64, "terminated": np.bool_, "success": np.float64}
        return {name: np.array(column, types[name]) for name, column in self._columns.items()}

    def name_row(self, last: np.ndarray, row: int) -> str:
        """Name a row by its episode and step. last: (K,) of each episode."""
        k = int(np.searchsorted(last, row))
        return f"step {row - (last[k] - self._columns['length'][k])} in episode {self._names[k][0]}"

    def write(self, file: Path) -> Path:
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("name", "task"), *self._names])
        return file


def _with_pictures(
    recorded: Recorded,
    recording: Recording,
    keeper: FrameKeeper,
    keep: bool,
    make_state: MakeState | None,
    where: str,
) -> Recorded:
    """The episode with what its clips are drawn from in `states`: positions in videos, or those of a simulator."""
    if recorded.videos is not None:
        return replace(recorded, states=np.asarray(recorded.videos, np.float64))
    if recorded.frames and keep:
        missing = [camera for camera in recording.cameras if camera not in recorded.frames]
        if missing:
            raise UserError(f"{where} has no pictures of camera {missing[0]}, and others have; cameras= names some")
        kept = [keeper.keep(camera, recorded.frames[camera]()) for camera in recording.cameras]
        for camera, positions in zip(recording.cameras, kept, strict=True):
            if len(positions) != len(recorded.obs):
                found = f"{len(positions)} pictures of camera {camera}"
                raise UserError(f"{where} has {found}, expected {len(recorded.obs)}, one for each observation")
        return replace(recorded, states=np.concatenate(kept, 1))
    if recorded.qpos_qvel is not None and make_state is not None:
        try:
            made = [make_state(qpos, qvel) for qpos, qvel in zip(*recorded.qpos_qvel, strict=True)]
        except ValueError as error:
            raise UserError(f"{where}: its qpos and qvel are not of this environment ({error})") from None
        return replace(recorded, states=np.stack(made))
    return recorded


def _complete(e: Recorded, last_obs: bool, where: str) -> tuple[Recorded, int]:
    """The episode with an observation after each action, and how many steps were left out for want of one.

    A step that ends its MDP needs none: nothing looks past an end, so the observation before it stands there again.
    """
    steps = len(e.actions)
    if len(e.obs) not in (steps, steps + 1) or (e.rewards is not None and len(e.rewards) != steps):
        rewards = "" if e.rewards is None else f" and {len(e.rewards)} rewards"
        raise UserError(
            f"{where} has {len(e.obs)} observations, {steps} actions{rewards}, expected one for each action"
        )
    if e.states is not None and len(e.states) != len(e.obs):
        raise UserError(f"{where} has {len(e.states)} states and {len(e.obs)} observations, expected as many")
    if len(e.obs) == steps + 1 or not steps:
        return e, 0
    if e.terminated or not last_obs:
        states = None if e.states is None else np.concatenate([e.states, e.states[-1:]])
        return replace(e, obs=np.concatenate([e.obs, e.obs[-1:]]), states=states), 0
    return replace(e, actions=e.actions[:-1], rewards=None if e.rewards is None else e.rewards[:-1]), 1


def _rows(e: Recorded, where: str) -> Arrays:
    """Return L+1 rows of each column; the last of actions and rewards means nothing."""
    if not is_name(e.source) or not is_name(e.name):
        raise UserError(f"{where} has the source {e.source!r}, expected names without control characters")
    choice = e.actions.ndim == 1
    actions = e.actions[:, None] if choice else e.actions
    if actions.ndim != 2 or actions.dtype.kind not in ("iu" if choice else "fiu"):
        raise UserError(f"{where} has actions {e.actions.dtype}{e.actions.shape}, expected numbers (L, A)")
    obs = e.obs if e.obs.dtype == np.uint8 and e.obs.ndim == 4 else e.obs.reshape(len(e.obs), -1).astype(np.float32)
    if obs.dtype != np.uint8:
        refuse(~np.isfinite(obs), e.obs.reshape(obs.shape), "obs", "finite numbers", where)
    rows = {"obs": obs, "actions": actions.astype(np.int64 if choice else np.float32)}
    rows["actions"] = np.concatenate([rows["actions"], rows["actions"][-1:]])  # so that the pad has no range of its own
    if e.rewards is not None:
        refuse(~np.isfinite(e.rewards), e.rewards, "reward", "finite numbers", where)
        rows["true_reward"] = np.append(e.rewards, 0).astype(np.float32)
    if e.states is not None:
        rows["states"] = np.asarray(e.states, np.float64)
    return rows


def _describe_videos(recording: Recording, keeper: FrameKeeper) -> StoredVideos | None:
    if keeper.files:
        return keeper.describe(recording.cameras)
    if not recording.videos:
        return None
    files = [path.resolve() for path in recording.videos]
    root = Path(os.path.commonpath([path.parent for path in files]))
    names = tuple(path.relative_to(root).as_posix() for path in files)
    sizes = tuple(path.stat().st_size for path in files)
    return StoredVideos(recording.cameras, names, sizes, str(root), recording.fps or FPS)


def _make_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder
