"""Pictures of recorded steps: where each lies in a video, and how it is found there.

A position is two numbers of float64 per camera: which file, and at how many seconds; NaN where there is no picture. The
positions of a segment stand where a simulator's states stand, so whatever keeps states keeps positions. C cameras.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.errors import UserError, choices
from pbrl.reading import reading, require_file

FOLDER = "videos"  # of a data set: what was kept or copied there is found first
FPS = 30.0  # of recordings that do not say
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif", ".m4v")


@dataclass(frozen=True)
class StoredVideos:
    """The files that positions name. They stay where they are, or lie in the folder `videos` of the data set."""

    cameras: tuple[str, ...]  # C
    files: tuple[str, ...]  # paths below root
    sizes: tuple[int, ...]  # bytes of each, so that another file is not taken for it
    root: str | None  # folder of the files; None: in the data set
    fps: float  # steps per second of the recording

    def describe(self) -> dict[str, Any]:
        """Describe them for meta.json."""
        return {
            "cameras": list(self.cameras),
            "fps": self.fps,
            "root": self.root,
            "files": [{"path": path, "bytes": size} for path, size in zip(self.files, self.sizes, strict=True)],
        }

    @staticmethod
    def of(meta: Mapping[str, Any], where: Path) -> StoredVideos:
        """Read what meta.json says; `where` is that file."""
        try:
            files = [(str(f["path"]), int(f["bytes"])) for f in meta["files"]]
            cameras, root, fps = tuple(map(str, meta["cameras"])), meta["root"], float(meta["fps"])
            if not cameras or not 0 < fps < math.inf or not isinstance(root, str | None):
                raise ValueError("cameras, fps or root")
            if any(Path(path).is_absolute() or ".." in Path(path).parts for path, _ in files):
                raise ValueError("a path that leaves its folder")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: videos is damaged ({error}); import the data set again") from None
        paths, sizes = zip(*files, strict=True) if files else ((), ())
        return StoredVideos(cameras, paths, sizes, root, fps)

    def path(self, number: int, folder: Path) -> Path:
        """Return the file of this number in the data set's `folder`; UserError if it is gone or another one."""
        name, size = self.files[number], self.sizes[number]
        beside = folder / FOLDER / name
        found = beside if beside.exists() or self.root is None else Path(self.root) / name
        if not found.exists():
            raise UserError(f"{found} is missing, the video of a recorded step; put it back, or copy it to {beside}")
        if (there := found.stat().st_size) != size:
            raise UserError(f"{found} has {there:,} bytes and had {size:,} when it was imported; import it again")
        return found


class StoredFrames:
    """Draws recorded steps from their videos; the counterpart of an environment that draws simulator states."""

    def __init__(self, videos: StoredVideos, folder: Path) -> None:
        """folder: of the data set, or of the labels, that the videos belong to."""
        self.videos, self._folder = videos, folder
        self.cameras, self.fps = list(videos.cameras), videos.fps
        self._open: dict[int, _Video] = {}

    def frames(self, positions: np.ndarray, camera: str) -> Iterator[np.ndarray]:
        """Read pictures (H, W, 3) uint8 of these positions (L, 2C), in order; black ones where a step has none."""
        if camera not in self.cameras:
            raise UserError(f"camera={camera}; {choices(camera, self.cameras)}")
        if positions.ndim != 2 or positions.shape[1] != 2 * len(self.cameras):
            wanted = 2 * len(self.cameras)
            raise UserError(
                f"positions in videos have shape {positions.shape}, expected (L, {wanted}): file and second"
            )
        first = 2 * self.cameras.index(camera)
        black: np.ndarray | None = None
        waiting = 0
        for number, seconds in positions[:, first : first + 2].tolist():
            if math.isnan(number) or math.isnan(seconds):
                if black is None:
                    waiting += 1
                else:
                    yield black
                continue
            picture = self._video(int(number)).frame(seconds)
            if black is None:
                black = np.zeros_like(picture)
                yield from [black] * waiting
            yield picture
        if black is None and waiting:
            raise UserError(f"camera={camera} has no picture of these steps; {choices(camera, self.cameras)}")

    def close(self) -> None:
        for video in self._open.values():
            video.close()
        self._open.clear()

    def _video(self, number: int) -> _Video:
        if number not in self._open:
            if not 0 <= number < len(self.videos.files):
                raise UserError(f"video {number} of a recorded step is unknown, there are {len(self.videos.files)}")
            if len(self._open) >= 8:  # open files cost memory
                self._open.pop(next(iter(self._open))).close()
            self._open[number] = _Video(self.videos.path(number, self._folder))
        return self._open[number]


class _Video:
    """An open video, in which one frame after another is found without seeking, and any other with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, "a video"):
            self._file, self._stream = _open(path)
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()  # PyAV's own keeps threads for good, which a later fork would wait for
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(FPS)
        self._tolerance = float(1 / rate) / 2
        self._frames: Iterator[Any] = iter(())
        self._now: Any = None
        self._next: Any = None
        self._picture: np.ndarray | None = None

    def frame(self, seconds: float, size: int | None = None) -> np.ndarray:
        """The picture (H, W, 3) that is shown at this time, or (size, size, 3)."""
        with reading(self.path, "a video"):
            if self._now is None or not _time(self._now) <= seconds + self._tolerance <= _time(self._now) + 2:
                self._seek(seconds)
            while self._next is not None and _time(self._next) <= seconds + self._tolerance:
                self._advance()
            late = self._next is None and seconds > _time(self._now) + 3 * self._tolerance
            if late or seconds < _time(self._now) - 3 * self._tolerance:
                raise UserError(f"{self.path} has no frame at {seconds:g} s, its nearest is at {_time(self._now):g} s")
            if self._picture is None:
                self._picture = self._reformatter.reformat(self._now, size, size, "rgb24").to_ndarray()
            return self._picture

    def close(self) -> None:
        self._file.close()

    def _seek(self, seconds: float) -> None:
        target = max(seconds - self._tolerance, 0)
        self._file.seek(int(target / self._stream.time_base), stream=self._stream, backward=True)
        self._frames = (frame for frame in self._file.decode(self._stream) if frame.pts is not None)
        self._next = next(self._frames, None)
        if self._next is None:
            raise UserError(f"{self.path} has no frame at {seconds:g} s")
        self._advance()

    def _advance(self) -> None:
        self._now, self._next = self._next, next(self._frames, None)
        self._picture = None


def frame_times(path: Path) -> np.ndarray:
    """Return at how many seconds each frame of a video is shown (F,); of most files only the index is read."""
    with reading(path, "a video"):
        file, stream = _open(path)
        with file:
            rate = stream.average_rate
            steady = rate is not None and stream.frames > 0 and rate == stream.base_rate
            if steady:
                start = float((stream.start_time or 0) * stream.time_base)
                return start + np.arange(stream.frames) / float(rate)
            stamps = sorted(p.pts for p in file.demux(stream) if p.pts is not None and p.size)
            return np.array(stamps, np.float64) * float(stream.time_base)


def small_frames(path: Path, seconds: np.ndarray, size: int) -> np.ndarray:
    """Read the pictures (L, size, size, 3) uint8 of a video at these seconds, in order, as what is observed."""
    video = _Video(path)
    try:
        return np.stack([video.frame(float(second), size) for second in seconds])
    finally:
        video.close()


def require_video(path: Path) -> None:
    """Refuse what is no video, or is cut off: of most files only the index is read."""
    with reading(path, "a video"):
        file, stream = _open(path)
        with file:
            entries = getattr(stream, "index_entries", ())  # since PyAV 14
            end = max((entry.pos + entry.size for entry in entries), default=0)
            if end > (size := path.stat().st_size):
                raise UserError(f"{path} is cut off: it has {size:,} bytes, its last frame ends at {end:,}")


def _open(path: Path) -> tuple[Any, Any]:
    import av

    require_file(path)
    file = av.open(str(path))
    if not file.streams.video:
        file.close()
        raise UserError(f"{path} has no video in it")
    stream = file.streams.video[0]
    stream.thread_type = "NONE"  # threads of a decoder outlive it, and a later fork waits for them
    return file, stream


def _time(frame: Any) -> float:
    return float(frame.pts * frame.time_base)
