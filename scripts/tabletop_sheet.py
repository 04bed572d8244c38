"""A sheet of pictures of all tasks, for docs: `python scripts/tabletop_sheet.py docs/tabletop.png`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pbrl_envs.experts import find_expert
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.tabletop import TASKS

SIZE, SEED = 160, 1
MOMENTS = {
    "Reach": (0, 5, 40),
    "Push": (0, 25, 149),
    "Lift": (0, 18, 99),
    "Group": (0, 30, 149),
    "Clutter": (0, 15, 99),
}


def sheet() -> np.ndarray:
    """Return the sheet (2 * SIZE * 3, 5 * SIZE, 3) uint8: a column per task; three moments from above and in front."""
    columns = []
    for task in TASKS:
        views = [_moments(task, camera) for camera in ("top", "front")]
        columns.append(np.concatenate([view[i] for i in range(3) for view in views]))
    return np.concatenate(columns, axis=1)


def _moments(task: str, camera: str) -> list[np.ndarray]:
    env = make_gym(f"pbrl_envs/Tabletop{task}-v0", render_mode="rgb_array", width=SIZE, height=SIZE, camera=camera)
    expert = find_expert(env)
    assert expert is not None
    obs, _ = env.reset(seed=SEED)
    frames = []
    for step in range(max(MOMENTS[task]) + 1):
        if step in MOMENTS[task]:
            frames.append(env.render())
        obs, *_ = env.step(expert.act(obs))
    env.close()
    return frames


if __name__ == "__main__":
    from PIL import Image

    Image.fromarray(sheet()).save(Path(sys.argv[1]), optimize=True)
