"""LeRobot itself reads what pbrl wrote: run by scripts/test_lerobot.sh, since lerobot needs a Python of its own.

What lerobot writes now is read too: the files in tests/data/files are of fixed versions.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "data" / "files"))
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from write_lerobot import LENGTHS, write

from pbrl.cli import main
from pbrl.data.datasets import load_dataset
from pbrl.data.lerobot_files import write_progress
from pbrl.data.stored_videos import StoredFrames, StoredVideos


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A LeRobotDataset that lerobot wrote just now, and the data set that pbrl made of it."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "lerobot")
    assert main(["data", "import", str(folder / "lerobot"), f"out={folder / 'set'}", "segment_length=3"]) == 0
    return folder / "lerobot", load_dataset(folder / "set")


def test_pbrl_finds_the_frames_that_lerobot_finds(made):
    root, data = made
    theirs = LeRobotDataset("made/tiny", root=root)
    frames = StoredFrames(StoredVideos.of(data.meta["videos"], data.path), data.path)
    first = np.cumsum(LENGTHS) - LENGTHS
    for k, e in enumerate(data.episodes):
        for camera in frames.cameras:
            for t, ours in enumerate(frames.frames(e.states, camera)):
                item = theirs[int(first[k]) + t]
                np.testing.assert_allclose(item[camera].permute(1, 2, 0) * 255, ours, atol=3)
                np.testing.assert_allclose(item["observation.state"], e.obs[t], rtol=1e-6)


def test_lerobot_weighs_frames_by_the_progress_that_pbrl_wrote(made):
    from lerobot.rewards.sarm.rabc import RABCWeights

    root, data = made
    file = write_progress(data, lambda obs, actions: obs[:, 1], root, root)  # 0, 1, 2, ...
    weights = RABCWeights(file, chunk_size=1, device=torch.device("cpu"))
    batch = {"index": torch.tensor([5, 8, 11])}  # steps 0, 3 and 6 of the second episode
    values, _ = weights.compute_batch_weights(batch)
    assert values[0] < values[1] <= values[2]  # beyond `kappa` all weigh the same
