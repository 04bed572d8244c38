"""Offline data sets on disk: what is written is read, and what is wrong is refused."""

import hashlib
import json
import os
import signal

import numpy as np
import pytest
import torch

from pbrl.data.datasets import SPLITS, ComparisonRows, is_dataset, load_dataset, write_dataset
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.errors import UserError

LENGTHS = (6, 9, 5, 7)
STEPS = 4
SPLIT = np.array([0, 0, 1, 2])


def make_episodes(images=False):
    rng = np.random.default_rng(0)
    episodes = []
    for k, n in enumerate(LENGTHS):
        obs = rng.standard_normal((n + 1, 3)).astype(np.float32)
        if images:
            obs = rng.integers(0, 256, (n + 1, 8, 6, 3), np.uint8)
        actions = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
        reward = rng.standard_normal(n).astype(np.float32)
        states = rng.standard_normal((n + 1, 5))
        success = None if k == 0 else float(k % 2)
        measured = {"factors": rng.standard_normal((n, 2)).astype(np.float32), "factor_names": ("near", "cheap")}
        episodes.append(Episode(obs, actions, reward, k == 2, states, success, **measured))
    return episodes


def content(images=False):
    """Four episodes of two sources, every segment of 4 steps, and a few comparisons."""
    episodes = make_episodes(images)
    store = EpisodeStore(len(episodes))
    store.add(episodes)
    room = store.count_starts(STEPS, len(episodes))
    first = np.cumsum([0, *(n + 1 for n in LENGTHS[:-1])])
    ids = np.concatenate([f + np.arange(r) for f, r in zip(first, room, strict=True)])
    split = np.repeat(SPLIT, room)
    left = np.array([0, 1, 2, 3, len(ids) - 1, 10])
    right = np.array([1, 2, 0, 8, len(ids) - 2, 9])
    value = np.array([1, 0, np.nan, 0.5, 1, 0])
    return {
        "meta": {
            "env_name": "point_reach",
            "env": {"name": "point_reach"},
            "sources": ["expert:1", "random"],
            "teacher": {"name": "oracle"},
            "command": "pbrl collect env=point_reach",
            "seed": 0,
        },
        "episodes": episodes,
        "source": np.array([0, 1, 0, 1]),
        "segment_length": STEPS,
        "ids": ids,
        "split": split,
        "scores": {"return": store.gather(ids, STEPS).true_reward.double().sum(1).numpy()},
        "comparisons": {"return": ComparisonRows(left, right, value, ~np.isnan(value))},
    }


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "set", **content())
    return tmp_path / "set"


def test_what_is_written_is_read(folder):
    data, given = load_dataset(folder), content()
    for one, two in zip(data.episodes, given["episodes"], strict=True):
        assert one.factor_names == two.factor_names
        for name in ("obs", "actions", "true_reward", "states", "factors"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
            assert getattr(one, name).dtype == getattr(two, name).dtype
        assert (one.terminated, one.success) == (two.terminated, two.success)
    for name in ("source", "split"):
        np.testing.assert_array_equal(getattr(data, name), given[name])
    np.testing.assert_array_equal(data.segments.ids, given["ids"])
    np.testing.assert_array_equal(data.scores["return"], given["scores"]["return"])
    for name in ("left", "right", "prefers_right", "answered"):
        written = getattr(given["comparisons"]["return"], name)
        np.testing.assert_array_equal(getattr(data.comparisons["return"], name), written)
    assert data.meta["last_obs"] is True
    assert is_dataset(folder)


def test_segments_are_the_steps_of_their_episodes(folder):
    data = load_dataset(folder)
    for row, k in enumerate(data.episode_of):
        episode, segment = data.episodes[k], data.segments[[row]]
        start = int(segment.ids) - sum(len(e) + 1 for e in data.episodes[:k])
        real = int(segment.mask.sum())
        np.testing.assert_array_equal(segment.obs[0, : real + 1], episode.obs[start : start + real + 1])
        np.testing.assert_array_equal(segment.actions[0, :real], episode.actions[start : start + real])
        assert bool(segment.terminated.any()) == (episode.terminated and start + STEPS >= len(episode))
        assert real == STEPS or episode.terminated


def test_comparisons_are_nested_and_know_their_split(folder):
    data = load_dataset(folder)
    assert data.rows("return").tolist() == [0, 1, 2, 3]
    assert data.rows("return", n=3).tolist() == [0, 1, 2]
    assert data.rows("return", "test").tolist() == [4]
    assert data.compare("return").prefers_right.tolist() == [1, 0, 0.5]  # the third was skipped
    assert data.compare("return", n=1).right.ids.tolist() == [data.segments.ids[1]]
    assert data.episode_split.tolist() == SPLIT.tolist()
    with pytest.raises(UserError, match="has 4 comparisons by return for train, 5 wanted"):
        data.rows("return", n=5)
    with pytest.raises(UserError, match="no comparisons by 'regret_mc'; valid are return"):
        data.rows("regret_mc")
    with pytest.raises(UserError, match="no split 'dev'; valid are train, validation, test"):
        data.rows("return", "dev")


def test_images_stay_bytes(tmp_path):
    write_dataset(tmp_path / "set", **content(images=True))
    data = load_dataset(tmp_path / "set")
    assert data.segments.obs.dtype == torch.uint8
    assert data.segments.obs.shape[1:] == (STEPS + 1, 8, 6, 3)
    np.testing.assert_array_equal(data.episodes[1].obs, make_episodes(images=True)[1].obs)


def test_the_same_content_gives_the_same_bytes(folder, tmp_path):
    write_dataset(tmp_path / "again", **content())
    assert {f.name for f in folder.iterdir()} == {
        "meta.json",
        "episodes.npz",
        "segments.npz",
        "comparisons_return.npz",
    }
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_nothing_is_overwritten_or_left_half_written(folder, tmp_path, monkeypatch):
    before = (folder / "meta.json").read_bytes()
    with pytest.raises(UserError, match="exists and is not overwritten"):
        write_dataset(folder, **content())
    assert (folder / "meta.json").read_bytes() == before
    with pytest.raises(UserError, match=r"cannot be made: .*meta\.json is not a folder"):
        write_dataset(folder / "meta.json" / "set", **content())

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "other", **content())
    assert [f.name for f in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("file", ["segments.npz", "comparisons_return.npz"])
def test_killed_half_way_there_is_no_data_set(tmp_path, file):
    pid = os.fork()
    if pid == 0:
        save = np.savez_compressed

        def killed(path, **arrays):
            if path.name == file:
                os.kill(os.getpid(), signal.SIGKILL)
            save(path, **arrays)

        np.savez_compressed = killed
        write_dataset(tmp_path / "set", **content())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "set").exists()
    write_dataset(tmp_path / "set", **content())  # the same command can be given again
    assert len(load_dataset(tmp_path / "set").episodes) == len(LENGTHS)


def test_what_could_not_be_loaded_is_not_written(tmp_path):
    wrong = content() | {"split": content()["split"][::-1].copy()}
    with pytest.raises(UserError, match="expected one split for all segments of an episode"):
        write_dataset(tmp_path / "set", **wrong)
    assert not list(tmp_path.iterdir())


def test_other_directories_are_no_data_sets(tmp_path):
    assert not is_dataset(tmp_path)
    (tmp_path / "meta.json").write_text('{"format": "pbrl-labels"}')
    assert not is_dataset(tmp_path)


def change_meta(**changes):
    def change(folder):
        meta = json.loads((folder / "meta.json").read_text()) | changes
        (folder / "meta.json").write_text(json.dumps({k: v for k, v in meta.items() if v != "drop"}))

    return change


def change_array(file, name, change):
    """A file that another program wrote: the hash is right, the content is not."""

    def rewrite(folder):
        path = folder / f"{file}.npz"
        arrays = dict(np.load(path))
        arrays[name] = change(arrays[name].copy()) if name in arrays else change(None)
        np.savez(path, allow_pickle=True, **{k: v for k, v in arrays.items() if v is not None})
        rehash(folder, path)

    return rewrite


def rehash(folder, path):
    sha256 = json.loads((folder / "meta.json").read_text())["sha256"]
    change_meta(sha256=sha256 | {path.name: hashlib.sha256(path.read_bytes()).hexdigest()})(folder)


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


def truncate(folder, right_hash=False):
    path = folder / "segments.npz"
    path.write_bytes(path.read_bytes()[:-100])
    if right_hash:
        rehash(folder, path)


E, S, C = "episodes", "segments", "comparisons_return"
DAMAGES = {
    "no meta": (lambda f: (f / "meta.json").unlink(), r"meta\.json is missing; valid is a directory"),
    "no arrays": (lambda f: (f / "episodes.npz").unlink(), r"episodes\.npz is missing"),
    "no labels": (lambda f: (f / "comparisons_return.npz").unlink(), r"comparisons_return\.npz is missing"),
    "not json": (lambda f: (f / "meta.json").write_text("{"), "or not JSON"),
    "format": (change_meta(format="pbrl-labels"), 'valid has "format": "pbrl-dataset"'),
    "version": (change_meta(version=3), "has version 3, this pbrl reads 1 to 2"),
    "meta type": (change_meta(segment_length="4"), "segment_length is '4', expected int"),
    "meta value": (change_meta(segment_length=0), "segment_length is 0, expected at least 1"),
    "no command": (change_meta(command="drop"), "command is 'missing', expected str"),
    "same sources": (change_meta(sources=["a", "a"]), "expected different names"),
    "labels": (change_meta(labels=["../x"]), "valid are different ones of return, regret_mc, regret_critic"),
    "counts": (change_meta(counts={}), r"counts are \{\}, the arrays have"),
    "hash": (lambda f: change_meta(sha256={})(f), "says None; fetch or make it again"),
    "truncated": (truncate, "fetch or make it again"),
    "truncated, hash right": (lambda f: truncate(f, True), "is damaged"),
    "pickle": (change_array(E, "obs", lambda x: np.array([{}], object)), "pickled objects are never loaded"),
    "missing": (change_array(E, "source", lambda x: None), "source missing; it has"),
    "no episodes": (change_array(E, "length", lambda x: x[:0]), "expected at least one episode"),
    "empty episode": (change_array(E, "length", put(1, 0)), r"length\[1\] is 0, expected at least 1"),
    "rows": (change_array(E, "actions", lambda x: x[1:]), "actions has 30 rows, expected 31"),
    "rows of K": (change_array(E, "success", lambda x: x[1:]), "success has 3 rows, expected 4"),
    "dtype": (change_array(E, "terminated", lambda x: x.astype(int)), "terminated is int64.*, expected bool"),
    "dimensions": (change_array(E, "actions", lambda x: x[:, 0]), r"expected float of 2 dimensions"),
    "flat obs": (change_array(E, "obs", lambda x: x[:, 0]), r"obs has shape \(31,\), expected \(rows, O\)"),
    "states": (change_array(E, "states", lambda x: x.astype("f4")), "states is float32.*, expected float64"),
    "no numbers": (
        change_array(E, "obs", lambda x: x[:, :0]),
        r"obs has shape \(31, 0\), expected at least one number",
    ),
    "obs value": (change_array(E, "obs", put((3, 1), np.nan)), r"obs\[3, 1\] is nan, expected finite"),
    "reward": (change_array(E, "true_reward", put(2, np.inf)), r"true_reward\[2\] is inf, expected finite"),
    "action": (change_array(E, "actions", put((2, 1), -1.5)), r"actions\[2, 1\] is -1.5, expected -1 to 1"),
    "success": (change_array(E, "success", put(1, 2)), r"success\[1\] is 2.0, expected 0 to 1, or NaN"),
    "source": (change_array(E, "source", put(3, 2)), r"source\[3\] is 2, expected an index into sources"),
    "crossing": (change_array(S, "ids", put(0, 4)), r"ids\[0\] is 4, expected the row of an episode from which 4"),
    "outside": (change_array(S, "ids", put(0, 99)), r"ids\[0\] is 99, expected the row of an episode"),
    "split": (change_array(S, "split", put(0, 3)), r"split\[0\] is 3, expected an index into"),
    "split twice": (change_array(S, "split", put(1, 1)), "expected one split for all segments of an episode"),
    "score rows": (change_array(S, "score/return", lambda x: x[1:]), "score/return has"),
    "score value": (change_array(S, "score/return", put(0, np.nan)), r"score/return\[0\] is nan, expected finite"),
    "score name": (change_array(S, "score/luck", lambda x: np.zeros(17)), "a score 'luck', valid are return"),
    "no score": (change_array(S, "score/return", lambda x: None), "there is no score return"),
    "pair outside": (change_array(C, "left", put(0, 50)), r"left\[0\] is 50, expected a segment, 0 to"),
    "pair of itself": (change_array(C, "right", put(0, 0)), r"right\[0\] is 0, expected another segment"),
    "pair of one clip": (change_array(S, "ids", lambda x: x[[1, 1, *range(2, len(x))]]), "expected another segment"),
    "pair across": (change_array(C, "right", put(0, 10)), r"right\[0\] is 10, expected a segment of the same split"),
    "range": (change_array(C, "prefers_right", put(0, 1.2)), r"prefers_right\[0\] is 1.2, expected 0 to 1"),
    "skip": (change_array(C, "prefers_right", put(2, 0.5)), r"prefers_right\[2\] is 0.5, expected NaN"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_malformed_set_is_refused_in_one_line(folder, damage):
    change, message = DAMAGES[damage]
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_splits_have_a_fixed_order():
    assert SPLITS == ("train", "validation", "test")  # files hold the indices
