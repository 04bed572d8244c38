"""Clips, which show one segment each: drawn from simulator states, in real time, as H.264 that seeks to any frame."""

from __future__ import annotations

import hashlib
import json
import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from omegaconf import DictConfig

from pbrl.building import build
from pbrl.errors import UserError, choices, one_line
from pbrl.install import pip_install
from pbrl.questions import Question
from pbrl.reports.video import frame_rate, write_mp4

FOLDER = "clips"  # in the run directory
DEFAULT_CAMERA = "default"
REPORT = "renderer.json"  # in FOLDER: how the process that draws is doing
FAILED = 3  # exit code of a process that cannot draw here, and has said why: another one could not either
STOP_S = 5.0
UNKNOWN = {"clips": 0, "s_per_clip": None, "cameras": ["default"], "fps": None, "every": None}  # before it reports
DRAWING = 1  # a part of every name: raise it when pictures change, so that old clips are not taken for new ones

# A key frame at every second frame makes stepping and seeking exact and quick. No B-frames: they would wait for later
# ones. One thread, since the trainer has the others.
ENCODER = {"crf": "23", "preset": "veryfast", "g": "2", "bf": "0", "threads": "1"}


@dataclass(frozen=True)
class ClipStyle:
    """The look of clips. Without a GPU a frame takes 5 to 20 ms as it is, and several times that with shadows."""

    width: int = 384  # pixels, even
    height: int = 384
    max_fps: float = 30.0  # faster simulators show every second, third, ... step
    camera: str = DEFAULT_CAMERA
    shadows: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            size = getattr(self, name)
            if not isinstance(size, int) or size % 2 or not 16 <= size <= 4096:
                raise UserError(f"viewer.{name}={size}: expected an even number of pixels from 16 to 4096")
        if not 1 <= self.max_fps < math.inf:
            raise UserError(f"viewer.max_fps={self.max_fps}: expected frames per second from 1")


class Clip(NamedTuple):
    """The name of a clip, and how many environment steps it shows."""

    name: str
    steps: int


def report_path(run_dir: Path) -> Path:
    return run_dir / FOLDER / REPORT


def clip_path(run_dir: Path, name: str) -> Path:
    return run_dir / FOLDER / f"{name}.mp4"


def is_plain_file(path: Path) -> bool:
    """Return whether it is a file itself: a link may lead to whatever this user can read."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def frame_count(steps: int, every: int) -> int:
    """Count the frames of a clip of so many steps, one per `every`: the first shows the state before the first step."""
    return steps // every + 1


def item_clips(questions: Question, look: Mapping[str, Any], style: ClipStyle) -> list[tuple[Clip, ...]]:
    """Return the clips of the items of each question, as the left and the right segment of a pair.

    look: that of their source, see `pbrl.viewer.sources`.
    """
    if (all_states := questions.item_states) is None:
        raise UserError("these segments have no simulator states and no videos, which clips are drawn from")
    hashes, places = questions.hashes(), []
    for place, (segments, states) in enumerate(zip(questions.items, all_states, strict=True)):
        steps = segments.mask.sum(1).long().tolist()
        named = zip(hashes, states, steps, strict=True)
        places.append([Clip(clip_name(h[place], s[: t + 1], look, style), t) for h, s, t in named])
    return list(zip(*places, strict=True))


def clip_name(segment_hash: str, states: np.ndarray, look: Mapping[str, Any], style: ClipStyle) -> str:
    """Return 32 hexadecimal digits: the same content is drawn once, whichever queries it is in.

    The states (L+1, D) belong to it, as the observations that `segment_hash` tells apart may hide something that the
    picture shows, such as a goal.
    """
    made = {**look, "style": asdict(style) | {"max_fps": float(style.max_fps), "drawing": DRAWING}}
    digest = hashlib.blake2b(json.dumps([segment_hash, made], sort_keys=True).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(states, np.float64).data)
    return digest.hexdigest()


def require_encoder() -> None:
    """Raise a UserError that says how to get an encoder, where there is none."""
    try:
        import av

        av.codec.Codec("libx264", "w")
    except Exception as error:  # a wheel for another system fails in its own way
        how = pip_install("--force-reinstall", "imageio[pyav]")
        raise UserError(f"clips cannot be encoded as H.264 ({one_line(error)}); get the encoder with: {how}") from error


class ClipDrawer:
    """Draws clips with an environment of its own; what agents see of the task stays as it is."""

    def __init__(self, env_config: DictConfig, style: ClipStyle) -> None:
        from pbrl_envs.views import Views

        env = build(env_config.make, render_mode="rgb_array", width=style.width, height=style.height)
        self.style = style
        self.name = env_config.name
        self._made: gym.Env = env
        self._env: gym.Env = getattr(env, "camera", None) or env  # a task seen in pixels shows them to people larger
        if not self._env.get_wrapper_attr("has_state"):
            raise UserError(f"env={self.name} has no simulator state to draw from; MuJoCo environments have")
        self._views = Views(self._env, shadows=style.shadows)
        names = self._views.names
        if style.camera not in names:
            raise UserError(f"viewer.camera={style.camera}: {choices(style.camera, names)}")
        self.cameras: list[str] = [style.camera, *(name for name in names if name != style.camera)]
        self.fps, self.every = frame_rate(self._env, style.max_fps)

    def draw(self, path: Path, states: np.ndarray, camera: str) -> None:
        """Write the clip of these states (L+1, D), whole or not at all."""
        write_mp4(path, self.frames(states, camera), self.fps, encoder=ENCODER)

    def frames(self, states: np.ndarray, camera: str) -> Iterator[np.ndarray]:
        """Draw every so many states, the first included."""
        return self.pictures(states[:: self.every], camera)

    def pictures(self, states: np.ndarray, camera: str) -> Iterator[np.ndarray]:
        """Draw a picture (height, width, 3) of each state."""
        self._views.choose(camera)
        for state in states:
            yield self._picture(state)

    def close(self) -> None:
        self._made.close()

    def _picture(self, state: np.ndarray) -> np.ndarray:
        try:
            picture: Any = self._env.get_wrapper_attr("render_state")(state)
        except (ValueError, TypeError, IndexError) as error:
            raise UserError(f"env={self.name} cannot show the states of this run: {one_line(error)}") from error
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.dtype != np.uint8:
            raise UserError(f"env={self.name} draws no pictures with render_mode=rgb_array, so there are no clips")
        return picture
