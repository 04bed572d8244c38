"""HDF5 files with a group per demo, or a file per episode, each written here as their libraries lay them out."""

import numpy as np
import pytest

from pbrl.data.datasets import load_dataset
from pbrl.data.stored_videos import StoredFrames, StoredVideos

h5py = pytest.importorskip("h5py", reason="h5py is not installed; get it with: pip install 'pbrl[data]'")
NUMBERS = (0, 1, 2, 10)  # their names sort otherwise: demo_10 before demo_2
LOW = ("eef_pos", "object")


def images(levels):
    return np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), 32, 32, 3))


@pytest.fixture
def robomimic(tmp_path):
    """Demo i has i + 6 steps; what it observes says the demo and the step."""
    with h5py.File(tmp_path / "low_dim.hdf5", "w") as file:
        group = file.create_group("data")
        group.attrs["env_args"] = '{"env_name": "Lift", "type": 1}'
        for i in NUMBERS:
            demo, t = group.create_group(f"demo_{i}"), np.arange(i + 6)
            demo["actions"] = np.stack([t / 20, np.full(len(t), i / 10)], 1)
            demo["rewards"], demo["dones"] = t / 1.0, t == t[-1]
            for name, time in (("obs", t), ("next_obs", t + 1)):
                demo[f"{name}/eef_pos"] = np.stack([np.full(len(t), i), time], 1).astype("f4")
                demo[f"{name}/object"] = 2.0 * time[:, None]
                demo[f"{name}/agentview_image"] = images(10 * time)
        file["mask/train"] = np.array([b"demo_1", b"demo_10"])
    return tmp_path / "low_dim.hdf5"


def load(output, path, *options):
    output("data", "import", f"from={path}", f"out={path.parent / 'set'}", "segment_length=4", "segments=20", *options)
    return load_dataset(path.parent / "set")


def test_demos_come_in_the_order_of_their_numbers_with_the_observation_after_the_end(output, robomimic):
    data = load(output, robomimic)
    assert list(data.episode_numbers) == [f"demo_{i}" for i in NUMBERS]
    for i, e in zip(NUMBERS, data.episodes, strict=True):
        t = np.arange(i + 7)
        np.testing.assert_array_equal(e.obs, np.stack([np.full(i + 7, i), t, 2 * t], 1))
        np.testing.assert_allclose(e.actions, np.stack([t[:-1] / 20, np.full(i + 6, i / 10)], 1), rtol=1e-6)
        assert e.true_reward.tolist() == t[:-1].tolist()
        assert not e.terminated  # `dones` tells of success, or of the last step
    assert data.meta["imported_from"]["obs"] == ["obs/eef_pos", "obs/object"]


def test_pictures_are_kept_and_found(output, robomimic):
    data = load(output, robomimic, "fps=20")
    videos = StoredVideos.of(data.meta["videos"], data.path)
    assert (videos.cameras, videos.fps, videos.root) == (("agentview_image",), 20, None)
    frames = StoredFrames(videos, data.path)
    for e in data.episodes:
        seen = [f.mean() for f in frames.frames(e.states, "agentview_image")]
        np.testing.assert_allclose(seen, 10 * np.arange(len(e) + 1), atol=3)


def test_what_is_observed_is_the_users_choice(output, robomimic):
    data = load(output, robomimic, "obs=object", "frames=false", "mask=train", "splits=1,0,0")
    assert list(data.episode_numbers) == ["demo_1", "demo_10"]
    np.testing.assert_array_equal(data.episodes[0].obs[:, 0], 2 * np.arange(8))
    assert "videos" not in data.meta
    assert data.episodes[0].states is None


def test_pictures_may_be_what_is_observed(output, robomimic):
    data = load(output, robomimic, "obs=agentview_image", "frames=false")
    assert data.episodes[0].obs.dtype == np.uint8
    assert data.episodes[0].obs.shape == (7, 32, 32, 3)
    assert data.episodes[0].obs[:, 0, 0, 0].tolist() == list(range(0, 70, 10))


def test_a_folder_of_files_with_an_episode_each(output, tmp_path):
    """As ALOHA: no rewards, no observation after the last action, joints in radians."""
    folder = tmp_path / "aloha"
    folder.mkdir()
    for i in (0, 2, 10):
        with h5py.File(folder / f"episode_{i}.hdf5", "w") as file:
            t = np.arange(6)
            file["observations/qpos"], file["action"] = np.stack([t, np.full(6, i)], 1) / 1.0, t[:, None] - 1.0
            file["observations/images/cam_high"] = images(20 * t)
    data = load(output, folder, "actions=data")
    assert list(data.episode_numbers) == ["episode_0", "episode_2", "episode_10"]
    assert [e.obs[0, 1] for e in data.episodes] == [0, 2, 10]
    assert data.meta["true_reward"] is False
    np.testing.assert_allclose(data.episodes[0].actions[:, 0], np.linspace(-1, 1, 5))  # -1 to 3: the last is left out
    assert data.meta["videos"]["cameras"] == ["cam_high"]


def test_compressed_pictures_are_unpacked(output, tmp_path):
    """As ALOHA packs them: each a JPEG, with zeros behind it to one length."""
    import io

    from PIL import Image

    folder = tmp_path / "aloha"
    folder.mkdir()
    for i in range(3):
        packed = []
        for t in range(6):
            Image.fromarray(np.full((32, 48, 3), 30 * t, np.uint8)).save(stream := io.BytesIO(), "JPEG")
            packed.append(stream.getvalue())
        rows = np.zeros((6, max(map(len, packed)) + 9), np.uint8)
        for row, data in zip(rows, packed, strict=True):
            row[: len(data)] = np.frombuffer(data, np.uint8)
        with h5py.File(folder / f"episode_{i}.hdf5", "w") as file:
            file["observations/qpos"], file["action"] = np.zeros((6, 2)), np.zeros((6, 1))
            file["observations/images/cam_high"] = rows
    data = load(output, folder)
    assert data.episodes[0].obs.shape == (6, 2)
    frames = StoredFrames(StoredVideos.of(data.meta["videos"], data.path), data.path)
    seen = [f.mean() for f in frames.frames(data.episodes[2].states, "cam_high")]
    np.testing.assert_allclose(seen, 30 * np.arange(6), atol=3)


def test_isaac_lab_has_its_own_names(output, tmp_path):
    with h5py.File(tmp_path / "isaac.hdf5", "w") as file:
        for i in range(3):
            demo = file.create_group(f"data/demo_{i}")
            demo.attrs["success"] = i != 1
            demo["actions"], demo["obs/joint_pos"] = np.zeros((5, 2)), np.full((5, 3), i)
            demo["states/articulation/robot/root_pose"], demo["initial_state/x"] = np.zeros((5, 7)), np.zeros((1, 7))
    data = load(output, tmp_path / "isaac.hdf5")
    assert [e.success for e in data.episodes] == [1, 0, 1]
    assert data.episodes[2].obs.shape == (5, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["obs=eef"], "/data/demo_0 has no eef; obs=: valid are actions, dones"),
        (["obs=object,agentview_image"], "mixes pictures with others; valid is one camera alone"),
        (["mask=valid"], "has no mask/valid; valid are train"),
        (["demos=trials"], "has no group trials; demos=GROUP names the one with a group per demo, it has data, mask"),
        (["action=torque"], "/data/demo_0 has no torque; action=NAME, valid are actions"),
        (["fps=0"], "fps=0: expected steps per second"),
        (["cameras=wrist"], "has no wrist; cameras=: valid are"),
    ],
)
def test_what_the_file_does_not_have_is_one_line(refusal, robomimic, options, message):
    said = refusal("data", "import", robomimic, f"out={robomimic.parent / 'set'}", "obs=object", *options)
    assert message in said
    assert [p.name for p in robomimic.parent.iterdir()] == ["low_dim.hdf5"]


def spoil(file, how):
    with h5py.File(file, "r+") as content:
        how(content["data/demo_2"])


def replace(demo, name, value):
    del demo[name]
    demo[name] = value


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda d: replace(d, "actions", np.full((8, 2), np.nan)), "action[0] of step 0 in episode demo_2 is nan"),
        (lambda d: replace(d, "obs/object", np.full((8, 1), np.inf)), "demo_2: obs[0, 2] is inf, expected finite"),
        (lambda d: replace(d, "actions", np.zeros((3, 2))), "demo_2 has 8 observations, 3 actions and 8 rewards"),
        (lambda d: replace(d, "actions", np.zeros((8, 3))), "actions are float32 of shape (3,), those before it"),
        (lambda d: d.__delitem__("rewards"), "/data/demo_2/rewards is missing; there are actions"),
        (lambda d: replace(d, "obs/object", h5py.ExternalLink("other.hdf5", "/x")), "is no array of this file"),
        (lambda d: replace(d, "obs/object", h5py.SoftLink("/data/demo_0/obs/object")), "is no array of this file"),
    ],
)
def test_a_damaged_demo_is_one_line_and_leaves_nothing(refusal, robomimic, how, message):
    spoil(robomimic, how)
    said = refusal("data", "import", robomimic, f"out={robomimic.parent / 'set'}", "obs=eef_pos,object")
    assert message in said
    assert [p.name for p in robomimic.parent.iterdir()] == ["low_dim.hdf5"]
