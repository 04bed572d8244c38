"""LeRobotDataset v2.0, v2.1 and v3: parquet rows, MP4 files of one episode (v2) or of many (v3), text of the tasks.

Rows of an episode are found by their `episode_index`, frames by the file and the second that `meta` says they begin at.
There is no observation after the last action, so the last step of each episode is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.formats.lerobot_meta import INFO, Place, data_files, find_places, read_info, stated_range
from pbrl.data.formats.reader import (
    Format,
    Option,
    Options,
    Recorded,
    Recording,
    join_columns,
    split_words,
    whole_number,
)
from pbrl.data.parquet import read_batches, to_numpy
from pbrl.data.pictures import decode_picture
from pbrl.data.stored_videos import require_video, small_frames
from pbrl.errors import UserError, choices
from pbrl.reading import find_object

ACTION, REWARD, SUCCESS = "action", "next.reward", "next.success"
OBS = ("observation.state", "observation.environment_state")  # what is observed unless obs= says it


@dataclass(frozen=True)
class Features:
    """The columns that are read."""

    obs: tuple[str, ...]
    cameras: tuple[str, ...]  # videos, or pictures in the rows
    pictures: tuple[str, ...]  # which of all features are pictures in the rows
    image_size: int | None  # pixels of pictures that are observed; None: as they are, and 64 of a video
    action: str
    reward: str | None
    success: str | None

    @property
    def columns(self) -> list[str]:
        more = [name for name in (self.reward, self.success) if name]
        shown = [name for name in self.cameras if name in self.pictures]
        wanted = ["episode_index", "frame_index", *self.obs, self.action, *more, *shown]
        return [name for name in dict.fromkeys(wanted) if name not in self.films]

    @property
    def films(self) -> tuple[str, ...]:
        """The cameras that are videos, those that are observed among them."""
        return tuple(name for name in self.cameras if name not in self.pictures)


def is_lerobot(path: Path) -> bool:
    info = find_object(path / INFO) if path.is_dir() else None
    return info is not None and "codebase_version" in info


def read(path: Path, options: Options) -> Recording:
    """Episodes of a folder with meta/info.json."""
    info = read_info(path)
    try:
        if not 0 < (fps := float(info["fps"])) <= 10_000:
            raise ValueError(f"fps is {fps}")
        all_features = dict(info["features"])
        features = choose_features(all_features, options, path)
        places = find_places(path, features.films)
        files = data_files(path)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{path / INFO} is damaged ({type(error).__name__}: {error})") from None
    videos = list(dict.fromkeys(name for place in places.values() for name, _ in place.videos.values()))
    for name in videos:
        require_video(path / name)
    number = {name: k for k, name in enumerate(videos)}
    notes = {
        "fps": fps,
        "robot": info.get("robot_type"),
        "version": info["codebase_version"],
        "obs": list(features.obs),
    }
    return Recording(
        episodes=_episodes(files, places, features, number, fps, path),
        actions=None if _is_choice(all_features[features.action]) else stated_range(path, features.action),
        cameras=features.cameras,
        videos=tuple(path / name for name in videos),
        fps=fps,
        notes=notes,
    )


def choose_features(features: Mapping[str, Any], options: Options, path: Path) -> Features:
    """Return what the user named, or what stands for it in most data sets."""
    numbers = [k for k, v in features.items() if v.get("dtype") not in ("video", "image", "string", "language")]
    films, pictures = ([k for k, v in features.items() if v.get("dtype") == kind] for kind in ("video", "image"))
    obs = split_words(options, "obs") or [name for name in OBS if name in features]
    cameras = split_words(options, "cameras")
    action, reward = options.get("action", ACTION), options.get("reward", REWARD)
    if not obs:
        raise UserError(f"{path} has no {OBS[0]}; say what is observed as obs=NAME,NAME, {choices('', numbers)}")
    chosen = (films or pictures) if cameras is None else cameras
    shown = [*films, *pictures]
    for key, names, valid in (
        ("obs", obs, [*numbers, *shown]),
        ("cameras", chosen, shown),
        ("action", [action], numbers),
    ):
        for name in names:
            if name not in valid:
                raise UserError(f"{path}: {key}={name}: {choices(name, valid)}")
    if reward not in numbers and "reward" in options:
        raise UserError(f"{path}: reward={reward}: {choices(reward, numbers)}")
    if len({name in pictures for name in chosen}) > 1:
        raise UserError(
            f"{path}: cameras={','.join(chosen)} names videos and pictures in rows; valid are those of one kind"
        )
    if hidden := [name for name in obs if name in films and name not in chosen]:
        raise UserError(
            f"{path}: obs={hidden[0]} is a video that cameras={','.join(chosen)} leaves out; name it there too"
        )
    return Features(
        tuple(obs),
        tuple(chosen),
        tuple(pictures),
        whole_number(options, "image_size", 8) if "image_size" in options else None,
        action,
        reward if reward in numbers else None,
        SUCCESS if SUCCESS in numbers else None,
    )


def _is_choice(feature: Mapping[str, Any]) -> bool:
    return str(feature.get("dtype", "")).startswith(("int", "uint"))


def _episodes(
    files: list[Path],
    places: Mapping[int, Place],
    features: Features,
    number: Mapping[str, int],
    fps: float,
    where: Path,
) -> Iterator[Recorded]:
    found = 0
    for episode, rows in _by_episode(files, features.columns):
        name = f"{where}: episode {episode}"
        place = places.get(episode)
        if place is None or len(rows["episode_index"]) != place.length:
            wanted = "none" if place is None else f"{place.length}"
            raise UserError(f"{name} has {len(rows['episode_index'])} rows, meta says {wanted}")
        frame = rows["frame_index"]
        if not np.array_equal(frame, np.arange(len(frame))):
            raise UserError(f"{name} has rows whose frame_index does not go on by one from 0")
        at = {camera: begin + frame / fps for camera, (_, begin) in place.videos.items()}
        files_of = {camera: np.full(len(frame), number[file], np.float64) for camera, (file, _) in place.videos.items()}
        videos = [np.stack([files_of[camera], at[camera]], 1) for camera in features.films]
        success = rows[features.success].any() if features.success else None
        actions = rows[features.action]
        choice = actions.dtype.kind in "iu" and actions[0].size == 1
        yield Recorded(
            name=str(episode),
            obs=join_columns(_observed(features, rows, place, at, where), len(frame), name),
            actions=actions.ravel() if choice else actions.reshape(len(frame), -1),
            rewards=rows[features.reward].reshape(len(frame), -1)[:, 0] if features.reward else None,
            success=None if success is None else float(success),
            task="; ".join(place.tasks),
            videos=np.concatenate(videos, 1) if videos else None,
            frames={c: partial(_decoded, rows[c], name) for c in features.cameras if c in features.pictures} or None,
        )
        found += 1
    if found != len(places):
        raise UserError(f"{where} has rows of {found} episodes, meta says {len(places)}")


def _observed(
    features: Features, rows: Mapping[str, np.ndarray], place: Place, at: Mapping[str, np.ndarray], root: Path
) -> dict[str, np.ndarray]:
    """Numbers of the rows, or the pictures of one camera."""
    found = {}
    for key in features.obs:
        if key in features.films:
            found[key] = small_frames(root / place.videos[key][0], at[key], features.image_size or 64)
        elif key in features.pictures:
            found[key] = np.stack(list(_decoded(rows[key], f"{root}: {key}", features.image_size)))
        else:
            found[key] = rows[key]
    return found


def _decoded(pictures: np.ndarray, where: str, size: int | None = None) -> Iterator[np.ndarray]:
    for picture in pictures:
        if picture is None:
            raise UserError(
                f"{where} has a row without its picture; it may lie in a folder of its own, which is not read"
            )
        yield decode_picture(picture, where, size)


def _by_episode(files: list[Path], columns: list[str]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Rows of one episode after another, as arrays; those of one may lie in two files."""
    kept: list[dict[str, np.ndarray]] = []
    now: int | None = None
    for batch in itertools.chain.from_iterable(_arrays(file, columns) for file in files):
        index = batch["episode_index"]
        cuts = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist(), len(index)]
        for begin, end in itertools.pairwise(cuts):
            if now is not None and index[begin] != now:
                yield now, _joined(kept)
                kept = []
            now = int(index[begin])
            kept.append({name: column[begin:end] for name, column in batch.items()})
    if now is not None:
        yield now, _joined(kept)


def _arrays(file: Path, columns: list[str]) -> Iterator[dict[str, np.ndarray]]:
    for batch in read_batches(file, columns):
        if batch.num_rows:
            yield {name: _column(batch[name], f"{file}: {name}") for name in columns}


def _column(column: Any, where: str) -> np.ndarray:
    """Numbers, or compressed pictures as objects of bytes."""
    import pyarrow

    if not pyarrow.types.is_struct(column.type):
        return to_numpy(column, where)
    found = np.empty(len(column), object)
    found[:] = [value and value.get("bytes") for value in column.to_pylist()]
    return found


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


FORMAT = Format(
    name="lerobot",
    about="LeRobotDataset v2.1 or v3: the folder with meta/info.json",
    is_one=is_lerobot,
    read=read,
    options=(
        Option("obs", "what is observed, features with commas between (observation.state, .environment_state)"),
        Option("cameras", "whose videos clips are drawn from, or whose pictures in the rows are kept (all)"),
        Option("image_size", "pixels of pictures that are observed: obs=observation.images.top (64 of a video)"),
        Option("action", "the feature of the actions (action)"),
        Option("reward", "that of the reward, if there is one (next.reward)"),
    ),
)
