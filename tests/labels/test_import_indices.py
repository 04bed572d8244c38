"""Preference Transformer's index files with D4RL's arrays."""

import pickle
import shlex
import subprocess
import sys

import damages
import numpy as np
import pytest

from pbrl.commands.data_import import describe_labels
from pbrl.errors import UserError
from pbrl.labels.import_indices import import_indices
from pbrl.labels.index_rows import ROBOMIMIC, read_steps
from pbrl.labels.sets import load_label_set

ABOUT = {"env_name": None, "env": None, "command": "pbrl data import"}
LENGTHS = (8, 6, 10)  # the first ends by termination, the second by its time limit, the third with the file
M = sum(LENGTHS)


def steps(following=False):
    obs = np.arange(M, dtype="f4")[:, None] * [1, 10]
    ends = np.zeros((2, M), bool)
    ends[0, 7] = ends[1, 13] = True
    data = {
        "observations": obs.astype("f4"),
        "actions": np.linspace(-1, 1, 2 * M, dtype="f4").reshape(M, 2),
        "rewards": np.arange(M, dtype="f4"),
        "terminals": ends[0],
        "timeouts": ends[1],
    }
    return data | ({"next_observations": data["observations"] + 0.5} if following else {})


def as_qlearning(data):
    """D4RL's qlearning_dataset: no row with a timeout, not the last row, and the next row as what followed."""
    rows = [i for i in range(len(data["rewards"]) - 1) if not data["timeouts"][i]]
    named = {name: data[name][rows] for name in ("observations", "actions", "rewards", "terminals")}
    return named | {"next_observations": data["observations"][[i + 1 for i in rows]]}


class Files:
    def __init__(self, folder):
        self.folder = folder
        self.data, self.first, self.second = steps(), np.array([0, 8, 13, 14]), np.array([9, 13, 1, 2])
        self.labels, self.options = np.array([0, 1, -1, 1]), {}

    def load(self, **options):
        f = self.folder
        np.savez(f / "d4rl.npz", **self.data)
        for name in ("first", "second", "labels"):
            if not (f / f"{name}.npy").exists():
                np.save(f / f"{name}.npy", getattr(self, name))
        settings = {"length": 4, "annotator": "people", "clip": False, "drop": False} | options
        indices = f / "first.npy", f / "second.npy"
        data = settings.pop("file", f / "d4rl.npz")
        import_indices(data, f / "set", ABOUT, indices=indices, labels=f / "labels.npy", **settings)
        return load_label_set(f / "set")


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.mark.parametrize("made_by", ["file", "qlearning_dataset", "hdf5"])
def test_an_index_counts_the_rows_without_time_limits(files, made_by):
    """Index 13 is row 14: row 13 is a time limit. Each observation says its row, so a wrong one is seen at once."""
    raw, options = files.data, {}
    if made_by == "qlearning_dataset":
        files.data = as_qlearning(raw)
    elif made_by == "hdf5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(files.folder / "d4rl.hdf5", "w") as file:
            for name, array in raw.items():
                file[name] = array
        options = {"file": files.folder / "d4rl.hdf5"}
    labels = files.load(**options)
    assert labels.prefers_right.tolist() == [0, 1, 0.5, 1]
    assert labels.pairs.left.obs[:, :, 0].tolist() == [[row + t for t in range(5)] for row in (0, 8, 14, 15)]
    assert labels.pairs.right.obs[:, :, 0].tolist() == [[row + t for t in range(5)] for row in (9, 14, 1, 2)]
    for side, rows in (("left", (0, 8, 14, 15)), ("right", (9, 14, 1, 2))):
        segments = getattr(labels.pairs, side)
        for number, row in enumerate(rows):
            np.testing.assert_array_equal(segments.actions[number], raw["actions"][row : row + 4])
            np.testing.assert_array_equal(segments.true_reward[number], raw["rewards"][row : row + 4])
    assert labels.last_obs is True
    assert labels.meta["true_reward"] is True
    assert not labels.pairs.left.terminated.any()


@pytest.mark.parametrize("qlearning", [False, True])
def test_every_step_of_a_data_set_of_time_limits_is_where_qlearning_dataset_has_it(tmp_path, qlearning):
    """Hopper's kind of file: many episodes, most ended by time. After the k-th time limit an index is k rows short."""
    m, ends = 400, np.zeros(400, bool)
    ends[9::10] = True
    fell = ends & (np.arange(m) % 30 == 29)
    raw = {
        "observations": np.arange(m, dtype="f4")[:, None],
        "actions": np.zeros((m, 1), "f4"),
        "rewards": np.arange(m, dtype="f4"),
        "terminals": fell,
        "timeouts": ends & ~fell,
    }
    np.savez(tmp_path / "d4rl.npz", **(as_qlearning(raw) if qlearning else raw))
    found = read_steps(tmp_path / "d4rl.npz")
    assert found.obs[:, 0].tolist() == [i for i in range(m - 1) if i % 10 < 9 or i % 30 == 29]
    assert found.next_obs[found.next_known, 0].tolist() == [i + 1 for i in range(m - 1) if i % 10 < 9]
    assert [int(row) // 10 for row in found.obs[:, 0]] == found.episode.tolist()


def test_more_indices_than_labels_means_that_the_first_were_answered(files):
    files.first, files.second = np.append(files.first, [3, -5, 999]), np.append(files.second, [4, 5, 6])
    labels = files.load()
    assert labels.pairs.left.ids.tolist() == [0, 8, 13, 14]
    assert labels.meta["unanswered"] == 3
    assert "3 indices without a label not used" in describe_labels(labels.meta)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0, 0.25, 0.75, 1]), [0, 0.25, 0.75, 1]),
        (np.array([[1, 0], [0, 1], [0.5, 0.5], [0.25, 0.75]]), [0, 1, 0.5, 0.75]),
    ],
)
def test_labels_may_be_shares(files, labels, expected):
    files.labels = labels
    assert files.load().prefers_right.tolist() == expected


@pytest.mark.parametrize("qlearning", [False, True])
@pytest.mark.parametrize("start", [4, 9, 17])
def test_an_observation_after_the_end_of_an_episode_is_not_that_of_the_next(files, qlearning, start):
    """4: rows 4 to 7, which end the MDP. 9: rows 9 to 12, before a time limit. 17: rows 18 to 21, before the last."""
    files.first[0] = start
    if qlearning:
        files.data = as_qlearning(files.data)
    labels = files.load()
    segment = labels.pairs.left[[0]]
    assert segment.terminated.tolist() == [[0, 0, 0, float(start == 4)]]
    rows = {4: [4, 5, 6, 7, 7], 9: [9, 10, 11, 12, 13], 17: [18, 19, 20, 21, 22]}[start]
    assert segment.obs[0, :, 0].tolist() == rows
    assert labels.last_obs is (start != 4)


def test_next_observations_say_what_followed(files):
    files.data = steps(following=True)
    files.first[0] = 4
    labels = files.load()
    assert labels.pairs.left.obs[0, :, 0].tolist() == [4, 5, 6, 7, 7.5]
    assert labels.last_obs is True


@pytest.mark.parametrize("qlearning", [False, True])
def test_comparisons_that_cross_an_episode_are_refused_or_left_out_and_counted(files, qlearning):
    files.first[1], files.second[3] = 5, 11  # over the fall at row 7, over the time limit at row 13
    if qlearning:
        files.data = as_qlearning(files.data)
    with pytest.raises(UserError, match=r"2 of 4 comparisons have .* crosses .* \(the first is row 1\); drop=true"):
        files.load()
    labels = files.load(drop=True)
    assert labels.prefers_right.tolist() == [0, 0.5]
    assert labels.meta["dropped"] == 2


def test_robomimic_demos_come_in_the_order_of_their_names_without_their_last_steps(tmp_path):
    h5py = pytest.importorskip("h5py")
    order = ("demo_0", "demo_1", "demo_10", "demo_2")  # not as they were recorded
    with h5py.File(tmp_path / "low_dim.hdf5", "w") as file:
        for number, name in enumerate(("demo_0", "demo_1", "demo_2", "demo_10")):
            length = 5 + number
            place = 100 * int(name[5:]) + np.arange(length, dtype="f8")
            group = file.create_group(f"data/{name}")
            for key_number, key in enumerate(reversed(ROBOMIMIC)):
                group[f"obs/{key}"] = np.stack([place, np.full(length, 8 - key_number)], 1)
            group["obs/robot0_eef_vel_ang"] = np.full((length, 3), np.nan)  # a key that the labels know nothing of
            group["actions"], group["rewards"] = np.zeros((length, 7)), place
            group["dones"] = np.arange(length) == length - 1
    found = read_steps(tmp_path / "low_dim.hdf5")
    lengths = {"demo_0": 5, "demo_1": 6, "demo_2": 7, "demo_10": 8}
    rows = [100 * int(name[5:]) + i for name in order for i in range(lengths[name] - 1)]
    assert found.obs[:, 0].tolist() == rows
    assert found.next_obs[:, 0].tolist() == [row + 1 for row in rows]
    assert found.obs.shape[1] == 18
    assert found.obs[0, 1::2].tolist() == list(range(9))  # the nine keys in their order
    assert found.obs[0, ::2].tolist() == [0] * 9
    assert found.next_known.all()
    assert not found.terminated.any()
    assert len(set(found.episode.tolist())) == 4
    index = {row: number for number, row in enumerate(rows)}
    np.save(tmp_path / "first.npy", [index[1000], index[200]])
    np.save(tmp_path / "second.npy", [index[203 - 1], index[1004]])
    np.save(tmp_path / "labels.npy", [1, 0])
    paths = {"indices": (tmp_path / "first.npy", tmp_path / "second.npy"), "labels": tmp_path / "labels.npy"}
    options = {"length": 3, "annotator": "people", "clip": False, "drop": False}
    import_indices(tmp_path / "low_dim.hdf5", tmp_path / "set", ABOUT, **paths, **options)
    labels = load_label_set(tmp_path / "set")
    assert labels.pairs.left.obs[:, :, 0].tolist() == [[1000, 1001, 1002, 1003], [200, 201, 202, 203]]
    assert labels.pairs.right.obs[:, :, 0].tolist() == [[202, 203, 204, 205], [1004, 1005, 1006, 1007]]
    assert labels.last_obs is True


def test_index_files_may_be_npz(files):
    np.savez(files.folder / "labels.npz", files.labels)
    np.save(files.folder / "first.npy", files.first)
    np.save(files.folder / "second.npy", files.second)
    np.savez(files.folder / "d4rl.npz", **files.data)
    f = files.folder
    paths = {"indices": (f / "first.npy", f / "second.npy"), "labels": f / "labels.npz"}
    import_indices(f / "d4rl.npz", f / "set", ABOUT, length=4, annotator="people", clip=False, drop=False, **paths)
    assert len(load_label_set(f / "set")) == 4


def set_data(name, value):
    return lambda files: files.data.update({name: value(files.data[name]) if callable(value) else value})


def put_data(name, row, value):
    def change(files):
        files.data[name] = files.data[name].astype("f8")
        files.data[name][row] = value

    return change


def set_column(name, value):
    return lambda files: setattr(files, name, value)


DAMAGES = {
    "missing": (lambda f: f.data.pop("terminals"), "d4rl.npz: terminals missing; it has"),
    "episodes": (lambda f: f.data.pop("timeouts"), "timeouts missing; .* qlearning_dataset returns, which"),
    "rows": (set_data("rewards", lambda x: x[1:]), r"rewards has shape \(23,\), expected \(M,\) with M = 24"),
    "dimensions": (set_data("actions", lambda x: x[:, 0]), r"actions has shape \(24,\), expected \(M, A\)"),
    "next": (set_data("next_observations", np.zeros((24, 1))), "next_observations and observations have shapes"),
    "reward": (set_data("rewards", lambda x: np.where(x == 3, np.nan, x)), r"rewards\[3\] is nan, expected finite"),
    "action": (set_data("actions", lambda x: x * 2), r"actions\[0, 0\] is -2.0, expected -1 to 1; .*clip=true"),
    "obs": (set_data("observations", lambda x: np.where(x == 3, np.inf, x)), "obs.* is inf, expected finite"),
    "few": (set_column("labels", np.array([0, 1, 1, 1, 0])), "has 4 indices, .*labels.npy has 5 labels"),
    "lengths": (set_column("first", np.array([0, 1])), "first.npy has 2 indices, .*second.npy has 4; expected as many"),
    "float": (set_column("first", np.array([0.0, 8, 14, 15])), "float64.*, expected whole numbers of shape"),
    "shape": (set_column("second", np.zeros((4, 1), int)), r"int64\(4, 1\), expected whole numbers of shape \(N,\)"),
    "range": (set_column("second", np.array([9, 14, 1, 19])), r"indices\[3\] is 19, expected 0 to 18, from where"),
    "negative": (set_column("first", np.array([-1, 8, 14, 15])), r"indices\[0\] is -1, expected 0 to 18"),
    "label": (set_column("labels", np.array([0, 1, 2, 1])), r"labels\[2\] is 2.0, expected 0 for the first to 1"),
    "labels nan": (set_column("labels", np.array([0, 1, np.nan, 1])), r"labels\[2\] is nan, expected 0 for the first"),
    "shares": (
        set_column("labels", np.array([[1, 1], [0, 1], [1, 0], [1, 0]])),
        r"labels\[0, 0\] is 1.0, exp",
    ),
    "no labels": (lambda f: setattr(f, "labels", np.zeros(0)), r"labels\.npy has no labels$"),
    "too little data": (
        lambda f: (setattr(f, "data", {k: v[:5] for k, v in f.data.items()}), f.options.update(length=8)),
        "has 4 steps, fewer than segment_length=8",
    ),
    "time limits unknown": (put_data("timeouts", 0, np.nan), r"timeouts\[0\] is nan, expected 0 or 1"),
    "time limits counted": (put_data("timeouts", 13, 2), r"timeouts\[13\] is 2.0, expected 0 or 1"),
    "terminals unknown": (put_data("terminals", 3, np.nan), r"terminals\[3\] is nan, expected 0 or 1"),
    "no observation": (put_data("observations", 5, np.inf), r"observations\[5, 0\] is inf, expected finite"),
    "crossing": (
        lambda f: (set_column("first", np.full(4, 6))(f), f.options.update(drop=True)),
        "all 4 comparisons have a segment that crosses",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_malformed_files_are_refused_in_one_line(files, damage):
    change, message = DAMAGES[damage]
    change(files)
    with pytest.raises(UserError, match=message) as caught:
        files.load(**files.options)
    assert "\n" not in str(caught.value)
    assert not (files.folder / "set").exists()


def test_a_pickle_is_never_opened_and_the_way_out_is_said(files):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    (files.folder / "first.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"pickles are never loaded.*numpy\.save\(sys\.argv\[2\], pickle\.load"):
        files.load()


def test_the_advice_about_a_pickle_works_and_leaves_it_as_it_is(files):
    file = files.folder / "first.npy"
    file.write_bytes(pickle.dumps(files.first))
    with pytest.raises(UserError, match="is a pickle") as caught:
        files.load()
    command = str(caught.value).split("by: python -c ")[1]
    subprocess.run(f"{shlex.quote(sys.executable)} -c {command}", shell=True, check=True, timeout=60)
    assert pickle.loads(file.read_bytes()).tolist() == files.first.tolist()
    np.testing.assert_array_equal(np.load(files.folder / "first_array.npy"), files.first)


@pytest.mark.parametrize("dtype", ["U1", ">i8", "c16"])
def test_an_array_of_something_else_is_no_pickle(files, dtype):
    np.save(files.folder / "first.npy", np.zeros(4, dtype))
    with pytest.raises(UserError, match=r"first\.npy has dtype .*, expected numbers") as caught:
        files.load()
    assert "python -c" not in str(caught.value)


def test_missing_and_crowded_index_files_are_refused(files):
    files.load()
    f = files.folder
    np.savez(f / "two.npz", a=np.zeros(4), b=np.zeros(4))
    for labels, message in ((f / "nowhere.npy", "nowhere.npy is missing"), (f / "two.npz", "has 2 arrays, expected")):
        with pytest.raises(UserError, match=message):
            import_indices(
                f / "d4rl.npz",
                f / "other",
                ABOUT,
                indices=(f / "first.npy", f / "second.npy"),
                labels=labels,
                length=4,
                annotator="people",
                clip=False,
                drop=False,
            )


def other_file(file, name):
    import h5py

    file[name] = h5py.ExternalLink("elsewhere.hdf5", "/x")


def huge(file, name):
    file.create_dataset(name, (1 << 40, 6), "f8", chunks=(1024, 6))  # of which nothing is stored


HDF5 = {
    "a link": (other_file, "is no array of this file"),
    "a folder": (lambda file, name: file.create_group(name), "is no array of this file"),
    "text": (lambda file, name: file.create_dataset(name, data="words"), "expected numbers"),
    "nothing": (lambda file, name: None, "observations missing"),
    "rows without end": (huge, "would take .* GiB of memory"),
}


@pytest.mark.parametrize("change", HDF5)
def test_an_hdf5_file_with_strange_content_is_one_line(files, change):
    h5py = pytest.importorskip("h5py")
    damage, message = HDF5[change]
    with h5py.File(files.folder / "d4rl.hdf5", "w") as file:
        for name, array in files.data.items():
            if name != "observations":
                file[name] = array
        damage(file, "observations")
    with pytest.raises(UserError, match=message) as caught:
        files.load(file=files.folder / "d4rl.hdf5")
    assert "\n" not in str(caught.value)
    assert not (files.folder / "set").exists()


@pytest.mark.parametrize("damage", damages.ANY)
def test_a_damaged_hdf5_file_is_one_line(files, damage):
    h5py = pytest.importorskip("h5py")
    with h5py.File(files.folder / "d4rl.hdf5", "w") as file:
        for name, array in files.data.items():
            file[name] = array
    damages.ANY[damage](files.folder / "d4rl.hdf5")
    with pytest.raises(UserError, match=r"d4rl\.hdf5 ") as caught:
        files.load(file=files.folder / "d4rl.hdf5")
    assert "\n" not in str(caught.value)
