"""What the formats' own libraries read, beside what pbrl reads: run by scripts/test_libraries.sh, with another Python.

LeRobot also writes what is read, as it does now: the files in tests/data/files are of fixed versions.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lerobot", reason="scripts/test_libraries.sh installs it, on Python 3.12")
sys.path.append(str(Path(__file__).parents[1] / "data" / "files"))
import h5py
from lerobot.configs.rewards import RewardModelConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.rewards.factory import make_reward_model, make_reward_pre_post_processors
from torch.utils.data import DataLoader
from write_lerobot import LENGTHS, write

import pbrl
from pbrl.cli import main
from pbrl.data.datasets import load_dataset
from pbrl.data.lerobot_files import write_progress
from pbrl.data.stored_videos import StoredFrames, StoredVideos


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A LeRobotDataset that lerobot wrote just now, and the data set that pbrl made of it."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "lerobot")
    command = ["data", "import", str(folder / "lerobot"), f"out={folder / 'set'}", "segment_length=3"]
    assert main([*command, "labels=return", "comparisons=5", "heldout=1"]) == 0
    return folder / "lerobot", load_dataset(folder / "set")


@pytest.fixture(scope="module")
def reward(made, tmp_path_factory):
    """A reward that pbrl learned from the data set, and the folder with it that is made for lerobot."""
    folder = tmp_path_factory.mktemp("learned")
    train = ["env=none", "method=piql", "steps=20", "feedback.heldout=0", "report=false", f"run_dir={folder / 'run'}"]
    assert main(["train", f"data={made[1].path}", *train]) == 0
    assert main(["export", str(folder / "run"), "reward=lerobot", f"out={folder / 'out'}"]) == 0
    return pbrl.load_reward(folder / "run"), folder / "out" / "reward_lerobot"


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


def batch_of(root):
    """All frames as lerobot gives them."""
    data = LeRobotDataset("made/tiny", root=root)
    return next(iter(DataLoader(data, batch_size=len(data))))


def test_lerobot_gives_its_frames_the_reward_that_pbrl_gives_them(made, reward, monkeypatch):
    learned, folder = reward
    monkeypatch.syspath_prepend(str(folder))
    import modeling_pbrl  # which registers it
    import processor_pbrl  # noqa: F401

    config = RewardModelConfig.from_pretrained(folder)
    config.pretrained_path = folder
    by_factory = make_reward_model(config)
    strict = modeling_pbrl.PbrlRewardModel.from_pretrained(folder, strict=True)  # all weights, and no other
    batch = batch_of(made[0])
    before, after = make_reward_pre_post_processors(config)
    ours = learned(batch["observation.state"].numpy(), batch["action"].numpy())
    assert np.ptp(ours) > 0
    for model in (by_factory, strict):
        np.testing.assert_allclose(after(model.compute_reward(before(batch))), ours, atol=1e-5)


def test_lerobot_opens_the_data_set_with_answers_and_progress_beside(made, reward, tmp_path):
    root, data = tmp_path / "lerobot", made[1]
    shutil.copytree(made[0], root, ignore=shutil.ignore_patterns("pbrl_progress.parquet"))
    (tmp_path / "answers.csv").write_text(
        "left_episode,left_start,left_length,right_episode,right_start,right_length,choice\n0,1,3,1,2,3,right\n"
    )
    people = ["data", "import", str(tmp_path / "answers.csv"), f"data={data.path}", f"out={tmp_path / 'people'}"]
    assert main(people) == 0
    to = ["format=lerobot", f"to={root}"]
    assert main(["data", "export", str(tmp_path / "people"), *to, f"data={data.path}"]) == 0
    assert main(["data", "export", str(data.path), *to, f"reward={reward[1].parents[1] / 'run'}"]) == 0
    assert (root / "meta" / "preferences.parquet").exists()
    assert (root / "pbrl_progress.parquet").exists()
    before, now = batch_of(made[0]), batch_of(root)
    assert before.keys() == now.keys()
    assert torch.equal(before["observation.images.top"], now["observation.images.top"])


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
