"""What the formats' own libraries read, beside what pbrl reads: run by scripts/test_libraries.sh, with another Python.

LeRobot also writes what is read, as it does now: the files in tests/data/files are of fixed versions.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "data" / "files"))
import h5py
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


def import_(path, *options):
    out = path.with_name(f"{path.stem}_set")
    command = ["data", "import", str(path), f"out={out}", "segment_length=4", "splits=1,0,0", *options]
    assert main(command) == 0
    return load_dataset(out)


def test_ogbench_has_the_same_steps(tmp_path):
    from ogbench.utils import load_dataset as load_ogbench

    obs = np.arange(24, dtype="f4")[:, None] * [1, 10]
    ends = np.isin(np.arange(24), [7, 13, 23])
    actions = np.linspace(-1, 1, 48, dtype="f4").reshape(24, 2)
    np.savez_compressed(tmp_path / "maze-v0.npz", observations=obs, actions=actions, terminals=ends)
    theirs, ours = load_ogbench(str(tmp_path / "maze-v0.npz")), import_(tmp_path / "maze-v0.npz").episodes
    np.testing.assert_array_equal(theirs["observations"], np.concatenate([e.obs[:-1] for e in ours]))
    np.testing.assert_array_equal(theirs["next_observations"], np.concatenate([e.obs[1:] for e in ours]))
    np.testing.assert_array_equal(theirs["actions"], np.concatenate([e.actions for e in ours]))


def test_robomimic_has_the_same_steps(tmp_path):
    from robomimic.utils.dataset import SequenceDataset

    numbers = (0, 1, 2, 10)
    with h5py.File(tmp_path / "demos.hdf5", "w") as file:
        group = file.create_group("data")
        group.attrs["total"], group.attrs["env_args"] = sum(i + 6 for i in numbers), "{}"
        for i in numbers:
            demo, t = group.create_group(f"demo_{i}"), np.arange(i + 6)
            demo.attrs["num_samples"] = len(t)
            demo["actions"], demo["rewards"] = np.stack([t / 20, np.full(len(t), i / 10)], 1), t / 1.0
            demo["dones"] = (t == t[-1]).astype("i8")
            for name, time in (("obs", t), ("next_obs", t + 1)):
                demo[f"{name}/eef"] = np.stack([np.full(len(t), i), time], 1).astype("f4")
                demo[f"{name}/object"] = 2.0 * time[:, None]
    theirs = SequenceDataset(
        str(tmp_path / "demos.hdf5"),
        obs_keys=("eef", "object"),
        dataset_keys=("actions", "rewards", "dones"),
        load_next_obs=True,
        hdf5_cache_mode=None,
        hdf5_use_swmr=False,
    )
    ours = import_(tmp_path / "demos.hdf5", "obs=eef,object").episodes
    assert len(theirs) == sum(map(len, ours))
    for item in (theirs[i] for i in range(len(theirs))):
        now, after = (np.concatenate([item[k]["eef"][0], item[k]["object"][0]]) for k in ("obs", "next_obs"))
        episode, step = ours[numbers.index(int(now[0]))], int(now[1])
        np.testing.assert_array_equal(now, episode.obs[step])
        np.testing.assert_array_equal(after, episode.obs[step + 1])
        np.testing.assert_allclose(item["actions"][0], episode.actions[step], rtol=1e-6)
        assert item["rewards"][0] == episode.true_reward[step]
