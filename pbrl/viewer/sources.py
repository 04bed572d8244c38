"""The sources of the pictures of clips: states of a simulator, drawn again, or frames of stored videos."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from omegaconf import DictConfig, OmegaConf

from pbrl.data.pictures import fit_into
from pbrl.data.stored_videos import StoredFrames, StoredVideos
from pbrl.errors import UserError, choices
from pbrl.labels.recorded import FILE, read_source
from pbrl.reports.video import write_mp4
from pbrl.viewer.clips import DEFAULT_CAMERA, ENCODER, ClipDrawer, ClipStyle


class Drawer(Protocol):
    """Draws clips. cameras: the first one is shown unless another is asked for. every: environment steps per frame."""

    cameras: list[str]
    fps: float
    every: int

    def draw(self, path: Path, states: np.ndarray, camera: str) -> None: ...

    def pictures(self, states: np.ndarray, camera: str) -> Iterator[np.ndarray]: ...  # (height, width, 3), of each

    def close(self) -> None: ...


class ClipSource(Protocol):
    @property
    def look(self) -> dict[str, Any]: ...  # what pictures depend on, besides their states and the style

    def styled(self, style: ClipStyle) -> ClipStyle: ...  # with the camera that is meant

    def drawer(self, style: ClipStyle) -> Drawer: ...


class Simulated:
    """Draws states of the environment that this section of a config makes."""

    def __init__(self, env_config: DictConfig) -> None:
        self._env = env_config

    @property
    def look(self) -> dict[str, Any]:
        return {"env": OmegaConf.to_container(self._env.make, resolve=True)}

    def styled(self, style: ClipStyle) -> ClipStyle:
        return style

    def drawer(self, style: ClipStyle) -> Drawer:
        return ClipDrawer(self._env, style)


class Stored:
    """Draws positions in videos that are noted in a folder of labels."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def look(self) -> dict[str, Any]:
        return {"videos": "stored"}  # a position in the videos of one folder always means the same

    def styled(self, style: ClipStyle) -> ClipStyle:
        cameras = stored_videos(self._folder).cameras
        wanted = cameras[0] if style.camera == DEFAULT_CAMERA else style.camera
        if wanted not in cameras:
            raise UserError(f"viewer.camera={wanted}: {choices(wanted, cameras)}")
        return replace(style, camera=wanted)

    def drawer(self, style: ClipStyle) -> Drawer:
        return StoredDrawer(self._folder, self.styled(style))


class StoredDrawer:
    """Cuts clips out of stored videos; their frames become as large as `style` says, and keep their shape."""

    def __init__(self, folder: Path, style: ClipStyle) -> None:
        self._folder, self._style = folder, style
        self._read()
        first = style.camera
        self.cameras = [first, *(name for name in self._frames.cameras if name != first)]
        self.every = max(1, math.ceil(self._frames.fps / style.max_fps - 1e-6))  # of videos, which are a bit off
        self.fps = self._frames.fps / self.every

    def draw(self, path: Path, states: np.ndarray, camera: str) -> None:
        """Draw a video of positions (L+1, 2C)."""
        write_mp4(path, self.pictures(states[:: self.every], camera), self.fps, encoder=ENCODER)

    def pictures(self, positions: np.ndarray, camera: str) -> Iterator[np.ndarray]:
        """Draw pictures; black ones where this camera was not there."""
        files = positions[:, ::2]
        if np.nan_to_num(files, nan=-1).max() >= len(self._frames.videos.files):
            self._read()  # more was kept since
        place = self._frames.cameras.index(camera)
        if np.isnan(files[:, place]).all():
            yield from [np.zeros((self._style.height, self._style.width, 3), np.uint8)] * len(positions)
            return
        for picture in self._frames.frames(positions, camera):
            yield fit_into(picture, self._style.width, self._style.height)

    def close(self) -> None:
        self._frames.close()

    def _read(self) -> None:
        self._frames = StoredFrames(stored_videos(self._folder), self._folder)


def clip_source(folder: Path, env_config: DictConfig) -> ClipSource:
    """Return the source of clips for the questions in this folder. env_config: the section `env` of its config."""
    return Stored(folder) if "videos" in read_source(folder) else Simulated(env_config)


def stored_videos(folder: Path) -> StoredVideos:
    return StoredVideos.of(read_source(folder)["videos"], folder / FILE)
