"""Preference Transformer's index files with D4RL's arrays."""

import pickle

import numpy as np
import pytest

from pbrl.data.import_indices import import_indices
from pbrl.data.label_sets import load_label_set
from pbrl.errors import UserError

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


class Files:
    def __init__(self, folder):
        self.folder = folder
        self.data, self.first, self.second = steps(), np.array([0, 8, 14, 15]), np.array([9, 14, 1, 2])
        self.labels, self.options = np.array([0, 1, -1, 1]), {}

    def load(self, **options):
        f = self.folder
        np.savez(f / "d4rl.npz", **self.data)
        for name in ("first", "second", "labels"):
            if not (f / f"{name}.npy").exists():
                np.save(f / f"{name}.npy", getattr(self, name))
        settings = {"length": 4, "annotator": "people", "clip": False, "drop": False} | options
        indices = f / "first.npy", f / "second.npy"
        import_indices(f / "d4rl.npz", f / "set", ABOUT, indices=indices, labels=f / "labels.npy", **settings)
        return load_label_set(f / "set")


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_segments_are_the_rows_from_their_indices_on(files):
    labels = files.load()
    assert labels.prefers_right.tolist() == [0, 1, 0.5, 1]
    for side, starts in (("left", files.first), ("right", files.second)):
        segments = getattr(labels.pairs, side)
        assert segments.ids.tolist() == starts.tolist()
        for row, start in enumerate(starts):
            np.testing.assert_array_equal(segments.obs[row], files.data["observations"][start : start + 5])
            np.testing.assert_array_equal(segments.actions[row], files.data["actions"][start : start + 4])
            np.testing.assert_array_equal(segments.true_reward[row], files.data["rewards"][start : start + 4])
    assert labels.last_obs is True
    assert labels.meta["true_reward"] is True
    assert not labels.pairs.left.terminated.any()


@pytest.mark.parametrize(("start", "terminated"), [(4, 1), (10, 0), (20, 0)])
def test_an_observation_after_the_end_of_an_episode_is_not_that_of_the_next(files, start, terminated):
    files.first[0] = start
    labels = files.load()
    segment = labels.pairs.left[[0]]
    assert segment.terminated.tolist() == [[0, 0, 0, terminated]]
    assert segment.obs[0, :, 0].tolist() == [start, start + 1, start + 2, start + 3, start + 3]
    assert labels.last_obs is False


def test_next_observations_say_what_followed(files):
    files.data = steps(following=True)
    files.first[0] = 4
    labels = files.load()
    assert labels.pairs.left.obs[0, :, 0].tolist() == [4, 5, 6, 7, 7.5]
    assert labels.last_obs is True


def test_comparisons_that_cross_an_episode_are_refused_or_left_out_and_counted(files):
    files.first[1], files.second[3] = 5, 12
    with pytest.raises(UserError, match=r"2 of 4 comparisons have .* crosses .* \(the first is row 1\); drop=true"):
        files.load()
    labels = files.load(drop=True)
    assert labels.prefers_right.tolist() == [0, 0.5]
    assert labels.meta["dropped"] == 2


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


def set_column(name, value):
    return lambda files: setattr(files, name, value)


DAMAGES = {
    "missing": (lambda f: f.data.pop("timeouts"), "d4rl.npz: timeouts missing; it has"),
    "rows": (set_data("rewards", lambda x: x[1:]), r"rewards has shape \(23,\), expected \(M,\) with M = 24"),
    "dimensions": (set_data("actions", lambda x: x[:, 0]), r"actions has shape \(24,\), expected \(M, A\)"),
    "next": (set_data("next_observations", np.zeros((24, 1))), "next_observations and observations have shapes"),
    "reward": (set_data("rewards", lambda x: np.where(x == 3, np.nan, x)), r"rewards\[3\] is nan, expected finite"),
    "action": (set_data("actions", lambda x: x * 2), r"actions\[0, 0\] is -2.0, expected -1 to 1; .*clip=true"),
    "obs": (set_data("observations", lambda x: np.where(x == 3, np.inf, x)), "obs.* is inf, expected finite"),
    "lengths": (set_column("first", np.array([0, 1])), "has 2 indices, .*labels.npy has 4 labels"),
    "float": (set_column("first", np.array([0.0, 8, 14, 15])), "float64.*, expected whole numbers of shape"),
    "shape": (set_column("second", np.zeros((4, 1), int)), r"int64\(4, 1\), expected whole numbers of shape \(N,\)"),
    "range": (set_column("second", np.array([9, 14, 1, 21])), r"indices\[3\] is 21, expected 0 to 20, from where"),
    "negative": (set_column("first", np.array([-1, 8, 14, 15])), r"indices\[0\] is -1, expected 0 to 20"),
    "label": (set_column("labels", np.array([0, 1, 2, 1])), r"labels\[2\] is 2, expected 0, 1 or -1 for a tie"),
    "labels nan": (set_column("labels", np.array([0, 1, np.nan, 1])), r"labels\[2\] is nan, expected 0, 1 or -1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_malformed_files_are_refused_in_one_line(files, damage):
    change, message = DAMAGES[damage]
    change(files)
    with pytest.raises(UserError, match=message) as caught:
        files.load()
    assert "\n" not in str(caught.value)
    assert not (files.folder / "set").exists()


def test_a_pickle_is_never_opened_and_the_way_out_is_said(files):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    (files.folder / "first.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"pickles are never loaded.*numpy\.save\(sys\.argv\[2\], pickle\.load"):
        files.load()


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
