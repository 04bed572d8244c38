"""LeRobotDataset v2.0, v2.1 and v3: parquet rows, MP4 files of one episode (v2) or of many (v3), text of the tasks.

Rows of an episode are found by their `episode_index`, frames by the file and the second that `meta` says they begin at.
There is no observation after the last action, so the last step of each episode is left out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
from pbrl.data.unit_actions import ActionRange
from pbrl.errors import UserError, choices
from pbrl.reading import find_object, read_object, read_text

INFO, STATS = "meta/info.json", "meta/stats.json"
ACTION, REWARD, SUCCESS = "action", "next.reward", "next.success"
OBS = ("observation.state", "observation.environment_state")  # what is observed unless obs= says it
VERSIONS = ("v2.0", "v2.1", "v3.0")


@dataclass(frozen=True)
class Place:
    """Where an episode's rows and frames are."""

    length: int
    tasks: tuple[str, ...]
    videos: Mapping[str, tuple[str, float]]  # by camera: path below the root, and the second that it begins at


@dataclass(frozen=True)
class Features:
    """Which columns are read."""

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
    info = _info(path)
    version = info["codebase_version"]
    try:
        fps, all_features = float(info["fps"]), dict(info["features"])
        features = choose_features(all_features, options, path)
        places = dict((_places_v3 if version == "v3.0" else _places_v2)(path, info, features.films))
        files = _data_files(path, info, places)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{path / INFO} is damaged ({type(error).__name__}: {error})") from None
    videos = list(dict.fromkeys(name for place in places.values() for name, _ in place.videos.values()))
    for name in videos:
        require_video(path / name)
    number = {name: k for k, name in enumerate(videos)}
    notes = {"fps": fps, "robot": info.get("robot_type"), "version": version, "obs": list(features.obs)}
    return Recording(
        episodes=_episodes(files, places, features, number, fps, path),
        actions=None if _is_choice(all_features[features.action]) else _stated_range(path, features.action),
        cameras=features.cameras,
        videos=tuple(path / name for name in videos),
        fps=fps,
        notes=notes,
    )


def _info(path: Path) -> dict[str, Any]:
    info = read_object(path / INFO)
    if (version := info.get("codebase_version")) not in VERSIONS:
        valid = ", ".join(VERSIONS)
        found = f"{path / INFO} is of version {version}"
        raise UserError(f"{found}; valid are {valid}, to which lerobot's scripts convert others")
    return info


def frame_counts(path: Path) -> dict[int, int]:
    """Frames of each episode, by its index."""
    info = _info(path)
    places = (_places_v3 if info["codebase_version"] == "v3.0" else _places_v2)(path, info, ())
    return {episode: place.length for episode, place in places}


def data_files(path: Path) -> list[Path]:
    """The parquet files of the rows, in order."""
    return _data_files(path, _info(path), sorted(frame_counts(path)))


def choose_features(features: Mapping[str, Any], options: Options, path: Path) -> Features:
    """What the user named, or what stands for it in most data sets."""
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


def _stated_range(path: Path, action: str) -> ActionRange | None:
    """Smallest and largest action, from the statistics of the whole or of each episode."""
    if (path / STATS).exists():
        parts = [read_object(path / STATS)]
    elif (path / "meta/episodes_stats.jsonl").exists():
        parts = [row["stats"] for row in _lines(path / "meta/episodes_stats.jsonl")]
    else:
        return None
    try:
        low, high = ([np.ravel(np.array(part[action][end], np.float64)) for part in parts] for end in ("min", "max"))
        return ActionRange(np.min(low, 0), np.max(high, 0))
    except (KeyError, TypeError, ValueError):
        return None


def _places_v3(path: Path, info: Mapping[str, Any], cameras: tuple[str, ...]) -> Iterator[tuple[int, Place]]:
    files = sorted((path / "meta/episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise UserError(f"{path / 'meta/episodes'} has no parquet files, which say where each episode is")
    of_video = [f"videos/{c}/{k}" for c in cameras for k in ("chunk_index", "file_index", "from_timestamp")]
    for file in files:
        for batch in read_batches(file, ["episode_index", "length", "tasks", *of_video]):
            for row in batch.to_pylist():
                videos = {}
                for camera in cameras:
                    chunk, number, begin = (
                        row[f"videos/{camera}/{k}"] for k in ("chunk_index", "file_index", "from_timestamp")
                    )
                    name = info["video_path"].format(video_key=camera, chunk_index=chunk, file_index=number)
                    videos[camera] = (_inside(name, path), float(begin))
                yield int(row["episode_index"]), Place(int(row["length"]), tuple(map(str, row["tasks"] or ())), videos)


def _places_v2(path: Path, info: Mapping[str, Any], cameras: tuple[str, ...]) -> Iterator[tuple[int, Place]]:
    for row in _lines(path / "meta/episodes.jsonl"):
        number = int(row["episode_index"])
        chunk = number // int(info.get("chunks_size", 1000))
        names = {c: info["video_path"].format(video_key=c, episode_chunk=chunk, episode_index=number) for c in cameras}
        videos = {camera: (_inside(name, path), 0.0) for camera, name in names.items()}
        yield number, Place(int(row["length"]), tuple(map(str, row.get("tasks") or ())), videos)


def _data_files(path: Path, info: Mapping[str, Any], episodes: Iterable[int]) -> list[Path]:
    if str(info["codebase_version"]) == "v3.0":
        return sorted((path / "data").glob("chunk-*/file-*.parquet"))
    size, pattern = int(info.get("chunks_size", 1000)), info["data_path"]
    return [path / _inside(pattern.format(episode_chunk=n // size, episode_index=n), path) for n in sorted(episodes)]


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


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file with one in each line."""
    for n, line in enumerate(read_text(file).splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file} is damaged in line {n} ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{file} is damaged in line {n}, expected a JSON object")
        yield row


def _inside(name: str, root: Path) -> str:
    """A path that stays below its root, for what a file says may be anything."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{root / INFO} names {name!r}, which leaves its folder")
    return name


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
