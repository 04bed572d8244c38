"""Cost of drawing and encoding a pair of clips, in one process on one core.

    python scripts/clip_speed.py [width height max_fps shadows] [env ...]

Prints a table: frames per second of the clip, seconds for both clips of a pair of 50 steps, the processor time in them
(which other programs disturb less), also in milliseconds per frame, and KiB per clip. Uses the OpenGL back end in
MUJOCO_GL; LP_NUM_THREADS=0 keeps Mesa's software renderer to one core.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.viewer.clips import ClipDrawer, ClipStyle, frame_count

STEPS = 50
ENVS = ("point_reach", "halfcheetah", "walker-walk", "drawer-open")


def main(words: list[str]) -> None:
    numbers = [word for word in words if word[0].isdigit()]
    width, height, max_fps, shadows = [int(n) for n in numbers] + [384, 384, 30, 0][len(numbers) :]
    style = ClipStyle(width=width, height=height, max_fps=max_fps, shadows=bool(shadows))
    columns = f"{'s/pair':>8}{'cpu s':>8}{'ms/frame':>10}{'KiB/clip':>10}{'start s':>9}"
    print(f"{'env':<14}{'size':>9}{'shadows':>9}{'fps':>6}{columns}")
    for name in [word for word in words if not word[0].isdigit()] or ENVS:
        config = compose_config([f"env={name}"])
        states, begun = _states(config), time.perf_counter()
        drawer = ClipDrawer(config.env, style)
        start = time.perf_counter() - begun
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{side}.mp4" for side in "ab"]
            drawer.draw(files[0], states[0], "default")  # what is only slow once
            begun, begun_cpu = time.perf_counter(), time.process_time()
            for file, side in zip(files, states, strict=True):
                drawer.draw(file, side, "default")
            took, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
            size = sum(file.stat().st_size for file in files) / 2 / 1024
        drawer.close()
        frames = 2 * frame_count(STEPS, drawer.every)
        row = f"{drawer.fps:>6.4g}{took:>8.2f}{cpu:>8.2f}{1000 * cpu / frames:>10.1f}{size:>10.0f}{start:>9.2f}"
        print(f"{name:<14}{f'{width}x{height}':>9}{'yes' if shadows else 'no':>9}{row}", flush=True)


def _states(config: DictConfig) -> np.ndarray:
    """Return two segments (2, STEPS+1, D) of random actions."""
    env = build(config.env.make)
    env.action_space.seed(0)
    segments = []
    for seed in range(2):
        env.reset(seed=seed)
        states = [env.get_wrapper_attr("save_state")()]
        for _ in range(STEPS):
            env.step(env.action_space.sample())
            states.append(env.get_wrapper_attr("save_state")())
        segments.append(states)
    env.close()
    return np.array(segments)


if __name__ == "__main__":
    os.environ.setdefault("LP_NUM_THREADS", "0")  # before OpenGL is loaded
    main(sys.argv[1:])
