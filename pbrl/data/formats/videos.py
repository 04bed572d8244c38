"""Folders of videos, with tables of what was observed and done, or with none: then the pictures are observed.

A video belongs to the episode of its name: ep_3.mp4 to the rows where the column `episode` says ep_3 (or ep_3.mp4), or
to the table ep_3.csv beside it. Folders in the folder are cameras: top/ep_3.mp4 and wrist/ep_3.mp4. Row i of an episode
is frame i of its video, unless a column says which frame or which second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.formats.reader import Format, Option, Options, Recorded, Recording, natural, whole_number
from pbrl.data.formats.tables import STEP_OPTIONS, Columns, choose, make_episode
from pbrl.data.stored_videos import SUFFIXES, frame_times, require_video, small_frames
from pbrl.data.table_files import SUFFIXES as TABLES
from pbrl.data.table_files import Batch, by_episode, table_batches, table_columns
from pbrl.errors import UserError, choices

CAMERA = "video"  # of films that lie in the folder itself
PICTURES = "video"  # obs=video: what is observed are the pictures


@dataclass(frozen=True)
class Films:
    """The videos of a folder, by episode and camera."""

    cameras: tuple[str, ...]
    files: tuple[Path, ...]
    of: dict[str, dict[str, int]]  # by episode and camera: number of the file


def is_videos(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in SUFFIXES
    return path.is_dir() and not (path / "meta" / "info.json").exists() and bool(find_films(path).files)


def find_films(path: Path) -> Films:
    """Videos in the folder, or in folders in it that are cameras; two of one name and camera are refused.

    A video by itself is a folder of one.
    """
    if path.is_file():
        return Films((CAMERA,), (path,), {path.stem: {CAMERA: 0}})
    places = {CAMERA: path} | {f.name: f for f in sorted(path.iterdir()) if f.is_dir()}
    found = {c: [f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES] for c, folder in places.items()}
    cameras = tuple(camera for camera, files in found.items() if files)
    ordered = sorted((f for c in cameras for f in found[c]), key=lambda f: (natural(f.stem), str(f)))
    of: dict[str, dict[str, int]] = {}
    for number, file in enumerate(ordered):
        camera = CAMERA if file.parent == path else file.parent.name
        if camera in of.setdefault(file.stem, {}):
            raise UserError(f"{path} has two videos named {file.stem} of one camera, expected a name for each episode")
        of[file.stem][camera] = number
    return Films(cameras, tuple(ordered), of)


def read(path: Path, options: Options) -> Recording:
    films = find_films(path)
    if not films.files:
        raise UserError(f"{path} has no videos; valid are {', '.join(SUFFIXES)}, in it or in a folder for each camera")
    for film in films.files:
        require_video(film)
    tables, beside = _tables(path, films, options)
    notes: dict[str, Any] = {"fps": float(options["fps"]) if "fps" in options else _rate(films.files[0])}
    if not tables:
        if options.get("obs", PICTURES) != PICTURES or "action" in options:
            raise UserError(f"{path} has no table, so obs= and action= have no columns; table=FILE names one")
        episodes = _bare(films, options)
        say = (f"{path} has no table: observed are its pictures, and there are no actions",)
        return Recording(episodes, cameras=films.cameras, videos=films.files, fps=notes["fps"], notes=notes, say=say)
    pictures = options.get("obs") == PICTURES
    there = table_columns(tables[0])
    columns = choose(there, options, tables[0], one_each=beside, pictures=pictures)
    for key in ("frame", "time"):
        if key in options and options[key] not in there:
            raise UserError(f"{tables[0]}: {key}={options[key]} is no column; {choices(options[key], there)}")
    notes |= {"obs": [PICTURES] if pictures else columns.obs, "action": columns.action}
    episodes = _with_rows(films, tables, columns, options, pictures, path)
    return Recording(episodes, cameras=films.cameras, videos=films.files, fps=notes["fps"], notes=notes)


def _tables(path: Path, films: Films, options: Options) -> tuple[list[Path], bool]:
    """The tables of the steps, and whether each stands for the video of its name."""
    if "table" in options:
        named = Path(options["table"])
        return [named if named.exists() else path / named], False
    beside_it = path.iterdir() if path.is_dir() else [f for s in TABLES if (f := path.with_suffix(s)).is_file()]
    files = sorted((f for f in beside_it if f.suffix.lower() in TABLES), key=lambda f: natural(f.stem))
    beside = bool(files) and all(f.stem in films.of for f in files)
    if len(files) > 1 and not beside:
        raise UserError(
            f"{path} has the tables {', '.join(f.name for f in files[:5])}; table=FILE says which one it is"
        )
    return files, beside


def _with_rows(
    films: Films, tables: list[Path], columns: Columns, options: Options, pictures: bool, where: Path
) -> Iterator[Recorded]:
    source, seen = options.get("source", "recorded"), set()
    more = [options[key] for key in ("frame", "time") if key in options]
    for table in tables:
        batches = table_batches(table, columns.text, [*columns.numbers, *more])
        for said, rows in by_episode(batches, columns.episode, table):
            name = said if said in films.of else Path(said).stem
            if name not in films.of:
                raise UserError(f"{table}: there is no video of episode {said}; {choices(said, films.of)}")
            seen.add(name)
            episode = make_episode(name, rows, columns, source, table)
            times = {c: _seconds(films.files[n], rows, options, table) for c, n in films.of[name].items()}
            yield _shown(episode, films, times, options, pictures)
    if missing := [name for name in films.of if name not in seen]:
        raise UserError(f"{where}: video {missing[0]} has no rows in {tables[0].name}; take it away, or add them")


def _bare(films: Films, options: Options) -> Iterator[Recorded]:
    """Yield steps of videos alone: every frame is one, and of what was done nothing is known: one number that is 0."""
    for name, cameras in films.of.items():
        times = {camera: frame_times(films.files[number]) for camera, number in cameras.items()}
        steps = min(map(len, times.values()))
        if steps < 2:
            raise UserError(f"{films.files[next(iter(cameras.values()))]} has {steps} frames, expected at least 2")
        episode = Recorded(name=name, obs=np.zeros((steps, 1)), actions=np.zeros((steps - 1, 1)))
        yield _shown(episode, films, {c: t[:steps] for c, t in times.items()}, options, True)


def _shown(episode: Recorded, films: Films, times: dict[str, np.ndarray], options: Options, pictures: bool) -> Recorded:
    """The episode with where its pictures are, and with the pictures themselves where they are observed."""
    steps, of = len(episode.obs), films.of[episode.name]
    positions = np.full((steps, len(films.cameras), 2), np.nan)
    for c, camera in enumerate(films.cameras):
        if camera in of:
            positions[:, c, 0], positions[:, c, 1] = of[camera], times[camera][:steps]
    episode = replace(episode, videos=positions.reshape(steps, -1))
    if not pictures:
        return episode
    camera = films.cameras[0]
    if camera not in of:
        raise UserError(f"episode {episode.name} has no video of camera {camera}, whose pictures are observed")
    size = whole_number(options, "image_size", 8, default=64)
    return replace(episode, obs=small_frames(films.files[of[camera]], times[camera][:steps], size))


def _seconds(film: Path, rows: Batch, options: Options, table: Path) -> np.ndarray:
    """Return at how many seconds of the film each row is (L,)."""
    steps = len(next(iter(rows.values())))
    if "time" in options:
        return rows[options["time"]]
    times = frame_times(film)
    if "frame" in options:
        frame = rows[options["frame"]]
        if not ((frame >= 0) & (frame < len(times)) & (frame % 1 == 0)).all():
            wrong = frame[~((frame >= 0) & (frame < len(times)) & (frame % 1 == 0))][0]
            raise UserError(
                f"{table}: {options['frame']} is {wrong:g}, expected a frame of {film.name}: 0 to {len(times) - 1}"
            )
        return times[frame.astype(np.int64)]
    if len(times) not in (steps, steps + 1):
        raise UserError(
            f"{film} has {len(times)} frames and {table.name} {steps} rows of it; expected as many, "
            "or frame=COLUMN, or time=COLUMN with the second of each row"
        )
    return times[:steps]


def _rate(film: Path) -> float:
    times = frame_times(film)
    return float(1 / np.median(np.diff(times))) if len(times) > 1 else 30.0


FORMAT = Format(
    name="videos",
    about="a video (.mp4, .gif, ...) or a folder of them, with a table of steps, a table for each video, or none",
    is_one=is_videos,
    read=read,
    options=(
        *STEP_OPTIONS,
        Option("task", "the column of the task in words (task)"),
        Option("table", "the table of the steps (the only one in the folder)"),
        Option("frame", "the column of the frame number, where row i is not frame i"),
        Option("time", "the column of the second in the video"),
        Option("image_size", "pixels of pictures that are observed: obs=video, or no table (64)"),
        Option("fps", "steps per second, for clips (that of the videos)"),
    ),
)
