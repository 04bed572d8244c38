"""What agents do: eight moments of an episode of the last policy, a row of pictures for each run.

python scripts/results_strips.py FILE.png NAME=RUN ...    NAME is written above the row
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from pbrl.reports.video import frames
from pbrl.training.saved import load_run
from pbrl_envs.experts import time_limit

PICTURES, PIXELS = 8, 192


def strip(run: Path) -> list[np.ndarray]:
    """Return pictures (PIXELS, PIXELS, 3) of the first episode, at even distances, with its start and its end."""
    saved = load_run(run)
    env = saved.make_env(render_mode="rgb_array", width=PIXELS, height=PIXELS)
    try:
        drawn = [*islice(frames(env, saved.act, seed=0, every=1), time_limit(env) + 1)]
    finally:
        env.close()
    return [drawn[t] for t in np.linspace(0, len(drawn) - 1, PICTURES).round().astype(int)]


def draw(runs: Mapping[str, Path], file: Path) -> None:
    with rc_context({"font.size": 12}):
        drawn = Figure(figsize=(1.5 * PICTURES, 1.75 * len(runs)), layout="constrained")
        for row, (name, run) in zip(drawn.subplots(len(runs), PICTURES, squeeze=False), runs.items(), strict=True):
            for axes, picture in zip(row, strip(run), strict=True):
                axes.imshow(picture)
                axes.axis("off")
            row[0].set_title(name, loc="left")
        drawn.savefig(file, dpi=80)


if __name__ == "__main__":
    if len(sys.argv) < 3 or not all("=" in word for word in sys.argv[2:]):
        sys.exit(__doc__)
    draw({name: Path(run) for name, _, run in (word.partition("=") for word in sys.argv[2:])}, Path(sys.argv[1]))
