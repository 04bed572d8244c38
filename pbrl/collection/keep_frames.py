"""Pictures of steps, kept as they happen: for environments whose moments cannot be drawn again from a state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from pbrl.data.frame_keeper import FrameKeeper
from pbrl.data.stored_videos import FOLDER, FPS, StoredVideos
from pbrl.errors import UserError, one_line
from pbrl.files import folder_beside

CAMERA = "rendered"


class KeepFrames(gym.Wrapper):
    """Draws each moment that is recorded and keeps the picture in videos; its "state" is where the picture lies.

    Whatever keeps states of a simulator, as the recorder does, keeps these positions (2,) instead: which file, and at
    how many seconds. They cannot be gone on from.

    Args:
        env: made with render_mode="rgb_array".
        folder: of the videos, which must be there.
    """

    has_state = True

    def __init__(self, env: gym.Env, folder: Path) -> None:
        super().__init__(env)
        fps = float(env.metadata.get("render_fps") or FPS)
        self._keeper = FrameKeeper(folder, fps)

    def save_state(self) -> np.ndarray:
        """Keeps the picture of this moment; returns its position."""
        return self._keeper.keep(CAMERA, [draw(self.env)])[0]

    def finish(self) -> StoredVideos:
        """End the videos; return what meta.json says of them. Nothing can be kept afterwards."""
        self._keeper.close()
        return self._keeper.describe([CAMERA])


class Kept:
    """The videos of a data set that is being collected; none, where `folder` is None."""

    def __init__(self, folder: Path | None) -> None:
        self.files = [] if folder is None else [folder]
        self._frames: KeepFrames | None = None

    def wrap(self, env: gym.Env) -> gym.Env:
        """Return the environment, wrapped so that its pictures are kept, where they are to be."""
        if not self.files:
            return env
        self._frames = KeepFrames(env, self.files[0])
        return self._frames

    def describe(self) -> dict[str, Any]:
        """Return what meta.json says of them, once the last was drawn."""
        return {} if self._frames is None else {"videos": self._frames.finish().describe()}


@contextmanager
def keeping_frames(out: Path, wanted: bool) -> Iterator[Kept]:
    """Yield what keeps the pictures of a data set `out`, in a folder beside it until they move there."""
    if not wanted:
        yield Kept(None)
        return
    with folder_beside(out) as folder:
        (videos := folder / FOLDER).mkdir()
        yield Kept(videos)


def draw(env: gym.Env) -> np.ndarray:
    """The picture (H, W, 3) of this moment; UserError says why there is none."""
    name = type(env.unwrapped).__name__
    try:
        picture: Any = env.render()
    except Exception as error:  # of the environment's own code, or of a package that it lacks
        raise UserError(f"{name} cannot draw here: {one_line(error)}") from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.dtype != np.uint8:
        raise UserError(f"{name} draws no pictures with render_mode=rgb_array, so none can be kept")
    return picture
