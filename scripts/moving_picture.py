"""The picture of README.md: `python scripts/moving_picture.py RUN_DIR docs/halfcheetah.gif`.

Random actions on the left, the saved policy of a run on the right, three seconds in real time.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from pbrl.reports.video import frame_rate, frames
from pbrl.training.rollout import Policy, random_policy
from pbrl.training.saved import load_run
from pbrl.training.saved_run import SavedRun

SECONDS, EVERY = 3, 2  # every second frame of a clip is enough for a picture
WIDTH, HEIGHT = 320, 200
SKIPPED = 1.0  # seconds, in which it gets up to speed


def main(run_dir: str, out: str) -> None:
    saved = load_run(Path(run_dir))
    action_size = saved.agent.model.action_space.shape[0]
    left, fps = pictures(saved, random_policy(action_size, seed=0))
    right, _ = pictures(saved, saved.act)
    both = np.concatenate([left, right], axis=2)
    iio.imwrite(out, both, duration=1000 / fps, loop=0)


def pictures(saved: SavedRun, act: Policy) -> tuple[np.ndarray, float]:
    """Film frames (n, H, W, 3); return them and their rate per second."""
    env = saved.make_env(render_mode="rgb_array", width=WIDTH, height=HEIGHT)
    fps, steps = frame_rate(env)
    first = round(SKIPPED * fps)
    shown = islice(frames(env, act, seed=0, every=steps), first, first + round(SECONDS * fps), EVERY)
    film = np.stack(list(shown))
    env.close()
    return film, fps / EVERY


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
