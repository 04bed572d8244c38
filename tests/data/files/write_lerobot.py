"""Writes the LeRobotDataset beside this file, with lerobot itself: 0.3.3 for v2.1, 0.6.1 for v3.

    python write_lerobot.py FOLDER

The grey level of a frame says which one of all it is: 10 + 12 k from the top, 250 - 12 k at the wrist.
"""

import sys
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

LENGTHS, SIZE = (5, 8, 6), (64, 64, 3)


def feature(dtype, *shape, names=None):
    return {"dtype": dtype, "shape": shape, "names": names}


FEATURES = {
    "observation.state": feature("float32", 3, names=["a", "b", "c"]),
    "action": feature("float32", 2, names=["j1", "j2"]),
    "next.reward": feature("float32", 1),
    "next.done": feature("bool", 1),
    "next.success": feature("bool", 1),
    "observation.images.top": feature("video", *SIZE, names=["height", "width", "channels"]),
    "observation.images.wrist": feature("video", *SIZE, names=["height", "width", "channels"]),
}


def add(data, frame, task):
    try:
        data.add_frame({**frame, "task": task})
    except ValueError:  # before 0.4
        data.add_frame(frame, task=task)


def write(folder):
    data = LeRobotDataset.create("made/tiny", fps=10, features=FEATURES, root=folder, robot_type="toy")
    k = 0
    for episode, length in enumerate(LENGTHS):
        for t in range(length):
            frame = {
                "observation.state": np.array([episode, t, t / 10], np.float32),
                "action": np.array([10 * t - 20, 5 * episode], np.float32),
                "next.reward": np.array([t], np.float32),
                "next.done": np.array([t == length - 1]),
                "next.success": np.array([t == length - 1 and episode != 1]),
                "observation.images.top": np.full(SIZE, 10 + 12 * k, np.uint8),
                "observation.images.wrist": np.full(SIZE, 250 - 12 * k, np.uint8),
            }
            add(data, frame, "place" if episode == 1 else "pick")
            k += 1
        data.save_episode()
    if hasattr(data, "finalize"):
        data.finalize()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
