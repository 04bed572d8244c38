"""`pbrl data import` and `export` on the command line."""

import numpy as np
import pytest

from pbrl.data.datasets import load_dataset
from pbrl.labels.sets import load_label_set

COLLECT = ("env=point_reach", "+env.make.max_episode_steps=30", "episodes=4", "policies=random", "labels=return")
CUT = ("segments=20", "segment_length=8", "comparisons=10", "heldout=1")


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"obs_{i}": rng.standard_normal((5, 4, 6)) for i in (1, 2)}
    arrays |= {f"action_{i}": rng.uniform(-1, 1, (5, 4, 2)) for i in (1, 2)}
    np.savez(tmp_path / "pairs.npz", label=np.array([0, 1, 0.5, 1, 1]), **arrays)
    return tmp_path / "pairs.npz"


@pytest.fixture
def index_files(tmp_path):
    steps = {"observations": np.arange(180.0).reshape(30, 6), "actions": np.zeros((30, 2)), "rewards": np.ones(30)}
    np.savez(tmp_path / "d4rl.npz", **steps, terminals=np.zeros(30, bool), timeouts=np.arange(30) % 10 == 9)
    for name, column in {"indices": [0, 12], "indices_2": [5, 8], "labels": [1, -1]}.items():
        np.save(tmp_path / f"{name}.npy", column)
    keys = [f"{name}={tmp_path / name}.npy" for name in ("indices", "indices_2", "labels")]
    return [str(tmp_path / "d4rl.npz"), "format=preference_transformer", *keys, "segment_length=4"]


def test_pairs_become_a_label_set(output, pairs, tmp_path):
    command = (pairs, "format=pairs", "env=point_reach", "annotator=anna", f"out={tmp_path / 'set'}")
    said = "5 answers of anna: 4 decisive, 1 equal; true rewards unknown; observation after the last action unknown\n"
    assert output("data", "import", *command) == said
    assert output("data", "info", tmp_path / "set") == said
    meta = load_label_set(tmp_path / "set").meta
    assert meta["env"]["name"] == meta["env_name"] == "point_reach"
    assert meta["imported_from"]["file"] == "pairs.npz"


def test_index_files_become_a_label_set(output, refusal, index_files, tmp_path):
    out = f"out={tmp_path / 'set'}"
    assert "1 of 2 comparisons have a segment that crosses" in refusal("data", "import", *index_files, out)
    printed = output("data", "import", *index_files, "drop=true", out)
    assert (
        printed == "1 answers of imported: 1 decisive, 0 equal; 1 left out that cross an episode; true rewards known\n"
    )
    assert load_label_set(tmp_path / "set").prefers_right.tolist() == [1]


def test_a_data_set_goes_to_minari_and_back(output, tmp_path):
    output("collect", *COLLECT, *CUT, f"out={tmp_path / 'set'}")
    exported = tmp_path / "minari" / "point" / "random-v0"
    command = ("format=minari", "id=point/random-v0", f"out={tmp_path / 'minari'}")
    assert output("data", "export", tmp_path / "set", *command) == f"written to {exported}\n"
    again = ("env=point_reach", "+env.make.max_episode_steps=30", "labels=return", *CUT, f"out={tmp_path / 'again'}")
    output("data", "import", exported, "format=minari", *again)
    one, two = load_dataset(tmp_path / "set"), load_dataset(tmp_path / "again")
    np.testing.assert_array_equal(one.segments.obs, two.segments.obs)
    for name in ("left", "right", "prefers_right"):
        a, b = (getattr(d.comparisons["return"], name) for d in (one, two))
        np.testing.assert_array_equal(a, b)
    assert two.meta["sources"] == ["random"]
    assert two.episodes[0].states is None
    output("data", "import", exported, "format=minari", *CUT[:2], f"out={tmp_path / 'bare'}")
    bare = load_dataset(tmp_path / "bare")
    assert (bare.comparisons, bare.meta["teacher"], bare.meta["env"]) == ({}, None, None)
    assert "no comparisons" in output("data", "info", tmp_path / "bare")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "pbrl data nothing: valid are info, import, export, render, formats"),
        (["show", "x"], "pbrl data show: valid are info, import, export, render, formats"),
        (["info"], "pbrl data info takes one name of a file or folder, 0 given"),
        (["info", "a", "b"], "takes one name of a file or folder, 2 given"),
        (["info", "nowhere"], "nowhere: there is no such folder"),
        (["info", "/dev/null"], "/dev/null: it is a device, a pipe or a socket, expected a folder"),
        (["info", __file__], "test_data_command.py: it is a file, expected a folder"),
        (["export", __file__, "format=minari", "id=a/b-v0"], "it is a file, expected a folder"),
        (["info", ".", "out=x"], "unknown key 'out'"),
        (["info", "."], "meta.json is missing; valid is a directory that `pbrl collect`"),
        (["import", "a.npz", "format=pairs"], "out= is missing"),
        (
            ["import", "a.npz", "out=x"],
            "a.npz is missing; valid is a file or folder of a format that `pbrl data formats` names",
        ),
        (["import", "/dev/null", "out=x"], "/dev/null looks like none of the known formats; say which as format=NAME"),
        (["import", "a.npz", "out=x", "format=d4lr"], "format=d4lr: valid are"),
        (["import", "a.npz", "out=x", "format=pairs"], "a.npz is missing"),
        (["import", "a.npz", "out=x", "format=pairs", "drop=true"], "unknown key 'drop'; valid are env, teacher, out"),
        (["import", "a.npz", "out=x", "format=pairs", "clip=1"], "clip=1: expected true or false"),
        (["import", "a.npz", "out=x", "format=pairs", "env=nowhere"], "env=nowhere: valid are"),
        (["import", "a.npz", "out=x", "format=preference_transformer"], "indices= is missing"),
        (["import", "a-v0", "out=x", "format=minari"], "a-v0 is no Minari data set here"),
        (
            ["import", "a-v0", "out=x", "format=minari", "labels=regret_mc"],
            "labels=regret_mc: valid for an import is return",
        ),
        (["export", "x", "format=zip"], "format=zip: valid are minari, lerobot"),
        (["export", "x", "format=minari"], "id= is missing: the name for Minari, as id=point/mixed-v0"),
        (["export", "x", "format=minari", "id=a-v0"], "x: there is no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(refusal, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert message in refusal("data", *args)
    assert not list(tmp_path.iterdir())


def test_sizes_of_another_environment_are_refused(refusal, pairs, index_files, tmp_path):
    out = f"out={tmp_path / 'set'}"
    said = "has observations of shape (6,) and actions of shape (2,), the environment has (3,) and (1,)"
    assert said in refusal("data", "import", pairs, "format=pairs", "env=pendulum", out)
    assert said in refusal("data", "import", *index_files, "drop=true", "env=pendulum", out)
