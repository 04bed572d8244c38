"""A policy as a film: H.264 in yuv420p, which every browser plays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from pbrl.data.recorder import episode_seed
from pbrl.errors import UserError
from pbrl.training.rollout import ActFn

SECONDS = 10.0
SIZE = (480, 360)  # width, height
MAX_FPS = 30  # faster simulators show every second, third, ... step: nobody sees the difference


class MakeEnv(Protocol):
    def __call__(self, **options: Any) -> gym.Env: ...


def film(path: Path, make_env: MakeEnv, act: ActFn, *, seed: int, seconds: float = SECONDS) -> None:
    """Writes a clip of this length in real time: the policy's episodes of this seed, one after the other."""
    env = make_env(render_mode="rgb_array", width=SIZE[0], height=SIZE[1])
    try:
        fps, every = frame_rate(env)
        write_mp4(path, islice(frames(env, act, seed, every), max(round(seconds * fps), 1)), fps)
    finally:
        env.close()


def frame_rate(env: gym.Env) -> tuple[float, int]:
    """Frames per second of the clip, and environment steps per frame."""
    real_time = float(env.metadata.get("render_fps") or MAX_FPS)
    every = max(1, round(real_time / MAX_FPS))
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


def write_mp4(path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    """pictures: (H, W, 3) uint8 each. The file is there whole or not at all."""
    import imageio.v3 as iio

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.mp4")
    try:
        with iio.imopen(partial, "w", plugin="pyav") as file:
            file.init_video_stream("libx264", fps=fps, pixel_format="yuv420p")
            for picture in pictures:
                height, width = picture.shape[:2]
                file.write_frame(picture[: height // 2 * 2, : width // 2 * 2])  # yuv420p halves both
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _frame(env: gym.Env) -> np.ndarray:
    picture: Any = env.render()
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.dtype != np.uint8:
        name = type(env.unwrapped).__name__
        raise UserError(f"{name} draws no frames with render_mode=rgb_array, so there is no clip of it")
    return picture
