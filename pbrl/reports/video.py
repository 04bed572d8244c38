"""A policy as a film: H.264 in yuv420p, which every browser plays."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym
import numpy as np

from pbrl.errors import UserError
from pbrl.files import SHORT, folder_if_all_goes_well, sync
from pbrl.seeds import episode_seed

if TYPE_CHECKING:
    from pbrl.training.rollout import ActFn

SECONDS = 10.0
SIZE = (480, 360)  # width, height
MAX_FPS = 30  # faster simulators show every second, third, ... step: nobody sees the difference


class MakeEnv(Protocol):
    def __call__(self, **options: Any) -> gym.Env: ...


def film(path: Path, make_env: MakeEnv, act: ActFn, *, seed: int, seconds: float = SECONDS) -> None:
    """Write a clip of this length in real time: the policy's episodes of this seed, one after the other."""
    env = make_env(render_mode="rgb_array", width=SIZE[0], height=SIZE[1])
    try:
        fps, every = frame_rate(env)
        write_mp4(path, islice(frames(env, act, seed, every), max(round(seconds * fps), 1)), fps)
    finally:
        env.close()


def frame_rate(env: gym.Env, max_fps: float = MAX_FPS) -> tuple[float, int]:
    """Frames per second of the clip, and environment steps per frame."""
    real_time = float(env.metadata.get("render_fps") or MAX_FPS)
    every = max(1, math.ceil(real_time / max_fps))
    return real_time / every, every


def frames(env: gym.Env, act: ActFn, seed: int, every: int) -> Iterator[np.ndarray]:
    """The start of each episode and then every so many steps, without end."""
    number = 0
    while True:
        obs, _ = env.reset(seed=episode_seed(seed, number))
        ended, step = False, 0
        yield _frame(env)
        while not ended:
            obs, _, terminated, truncated, _ = env.step(act(obs[None])[0])
            ended, step = terminated or truncated, step + 1
            if step % every == 0:
                yield _frame(env)
        number += 1


def write_mp4(
    path: Path, pictures: Iterable[np.ndarray], fps: float, *, encoder: Mapping[str, str] | None = None
) -> None:
    """Write pictures (H, W, 3) uint8 as a film; the file is there whole or not at all.

    encoder: options of libx264, such as crf, preset or g; the index stands in front, so that a player can start early.
    """
    partial = path.with_name(f".{path.stem[:SHORT]}.{os.getpid()}.partial.mp4")
    with folder_if_all_goes_well(path.parent):
        try:
            _encode(partial, pictures, fps, dict(encoder or {}))
            sync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _encode(path: Path, pictures: Iterable[np.ndarray], fps: float, options: dict[str, str]) -> None:
    import av  # imageio, which brings it, does not pass options on to the encoder
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()  # PyAV's own keeps threads for good, which a later fork would wait for
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
        rate = Fraction(fps).limit_denominator(65535)
        stream: Any = file.add_stream("libx264", rate=rate, options=options)
        for number, picture in enumerate(pictures):
            height, width = (side // 2 * 2 for side in picture.shape[:2])  # yuv420p halves both
            if not stream.codec_context.is_open:
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            frame = reformatter.reformat(frame, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _frame(env: gym.Env) -> np.ndarray:
    picture: Any = env.render()
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.dtype != np.uint8:
        name = type(env.unwrapped).__name__
        raise UserError(f"{name} draws no frames with render_mode=rgb_array, so there is no clip of it")
    return picture
