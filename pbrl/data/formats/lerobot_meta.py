"""The places of a LeRobotDataset's rows and frames, as its `meta` folder says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.formats.reader import natural
from pbrl.data.parquet import read_batches
from pbrl.data.unit_actions import ActionRange
from pbrl.errors import UserError
from pbrl.reading import read_object, read_text

INFO, STATS = "meta/info.json", "meta/stats.json"
VERSIONS = ("v2.0", "v2.1", "v3.0")


@dataclass(frozen=True)
class Place:
    """The place of an episode's rows and frames."""

    length: int
    tasks: tuple[str, ...]
    videos: Mapping[str, tuple[str, float]]  # by camera: path below the root, and the second that it begins at


def read_info(path: Path) -> dict[str, Any]:
    info = read_object(path / INFO)
    if (version := info.get("codebase_version")) not in VERSIONS:
        valid = ", ".join(VERSIONS)
        found = f"{path / INFO} is of version {version}"
        raise UserError(f"{found}; valid are {valid}, to which lerobot's scripts convert others")
    return info


def frame_counts(path: Path) -> dict[int, int]:
    """Frames of each episode, by its index."""
    return {episode: place.length for episode, place in find_places(path, ()).items()}


def find_places(path: Path, cameras: tuple[str, ...]) -> dict[int, Place]:
    """Return where each episode is, by its index."""
    info = read_info(path)
    try:
        return dict((_places_v3 if info["codebase_version"] == "v3.0" else _places_v2)(path, info, cameras))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{path / INFO} is damaged ({type(error).__name__}: {error})") from None


def data_files(path: Path) -> list[Path]:
    """The parquet files of the rows, in order."""
    info = read_info(path)
    if str(info["codebase_version"]) == "v3.0":
        return sorted((path / "data").glob("chunk-*/file-*.parquet"), key=lambda file: natural(str(file)))
    size, pattern = int(info.get("chunks_size", 1000)), info["data_path"]
    episodes = sorted(frame_counts(path))
    return [path / _inside(pattern.format(episode_chunk=n // size, episode_index=n), path) for n in episodes]


def stated_range(path: Path, action: str) -> ActionRange | None:
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
    files = sorted((path / "meta/episodes").glob("chunk-*/file-*.parquet"), key=lambda file: natural(str(file)))
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
