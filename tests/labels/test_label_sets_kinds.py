"""Label sets of every kind of question, and by several criteria."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from questions_made import TOLD, make_items, make_questions, make_told
from test_label_store import ask, assert_equal, make_answers, make_segments

from pbrl.data.offline_sources import load_offline
from pbrl.errors import UserError
from pbrl.labels.import_set import import_labels
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import EpisodePair, Rating, SegmentPair, Triplet
from pbrl.teachers.replay import ReplayTeacher

NAMES = list(TOLD)


def make_run(folder, name):
    """anna answers two and skips one, bert answers one."""
    asked, told = make_questions()[name], make_told(name)
    with LabelStore(folder) as store:
        ids = store.ask(1, 1000, asked, sampler="s")
        store.answer(ids, told, "anna", [1.5, None, 2.5])
        store.answer(ids[:1], type(told)(told[0][1:2], told.answered[1:2]), "bert")
    return {"kind": type(asked), "criterion": "speed"}


@pytest.mark.parametrize("name", NAMES)
def test_a_set_of_every_kind_comes_back_through_another_run(tmp_path, name):
    about = make_run(tmp_path / "run", name)
    meta = export_labels(tmp_path / "run", tmp_path / "set", **about)
    assert (meta["kind"], meta["criterion"]) == (about["kind"].kind, "speed")
    assert meta["annotators"] == ["anna", "bert"]
    assert (meta["counts"]["answers"], meta["counts"]["skipped"], meta["counts"]["queries"]) == (4, 1, 3)
    (tmp_path / "other").mkdir()
    new = import_labels(tmp_path / "other", tmp_path / "set")
    assert new == {"queries_added": 3, "answers_added": 4, "answers_known": 0}
    for run in ("other", "run"):  # also where it came from
        again = import_labels(tmp_path / run, tmp_path / "set")
        assert again == {"queries_added": 0, "answers_added": 0, "answers_known": 4}
    assert export_labels(tmp_path / "other", tmp_path / "again", **about)["counts"] == meta["counts"]
    one, two = load_label_set(tmp_path / "set"), load_label_set(tmp_path / "again")
    assert one.questions.form == two.questions.form == make_questions()[name].form
    assert one.questions.hashes() == two.questions.hashes()
    for column in ("value", "answered", "annotator", "response_s"):
        np.testing.assert_array_equal(getattr(one, column), getattr(two, column))
    for a, b in zip(one.questions.item_states, two.questions.item_states, strict=True):
        np.testing.assert_array_equal(a, b)
    expected = make_told(name)[0].numpy()
    rows = one.annotator == 0
    np.testing.assert_array_equal(one.value[rows][:2], expected[:2])


def test_an_export_is_of_one_kind_by_one_criterion_and_says_what_else_there_is(tmp_path):
    make_run(tmp_path, "triplet")
    with pytest.raises(
        UserError, match=r"kind=segment_pair criterion=overall; it has kind=triplet criterion=speed \(4\)"
    ):
        export_labels(tmp_path, tmp_path / "set")
    with LabelStore(tmp_path) as store:
        store.answer(ask(store, 2), make_answers(0, 1, 0.5, None), "anna")
    export_labels(tmp_path, tmp_path / "set")
    assert len(load_label_set(tmp_path / "set").pairs) == 4
    assert not (tmp_path / "set" / "answers.npz").exists()


def test_the_same_clips_by_another_criterion_are_other_questions_on_import(tmp_path):
    pairs = SegmentPair(*make_items(2))
    with LabelStore(tmp_path / "run") as store:
        store.answer(store.ask(1, 0, pairs, sampler="s"), make_answers(0, 0, 0), "anna")
        fast = store.ask(1, 0, dataclasses.replace(pairs, criterion="speed"), sampler="s")
        store.answer(fast, make_answers(1, 1, 1), "anna")
    for criterion in ("overall", "speed"):
        export_labels(tmp_path / "run", tmp_path / criterion, criterion=criterion)
        (tmp_path / "other").mkdir(exist_ok=True)
        new = import_labels(tmp_path / "other", tmp_path / criterion)
        assert new == {"queries_added": 3, "answers_added": 3, "answers_known": 0}
    with LabelStore(tmp_path / "other") as store:
        assert store.comparisons().prefers_right.tolist() == [0, 0, 0]
        assert store.comparisons(criterion="speed").prefers_right.tolist() == [1, 1, 1]


def test_padding_does_not_make_another_question_of_an_episode(tmp_path):
    with LabelStore(tmp_path) as store:
        for session, steps in ((1, 4), (2, 7)):
            pair = EpisodePair(make_segments(1, session, steps), make_segments(1, 10 + session, steps))
            store.answer(store.ask(session, 0, pair, sampler="s"), make_answers(1), "anna")
    export_labels(tmp_path, tmp_path / "set", kind=EpisodePair)
    assert import_labels(tmp_path, tmp_path / "set")["queries_added"] == 0


def test_what_asks_otherwise_is_not_imported_beside_it(tmp_path):
    (segments,) = make_items(1)
    for name, scale in (("stars", (1, 5)), ("marks", (0, 10))):
        with LabelStore(tmp_path / name) as store:
            told = make_told("rating")
            store.answer(store.ask(1, 0, Rating(segments, name, *scale), sampler="s"), told, "anna")
    export_labels(tmp_path / "stars", tmp_path / "set", kind=Rating)
    with pytest.raises(
        UserError, match=r"the label set asks .*stars.* has .*marks.*; valid is a label set that asks the"
    ):
        import_labels(tmp_path / "marks", tmp_path / "set")


def put(name, index, value):
    def change(arrays, meta):
        arrays[name][index] = value

    return change


def say(**changes):
    return lambda arrays, meta: meta.update(changes)


DAMAGES = {
    "repeated index": ("ranking", put("order", (0, 1), 2), r"order\[0, 0\] is 2, expected different whole numbers"),
    "skip": ("best", put("order", (3, 0), 1), r"order\[3, 0\] is 1, expected -1 where skipped"),
    "over the scale": ("rating", put("rating", 0, 6), r"rating\[0\] is 6.0, expected 1 to 5 stars, where answered"),
    "skipped rating": ("rating", put("rating", 3, 2), r"rating\[3\] is 2.0, expected NaN where skipped"),
    "third item": ("triplet", put("second/obs", (1, 2, 0), np.inf), r"second/obs\[1, 2, 0\] is inf"),
    "no third item": ("triplet", lambda a, m: a.pop("second/mask"), "second/mask missing"),
    "kind": ("triplet", say(kind="quartet"), "kind is 'quartet'; valid are segment_pair"),
    "kind of other arrays": ("triplet", say(kind="segment_pair", items=2), "prefers_right missing"),
    "number of items": ("triplet", say(items=2), "items is 2, which a question of kind triplet cannot have"),
    "more items": ("best", say(items=5), "item_4/obs, .* missing"),
    "no criterion": ("best", say(criterion=" "), "criterion is .* without control characters"),
    "other details": ("best", say(details={"wanted": "bets"}), "wanted='bets'"),
    "no details": ("rating", say(details={}), "missing 3 required positional arguments"),
    "details of text": ("rating", say(details={"scale": "s", "low": "a", "high": 3}), "meta.json|comparisons.npz"),
    "width": ("best", say(details={"wanted": "ranking"}), r"order is int64\(4, 1\), expected int64\(4, 4\)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_malformed_set_of_another_kind_is_one_line(tmp_path, damage):
    name, change, message = DAMAGES[damage]
    about = make_run(tmp_path / "run", name)
    meta = export_labels(tmp_path / "run", tmp_path / "set", **about)
    file = tmp_path / "set" / "comparisons.npz"
    arrays = dict(np.load(file))
    change(arrays, meta)
    np.savez(file, **arrays)
    meta["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "set" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=message) as caught:
        load_label_set(tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "set") in str(caught.value)


def load(path):
    about = {"label": None, "budget": None, "pairs": "fixed"}
    return load_offline(path, **about, heldout=0.0, rng=torch.Generator().manual_seed(0))


def test_offline_knows_who_answered_and_about_what(tmp_path):
    about = make_run(tmp_path / "run", "segment_pair")
    export_labels(tmp_path / "run", tmp_path / "set", **about)
    data = load(tmp_path / "set")
    assert (data.criterion, data.annotators) == ("speed", ("anna", "bert"))
    assert data.pairs.annotator.tolist() == [0, 1, 0]
    drawn = data.pairs.comparisons(data.segments)
    assert drawn.criterion == "speed"
    labels = load_label_set(tmp_path / "set").comparisons
    assert_equal(drawn.left, labels.left)
    assert drawn.annotator.tolist() == labels.annotator.tolist()
    assert data.sample_pairs(50, torch.Generator().manual_seed(0)).annotator.unique().tolist() == [0, 1]


def test_what_learns_from_pairs_refuses_other_kinds_in_one_line(tmp_path):
    export_labels(tmp_path / "run", tmp_path / "set", **make_run(tmp_path / "run", "triplet"))
    message = "has answers of kind triplet; valid .*segment_pair"
    with pytest.raises(UserError, match=message):
        load(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        ReplayTeacher(str(tmp_path / "set"), torch.Generator())
    with pytest.raises(UserError, match="of kind triplet was given; valid here is one of pairs"):
        _ = load_label_set(tmp_path / "set").comparisons
    assert load_label_set(tmp_path / "set").questions.kind == Triplet.kind
