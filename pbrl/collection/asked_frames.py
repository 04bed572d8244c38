"""Pictures of an agent's episodes: those of recent ones, and for good those of segments that people were asked about.

For environments whose moments cannot be drawn again from a state. Each episode has a video of its own, named by its
seed, so that an episode that is played again after a resume writes the same file again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.collection.keep_frames import CAMERA, draw
from pbrl.data.frame_keeper import OPTIONS, Shard
from pbrl.data.pictures import fit_into
from pbrl.data.stored_videos import FOLDER, FPS, StoredVideos
from pbrl.labels.recorded import keep_source, read_source
from pbrl.questions import Question
from pbrl.reading import reading

RECENT = "frames"  # in the folder of a run: videos of episodes that may be asked about


class AskedFrames:
    """The videos of a run.

    Args:
        run_dir: its folder.
        make_env: makes an environment that renders rgb_array.
        max_fps: of the videos; of faster environments every second, third, ... step is drawn.
        size: width and height in pixels that pictures fit into.
    """

    def __init__(self, run_dir: Path, make_env: Callable[[], gym.Env], max_fps: float, size: tuple[int, int]) -> None:
        self._folder, self._make_env, self._max_fps, self._size = run_dir, make_env, max_fps, size
        self._wrapped: list[EpisodeFrames] = []
        known = read_source(run_dir).get("videos") or {}
        self._files: dict[str, int] = {file["path"]: file["bytes"] for file in known.get("files", ())}
        self._fps = FPS

    def make_env(self) -> gym.Env:
        """Make an environment whose episodes are kept."""
        env = self._make_env()
        self._fps = float(env.metadata.get("render_fps") or FPS)
        every = max(1, math.ceil(self._fps / self._max_fps - 1e-6))
        (folder := self._folder / RECENT).mkdir(0o700, exist_ok=True)
        self._wrapped.append(EpisodeFrames(env, folder, self._fps, every, self._size))
        self._note()
        return self._wrapped[-1]

    def keep(self, questions: Question) -> Question:
        """Return the same questions, with their clips in files that stay."""
        if questions.item_states is None:
            return questions
        hashes, places = questions.hashes(), []
        for place, states in enumerate(questions.item_states):
            places.append(np.stack([self._cut(h[place], rows) for h, rows in zip(hashes, states, strict=True)]))
        self._note()
        return questions.of(questions.items, tuple(places), **questions.about)

    def forget_unsaved(self, pool: np.ndarray | None) -> None:
        """Delete videos of episodes that a resumed run would not know. pool: (M, 2) positions of those it would."""
        needed = {wrapped.seed for wrapped in self._wrapped}
        needed |= set() if pool is None else set(np.unique(pool[:, 0]).astype(np.int64).tolist())
        for file in (self._folder / RECENT).glob("*.mp4"):
            if int(file.stem) not in needed:
                file.unlink()

    def _cut(self, name: str, positions: np.ndarray) -> np.ndarray:
        """Copies the frames at these positions (T+1, 2) of one episode; returns where they are now."""
        source = self._folder / RECENT / f"{int(positions[0, 0])}.mp4"
        target = self._folder / FOLDER / f"{name}.mp4"
        begin = copy_frames(source, target, float(positions[:, 1].min()), float(positions[:, 1].max()))
        self._files[target.name] = target.stat().st_size
        number = list(self._files).index(target.name)
        return np.stack([np.full(len(positions), float(number)), positions[:, 1] - begin], 1)

    def _note(self) -> None:
        names, root = tuple(self._files), str((self._folder / FOLDER).resolve())
        videos = StoredVideos((CAMERA,), names, tuple(self._files.values()), root, self._fps)
        keep_source(self._folder, {"videos": videos.describe()})


class EpisodeFrames(gym.Wrapper):
    """Draws the moments that are recorded; their "state" is the seed of the episode and a second of its video."""

    has_state = True

    def __init__(self, env: gym.Env, folder: Path, fps: float, every: int, size: tuple[int, int]) -> None:
        super().__init__(env)
        self._folder, self._fps, self._every, self._size = folder, fps, every, size
        self.seed, self._steps = -1, 0
        self._video: Shard | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._end()
        self.seed, self._steps = self.seed if seed is None else seed, 0
        return super().reset(seed=seed, options=options)

    def save_state(self) -> np.ndarray:
        """Return where the picture of this moment is (2,); steps between frames have the one before."""
        if self._video is None:
            self._video = Shard(self._folder / f"{self.seed}.mp4", self.seed, self._fps / self._every, OPTIONS)
        if self._steps % self._every == 0:
            self._video.add(self._fitted(draw(self.env)))
        self._steps += 1
        return np.array([self.seed, (self._video.frames - 1) / float(self._video.rate)], np.float64)

    def close(self) -> None:
        self._end()
        super().close()

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        larger = picture.shape[1] > self._size[0] or picture.shape[0] > self._size[1]
        return fit_into(picture, *self._size) if larger else picture

    def _end(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None


def copy_frames(source: Path, target: Path, begin: float, end: float) -> float:
    """Copies the frames from `begin` to `end` (seconds) as they are encoded, and those before back to a key frame.

    Returns the second in `source` at which `target` begins.
    """
    import av

    target.parent.mkdir(0o700, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial.mp4")
    with reading(source, "a video"), av.open(str(source)) as old, av.open(str(partial), "w") as new:
        stream: Any = old.streams.video[0]
        copied: Any = new.add_stream_from_template(stream)
        half = Fraction(1, 2) / (stream.average_rate or Fraction(FPS))
        old.seek(max(int((begin - float(half)) / float(stream.time_base)), 0), stream=stream, backward=True)
        first: int | None = None
        for packet in old.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue
            if float(packet.pts * stream.time_base) > end + float(half):
                break
            first = packet.pts if first is None else first
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, copied
            new.mux(packet)
        start = float((first or 0) * stream.time_base)
    partial.replace(target)
    return start
