"""A policy from videos, a table of their steps, and answers about them: python examples/offline_videos.py [UPDATES]

Videos, table and answers are made here; `pbrl label data=data/clips out=labels/clips` asks people instead.
"""

import csv
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np

import pbrl
from pbrl.cli import main as pbrl_command

UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
CLIPS, LENGTH = Path("clips"), 40
GOAL = np.array([0.5, 0.5])


def write_video(name: str, rng: np.random.Generator) -> tuple[list[list], float]:
    """Film a point that goes somewhere; returns its steps, and how far from the green place it ends."""
    position, target = rng.uniform(-0.8, 0.8, (2, 2))
    frames, rows = [], []
    for _ in range(LENGTH):
        action = np.clip(3 * (target - position) + rng.normal(0, 0.2, 2), -1, 1)
        rows.append([name, *position.round(4), *action.round(4)])
        frame = np.full((64, 64, 3), 255, np.uint8)
        for place, colour in ((GOAL, (0, 160, 0)), (position, (200, 0, 0))):
            x, y = (32 + 30 * place).astype(int)
            frame[y - 2 : y + 3, x - 2 : x + 3] = colour
        frames.append(frame)
        position = np.clip(position + 0.1 * action, -0.9, 0.9)
    iio.imwrite(CLIPS / f"{name}.mp4", np.stack(frames), fps=20, codec="libx264", plugin="pyav")
    return rows, float(np.linalg.norm(position - GOAL))


def write_table(path: Path, header: str, rows: list) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


CLIPS.mkdir()
rng = np.random.default_rng(0)
made = {f"ep_{i}": write_video(f"ep_{i}", rng) for i in range(40)}
write_table(CLIPS / "steps.csv", "episode,obs_x,obs_y,act_x,act_y", [row for rows, _ in made.values() for row in rows])
pairs = [rng.choice(list(made), 2, replace=False) for _ in range(60)]
answers = [[a, b, "left" if made[a][1] < made[b][1] else "right", "me"] for a, b in pairs]
write_table(Path("answers.csv"), "left_episode,right_episode,choice,annotator", answers)

pbrl_command(["data", "import", "from=clips", "out=data/clips", "segment_length=20"])
pbrl_command(["data", "import", "from=answers.csv", "data=data/clips", "out=data/answers"])
run = pbrl.train(
    method="piql", data="data/clips", labels="data/answers", env="none", steps=UPDATES, run_dir="runs/videos"
)
print("from the middle it goes", run.policy()(np.zeros(2, np.float32)))
