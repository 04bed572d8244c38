import hashlib
import json

import numpy as np
import pytest
from stored import answers_to, unanswered
from test_label_store import ask, assert_equal, make_answers, make_segments

from pbrl.errors import UserError
from pbrl.labels.import_set import import_labels
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore


@pytest.fixture
def run_dir(tmp_path):
    """Two sessions with states; anna answers all, bert one and changes his mind; one skip."""
    run_dir = tmp_path / "run"
    left, right = np.random.default_rng(0).normal(size=(2, 4, 6, 7))
    with LabelStore(run_dir) as store:
        first = ask(store, 1, seed=0, left_states=left, right_states=right)
        second = ask(store, 2, seed=1, left_states=right, right_states=left)
        store.answer(second + first, make_answers(0, 1, 0.5, None, 0.3, 1, 0, 1), "anna", [0.5 * i for i in range(8)])
        store.answer(first[:1], make_answers(0), "bert")
        store.answer(first[:1], make_answers(1), "bert")
    (run_dir / "config.yaml").write_text("env:\n  task: walker-walk\n  name: ${.task}\nseed: 3\n")
    return run_dir


def comparisons(run_dir):
    with LabelStore(run_dir) as store:
        return store.comparisons(), store.annotators()


def test_an_exported_set_holds_the_standing_answers(run_dir, tmp_path):
    meta = export_labels(run_dir, tmp_path / "set")
    labels = load_label_set(tmp_path / "set")
    assert labels.meta == meta
    assert (meta["env_name"], meta["env"]["task"]) == ("walker-walk", "walker-walk")
    assert meta["counts"] == {"answers": 9, "decisive": 7, "equal": 1, "skipped": 1, "queries": 8}
    expected, annotators = comparisons(run_dir)
    assert_equal(labels.comparisons.left, expected.left)
    assert_equal(labels.comparisons.right, expected.right)
    assert labels.comparisons.prefers_right.tolist() == expected.prefers_right.tolist()
    names = [meta["annotators"][i] for i in labels.comparisons.annotator.tolist()]
    assert names == [annotators[i] for i in expected.annotator.tolist()]
    assert labels.query.tolist() == [1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert labels.env_steps.tolist() == [1000] * 5 + [2000] * 4
    np.testing.assert_array_equal(labels.response_s, [2, np.nan, 2.5, 3, 3.5, 0, 0.5, 1, 1.5])
    assert labels.answered.tolist() == [True] * 8 + [False]


def test_the_same_labels_make_the_same_files(run_dir, tmp_path):
    for name in "ab":
        export_labels(run_dir, tmp_path / name)
    for file in ("meta.json", "comparisons.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_export_import_export_is_the_identity(run_dir, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    export_labels(run_dir, tmp_path / "set")
    assert import_labels(other, tmp_path / "set") == {"queries_added": 8, "answers_added": 9, "answers_known": 0}
    export_labels(other, tmp_path / "again")
    one, two = load_label_set(tmp_path / "set"), load_label_set(tmp_path / "again")
    for name in ("left", "right"):
        assert_equal(getattr(one.pairs, name), getattr(two.pairs, name))
        np.testing.assert_array_equal(getattr(one.pairs, f"{name}_states"), getattr(two.pairs, f"{name}_states"))
    for name in ("prefers_right", "answered", "annotator", "env_steps", "response_s"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert set(two.session.tolist()) == {-1, -2}


def test_importing_twice_or_into_the_source_adds_nothing(run_dir, tmp_path):
    export_labels(run_dir, tmp_path / "set")
    for target in (run_dir, tmp_path):
        import_labels(target, tmp_path / "set")
        again = import_labels(target, tmp_path / "set")
        assert again == {"queries_added": 0, "answers_added": 0, "answers_known": 9}
    with LabelStore(run_dir) as store:
        assert store.counts()["queries"] == 8
        assert store.counts()["retracted"] == 1


def test_an_import_collides_with_nothing_and_overrides_nobody(run_dir, tmp_path):
    export_labels(run_dir, tmp_path / "set")
    with LabelStore(tmp_path / "target") as store:
        own = ask(store, 1, seed=0)  # the same content as the first session of the source
        store.answer(own[:2], make_answers(0, 0), "anna")
        store.retract(query=own[1], annotator="anna")
        result = import_labels(tmp_path / "target", tmp_path / "set")
        assert result == {"queries_added": 4, "answers_added": 7, "answers_known": 2}
        assert answers_to(store, own, "anna").prefers_right[0] == 0
        assert unanswered(store, own, "anna") == own[1:2]
        later = ask(store, 2, seed=5)
        assert [q.session for q in store.queries(later)] == [2] * 4
        assert_equal(store.segments(later)[0], make_segments(4, 5))


def test_true_rewards_and_states_can_be_left_out(run_dir, tmp_path):
    export_labels(run_dir, tmp_path / "set", true_reward=False, states=False)
    assert not {"left/true_reward", "right/states"} & set(np.load(tmp_path / "set" / "comparisons.npz").files)
    labels = load_label_set(tmp_path / "set")
    assert labels.meta["true_reward"] is False
    assert labels.pairs.left.true_reward.isnan().all()
    assert labels.pairs.left_states is None
    (tmp_path / "other").mkdir()
    import_labels(tmp_path / "other", tmp_path / "set")
    export_labels(tmp_path / "other", tmp_path / "again")  # true rewards are unknown there, so they are not claimed
    assert load_label_set(tmp_path / "again").meta["true_reward"] is False


def test_an_export_of_nothing_or_over_something_is_refused(run_dir, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out exists and is not overwritten"):
        export_labels(run_dir, tmp_path / "out")
    LabelStore(tmp_path / "empty").close()
    with pytest.raises(UserError, match="no answers yet"):
        export_labels(tmp_path / "empty", tmp_path / "set")
    with pytest.raises(UserError, match=r"labels\.sqlite is missing"):
        export_labels(tmp_path / "typo", tmp_path / "set")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "out", "run"]


def test_an_import_of_other_shapes_or_to_nowhere_is_refused(run_dir, tmp_path):
    export_labels(run_dir, tmp_path / "set")
    with pytest.raises(UserError, match="is no directory"):
        import_labels(tmp_path / "typo", tmp_path / "set")
    with LabelStore(tmp_path / "longer") as store:
        store.ask(1, 0, make_segments(2, 0, steps=8), make_segments(2, 1, steps=8), sampler="uniform")
        with pytest.raises(UserError, match=r"\(5, 3, 2\), .* has \(8, 3, 2\)"):
            import_labels(tmp_path / "longer", tmp_path / "set")
        assert store.counts()["queries"] == 2


def change_meta(**changes):
    def change(folder):
        meta = json.loads((folder / "meta.json").read_text()) | changes
        (folder / "meta.json").write_text(json.dumps({k: v for k, v in meta.items() if v != "drop"}))

    return change


def change_array(name, change):
    """A file that another program wrote: the hash is right, the content is not."""

    def rewrite(folder):
        arrays = dict(np.load(folder / "comparisons.npz"))
        arrays[name] = change(arrays[name].copy())
        arrays = {k: v for k, v in arrays.items() if v is not None}
        np.savez(folder / "comparisons.npz", allow_pickle=True, **arrays)
        rehash(folder)

    return rewrite


def rehash(folder):
    change_meta(sha256=hashlib.sha256((folder / "comparisons.npz").read_bytes()).hexdigest())(folder)


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


def truncate(folder):
    file = folder / "comparisons.npz"
    file.write_bytes(file.read_bytes()[:-100])


DAMAGES = {
    "no meta": (lambda f: (f / "meta.json").unlink(), "meta.json is missing; valid is a directory"),
    "no arrays": (lambda f: (f / "comparisons.npz").unlink(), "comparisons.npz is missing"),
    "not json": (lambda f: (f / "meta.json").write_text("{"), "or not JSON"),
    "not utf-8": (lambda f: (f / "meta.json").write_bytes(b"\xff{}"), "or not a text file in UTF-8"),
    "json list": (lambda f: (f / "meta.json").write_text("[]"), "expected a JSON object"),
    "format": (change_meta(format="d4rl"), "not of a label set"),
    "version": (change_meta(version=3), "has version 3, this pbrl reads 1 to 2"),
    "no version": (change_meta(version="drop"), "has version None"),
    "no hash": (change_meta(sha256="drop"), "sha256 is 'missing', expected str"),
    "meta type": (change_meta(true_reward="yes"), "true_reward is 'yes', expected bool"),
    "same names": (change_meta(annotators=["anna", "anna"]), "expected different names"),
    "counts": (change_meta(counts={}), "meta.json says {}"),
    "hash": (change_meta(sha256="0" * 64), "meta.json says 0000"),
    "truncated": (truncate, "fetch or export it again"),
    "truncated, hash right": (lambda f: (truncate(f), rehash(f)), "is damaged"),
    "missing": (change_array("query", lambda x: None), "query missing; it has"),
    "missing side": (change_array("right/ids", lambda x: None), "right/ids missing; it has"),
    "pickle": (change_array("left/obs", lambda x: np.array([{}], object)), "pickled objects are never loaded"),
    "text": (change_array("query", lambda x: x.astype(str)), "query has dtype <U"),
    "rows": (change_array("query", lambda x: x[1:]), r"query is int64\(8,\), expected int64\(9,\)"),
    "dtype": (change_array("answered", lambda x: x.astype(float)), "answered is float64"),
    "mask dtype": (change_array("left/mask", lambda x: x.astype(int)), "left/mask has dtype int64, expected float"),
    "steps": (change_array("left/mask", lambda x: x[:, 1:]), r"mask has shape \(9, 4\), expected \(9, 5\)"),
    "sides": (change_array("left/obs", lambda x: x[..., 1:]), r"obs has shape \(9, 6, 2\) on the left"),
    "states": (change_array("left/states", lambda x: None), "states are given for 1 of 2 items"),
    "range": (change_array("prefers_right", put(0, 1.2)), r"prefers_right\[0\] is 1.2, expected 0 to 1"),
    "nan": (change_array("prefers_right", put(2, np.nan)), r"prefers_right\[2\] is nan, expected 0 to 1"),
    "skip": (change_array("prefers_right", put(8, 0.5)), r"prefers_right\[8\] is 0.5, expected NaN"),
    "annotator": (change_array("annotator", put(0, 2)), r"annotator\[0\] is 2, expected an index"),
    "time": (change_array("response_s", put(3, -1)), r"response_s\[3\] is -1.0"),
    "mask value": (change_array("left/mask", put((1, 2), 0.5)), r"left/mask\[1, 2\] is 0.5, expected 0 or 1"),
    "obs value": (change_array("right/obs", put((1, 2, 0), np.inf)), r"right/obs\[1, 2, 0\] is inf, expected finite"),
    "two answers": (change_array("annotator", put(1, 0)), "has two answers to one query"),
    "two contents": (change_array("query", lambda x: np.array([1, 2, 2, 3, 4, 5, 6, 7, 8])), "query 2 has different"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_malformed_set_is_refused_in_one_line(run_dir, tmp_path, damage):
    export_labels(run_dir, tmp_path / "set")
    change, message = DAMAGES[damage]
    change(tmp_path / "set")
    with pytest.raises(UserError, match=message) as caught:
        import_labels(run_dir, tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "set") in str(caught.value)


def test_a_config_that_cannot_be_read_is_one_line(run_dir, tmp_path):
    for text, message in (
        ("env: [", "damaged or not a YAML file"),
        ("env:\n  name: ${nowhere}\n", "not a config of a run"),
    ):
        (run_dir / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=rf"config\.yaml is {message}") as caught:
            export_labels(run_dir, tmp_path / "set")
        assert "\n" not in str(caught.value)
    (run_dir / "config.yaml").unlink()
    assert export_labels(run_dir, tmp_path / "set")["env"] is None
