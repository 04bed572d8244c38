"""Content that docs/data-format.md says is refused: when a set is loaded, imported or exported alike."""

import hashlib
import json
import sqlite3

import numpy as np
import pytest
import torch

from pbrl.commands.data_import import describe_labels
from pbrl.errors import UserError
from pbrl.labels.import_pairs import import_pairs
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore
from pbrl.types import Answers, Segments

ABOUT = {"env_name": None, "env": None, "command": "pbrl data import"}


def pairs(n=4, t=5):
    rng = np.random.default_rng(0)
    arrays = {f"obs_{i}": rng.standard_normal((n, t, 3)) for i in (1, 2)}
    arrays |= {f"action_{i}": rng.uniform(-1, 1, (n, t, 2)) for i in (1, 2)}
    return arrays | {"label": np.array([0, 0.25, 0.75, 1])}


def import_(folder, arrays, about=ABOUT, annotator="people"):
    np.savez(folder / "pairs.npz", **arrays)
    return import_pairs(folder / "pairs.npz", folder / "set", about, annotator=annotator, clip=False)


@pytest.fixture
def label_set(tmp_path):
    import_(tmp_path, pairs())
    return tmp_path / "set"


def test_quarters_are_labels(label_set):
    assert load_label_set(label_set).comparisons.prefers_right.tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize("dtype", ["i8", "i2", "u1", "?"])
def test_observations_that_are_whole_numbers_become_float32(tmp_path, dtype):
    whole = {f"obs_{i}": np.arange(60).reshape(4, 5, 3).astype(dtype) for i in (1, 2)}
    import_(tmp_path, pairs() | whole)
    obs = load_label_set(tmp_path / "set").pairs.left.obs
    assert obs.dtype == torch.float32
    np.testing.assert_array_equal(obs[:, :-1], np.arange(60).reshape(4, 5, 3).astype(dtype).astype("f4"))


def put(name, index, value):
    def change(arrays, meta):
        arrays[name][index] = value

    return change


def names(*given):
    return lambda arrays, meta: meta.update(annotators=list(given))


CHANGES = {
    "action": (put("left/actions", (1, 2, 0), 5), r"left/actions\[1, 2, 0\] is 5.0, expected -1 to 1"),
    "action nan": (put("right/actions", (1, 2, 0), np.nan), r"right/actions\[1, 2, 0\] is nan, expected -1 to 1"),
    "mask empty": (put("left/mask", 1, 0), r"left/mask\[1, 0\] is 0.0, expected 1 on the first step"),
    "mask hole": (put("left/mask", (2, 3), 0), r"left/mask\[2, 4\] is 1.0, expected 0 after a 0"),
    "mask front": (put("right/mask", (0, 0), 0), r"right/mask\[0, 0\] is 0.0, expected 1 on the first step"),
    "mask value": (put("right/mask", (0, 4), 2), r"right/mask\[0, 4\] is 2.0, expected 0 or 1"),
    "blank name": (names(" "), "annotators is .* expected different names"),
    "no name": (names(""), "annotators is .* expected different names"),
    "control": (names("a\nb"), "annotators is .* without control characters"),
    "escape": (names("\x1b[31mred"), "annotators is .* without control characters"),
    "env": (lambda a, meta: meta.update(env_name="a\tb"), "env_name is .* without control characters"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_set_that_says_so_is_not_loaded(label_set, change):
    arrays, meta = dict(np.load(label_set / "comparisons.npz")), json.loads((label_set / "meta.json").read_text())
    damage, message = CHANGES[change]
    damage(arrays, meta)
    np.savez(label_set / "comparisons.npz", **arrays)
    meta["sha256"] = hashlib.sha256((label_set / "comparisons.npz").read_bytes()).hexdigest()
    (label_set / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=message) as caught:
        load_label_set(label_set)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["obs", "action"])
def test_steps_of_no_numbers_are_refused(tmp_path, name):
    empty = {f"{name}_{i}": np.zeros((4, 5, 0)) for i in (1, 2)}
    with pytest.raises(UserError, match=rf"left/{name}s? has shape \(4, ., 0\), expected at least one number per"):
        import_(tmp_path, pairs() | empty)
    assert not (tmp_path / "set").exists()


def test_pairs_of_one_clip_are_counted_and_said(tmp_path):
    arrays = pairs()
    for name in ("obs", "action"):  # the second alike in both; the third in its observations alone
        arrays[f"{name}_2"][1] = arrays[f"{name}_1"][1]
    arrays["obs_2"][2] = arrays["obs_1"][2]
    meta = import_(tmp_path, arrays)
    assert meta["twins"] == 1
    assert "; 1 of pairs whose two sides are the same clip; " in describe_labels(meta)
    assert load_label_set(tmp_path / "set").twins == 1


@pytest.mark.parametrize("annotator", ["", "  ", "a\nb", "\x07"])
def test_a_name_that_would_not_load_is_not_imported(tmp_path, annotator):
    with pytest.raises(UserError, match=r"annotators is .* expected different names without control"):
        import_(tmp_path, pairs(), annotator=annotator)
    assert not (tmp_path / "set").exists()


def make_store(folder, actions=0.0, mask=1.0):
    shapes = ((4, 3), (3, 2), (3,), (3,), (3,))
    obs, action, zeros, terminated, reward = (torch.zeros(2, *s) for s in shapes)
    segments = Segments(obs, action + actions, zeros + mask, terminated, reward, torch.arange(2))
    with LabelStore(folder) as store:
        queries = store.ask(1, 0, segments, segments, sampler="uniform")
        store.answer(queries, Answers(torch.ones(2), torch.ones(2, dtype=torch.bool)), "anna")
    return folder


@pytest.mark.parametrize(
    ("content", "message"), [({"actions": 5.0}, "actions.* is 5.0"), ({"mask": 0.0}, "mask.* is 0")]
)
def test_a_store_whose_labels_would_not_load_is_not_exported(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        export_labels(make_store(tmp_path / "run", **content), tmp_path / "set")
    assert not (tmp_path / "set").exists()


SQL = {
    "text for a number": ("UPDATE batches SET env_steps = 'many'", "env_steps of batches is 'many', expected integer"),
    "a blob for a name": ("UPDATE annotators SET name = x'00ff'", "name of annotators is .* expected text"),
    "another folder": ("UPDATE batches SET file = '../../etc/passwd'", "which is outside of"),
    "a root": ("UPDATE batches SET file = '/etc/passwd'", "which is outside of"),
    "a row too far": ("UPDATE queries SET row = row + 100", "names row 100 of .*, which has 2"),
    "a row below": ("UPDATE queries SET row = row - 100", "names row -100 of .*, which has 2"),
    "no table": ("DROP TABLE answers", "cannot be used as a label database of pbrl .*no such table"),
    "no column": ("ALTER TABLE batches RENAME COLUMN file TO place", "cannot be used as a label database"),
}


@pytest.mark.parametrize("change", SQL)
def test_a_database_with_strange_content_is_one_line(tmp_path, change):
    run_dir, (sql, message) = make_store(tmp_path / "run"), SQL[change]
    with sqlite3.connect(run_dir / "labels.sqlite") as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("DROP VIEW standing") if "DROP" in sql else None
        db.execute(sql)
    db.close()
    with pytest.raises(UserError, match=message) as caught:
        export_labels(run_dir, tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_a_database_with_a_damaged_page_is_one_line(tmp_path):
    run_dir = make_store(tmp_path / "run")
    with sqlite3.connect(run_dir / "labels.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    file = run_dir / "labels.sqlite"
    data = bytearray(file.read_bytes())
    data[4096 : 4096 * 12] = b"\xaa" * (4096 * 11)
    file.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"labels\.sqlite is damaged") as caught:
        export_labels(run_dir, tmp_path / "set")
    assert "\n" not in str(caught.value)
