"""Pictures kept as videos, so that recorded steps can be shown later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.data.stored_videos import StoredVideos
from pbrl.errors import UserError

SHARD_FRAMES = 20_000  # of one video, after which another is begun
OPTIONS = {"crf": "20", "preset": "veryfast", "g": "10", "bf": "0"}  # at 20 people see no difference


class FrameKeeper:
    """Keeps pictures as H.264 videos in a folder: one file per camera and `SHARD_FRAMES` frames, whole episodes each.

    crf: 0 (as it was) to 51 (small).
    """

    def __init__(self, folder: Path, fps: float, *, crf: int = 20) -> None:
        self._folder, self._fps, self._options = folder, fps, OPTIONS | {"crf": str(crf)}
        self.files: list[Path] = []
        self._shards: dict[str, Shard] = {}

    def keep(self, camera: str, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """Append pictures (H, W, 3) uint8 of one episode; return positions (L, 2): number of the file, and second."""
        shard = self._shards.get(camera)
        if shard is None or shard.frames >= SHARD_FRAMES:
            shard = self._begin(camera)
        positions = []
        for picture in pictures:
            if shard.size not in (None, picture.shape):
                shard = self._begin(camera)  # another size needs another file
            positions.append((shard.number, shard.frames / float(shard.rate)))
            shard.add(picture)
        return np.array(positions, np.float64).reshape(-1, 2)

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    def describe(self, cameras: Sequence[str]) -> StoredVideos:
        """Return what meta.json says of them, once they are closed."""
        names = [path.relative_to(self._folder).as_posix() for path in self.files]
        sizes = [path.stat().st_size for path in self.files]
        return StoredVideos(tuple(cameras), tuple(names), tuple(sizes), None, self._fps)

    def _begin(self, camera: str) -> Shard:
        if camera in self._shards:
            self._shards.pop(camera).close()
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in camera).strip(".") or "camera"
        path = self._folder / safe / f"{len(self.files):05d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files.append(path)
        self._shards[camera] = Shard(path, len(self.files) - 1, self._fps, self._options)
        return self._shards[camera]


class Shard:
    """A video that is being written."""

    def __init__(self, path: Path, number: int, fps: float, options: dict[str, str]) -> None:
        import av

        self.number, self.frames = number, 0
        self.size: tuple[int, ...] | None = None  # of a picture
        self.rate = Fraction(fps).limit_denominator(65535)
        self._file = av.open(str(path), "w", options={"movflags": "+faststart"})
        self._stream: Any = self._file.add_stream("libx264", rate=self.rate, options=options)

    def add(self, picture: np.ndarray) -> None:
        import av

        if picture.ndim != 3 or picture.dtype != np.uint8 or picture.shape[2] not in (1, 3, 4):
            raise UserError(f"a picture is {picture.dtype}{picture.shape}, expected uint8 of (H, W, 3)")
        height, width = (max(side // 2 * 2, 2) for side in picture.shape[:2])  # yuv420p halves both
        rgb = np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture[..., :3]
        if self.size is None:
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self.size = picture.shape
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]), format="rgb24")
        frame.pts, frame.time_base = self.frames, 1 / self.rate
        self._file.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        if self.frames:
            self._file.mux(self._stream.encode())
        self._file.close()
