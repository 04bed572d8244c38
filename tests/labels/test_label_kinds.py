"""Questions of every kind and by several criteria in the label store."""

import dataclasses
import sqlite3

import numpy as np
import pytest
import torch
from questions_made import TOLD, make_items, make_questions, make_told
from stored import answers_to, unanswered
from test_label_store import ask, assert_equal, make_answers, make_segments

from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice, ChoiceAnswers, EpisodePair, Rating, RatingAnswers, SegmentPair, Triplet
from pbrl.types import Answers

NAMES = list(TOLD)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "run") as store:
        yield store


@pytest.mark.parametrize("name", NAMES)
def test_questions_and_answers_of_every_kind_come_back(store, name):
    asked, told = make_questions()[name], make_told(name)
    ids = store.ask(1, 1000, asked, sampler="uniform")
    store.answer(ids, told, "anna")
    with LabelStore(store.run_dir) as again:
        found = again.questions(ids[::-1])
        assert type(found) is type(asked)
        assert found.form == asked.form
        for one, other in zip(found.items, asked[[2, 1, 0]].items, strict=True):
            assert_equal(one, other)
        for one, other in zip(found.item_states, asked.item_states, strict=True):
            np.testing.assert_array_equal(one, other[::-1])
        answers = answers_to(again, ids, "anna")
        assert type(answers) is type(told)
        for one, other in zip(answers, told, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
        answered = again.answered(kind=type(asked), criterion="speed")
        assert len(answered.questions) == 2
        torch.testing.assert_close(answered.answers[0], told[0][:2], rtol=0, atol=0)
        assert [again.annotators()[i] for i in answered.annotator.tolist()] == ["anna"] * 2


@pytest.mark.parametrize("name", NAMES)
def test_the_same_asked_or_answered_twice_is_once_and_undo_opens_it_again(store, name):
    asked, told = make_questions()[name], make_told(name)
    about = {"kind": type(asked), "criterion": "speed"}
    ids = store.ask(1, 1000, asked, sampler="uniform")
    assert store.ask(1, 1000, asked, sampler="uniform") == ids
    assert len(list((store.run_dir / "episodes").iterdir())) == 1
    first = store.answer(ids, told, "anna")
    assert store.answer(ids, told, "anna") == first
    assert unanswered(store, ids, "anna") == unanswered(store, **about) == []
    store.retract(first[0])
    assert unanswered(store, **about) == ids[:1]
    counts = store.counts(**about)
    assert (counts["queries"], counts["answers"], counts["skipped"], counts["retracted"]) == (3, 2, 1, 1)
    store.answer(ids[:1], type(told)(told[0][1:2], told.answered[1:2]), "anna")  # another answer than the first time
    (standing, *_) = store.standing_answers(ids[:1])
    assert list(standing.value) == np.ravel(told[0][1].tolist()).tolist()


def test_a_criterion_tells_questions_about_the_same_clips_apart(store):
    usual = SegmentPair(*make_items(2))
    ids = [store.ask(1, 0, dataclasses.replace(usual, criterion=c), sampler="s") for c in ("overall", "speed", "grace")]
    assert len({*ids[0], *ids[1], *ids[2]}) == 9
    for queries, values in zip(ids, ((0, 0, 0), (1, 1, None), (0.5, 0.5, 0.5)), strict=True):
        store.answer(queries, make_answers(*values), "anna")
    assert store.comparisons().prefers_right.tolist() == [0, 0, 0]
    fast = store.comparisons(criterion="speed")
    assert fast.prefers_right.tolist() == [1, 1]
    assert (fast.criterion, store.comparisons().criterion) == ("speed", "overall")
    assert len(store.comparisons(ids[0] + ids[1] + ids[2])) == 3  # ids do not let another criterion in
    assert store.comparisons(ids[1]) is None
    assert store.forms() == {("segment_pair", c): 3 for c in ("grace", "overall", "speed")}


def test_another_scale_or_another_choice_is_another_question(store):
    (segments,) = make_items(1)
    stars, marks = Rating(segments, "stars", 1, 5), Rating(segments, "marks", 0, 10)
    assert not set(store.ask(1, 0, stars, sampler="s")) & set(store.ask(1, 0, marks, sampler="s"))
    items = make_items(3)
    best, worst = (store.ask(2, 0, Choice(items, wanted), sampler="s") for wanted in ("best", "worst"))
    assert not set(best) & set(worst)
    with pytest.raises(UserError, match="cannot be one batch, since they ask different things") as caught:
        store.questions(best + worst)
    assert "\n" not in str(caught.value)


def test_who_asks_for_pairs_sees_pairs_alone(store):
    ids = ask(store)
    others = [store.ask(5, 0, q, sampler="s") for q in make_questions().values()]
    others += [store.ask(6, 0, q, sampler="s") for q in make_questions("overall").values() if q.kind != "segment_pair"]
    assert [q.id for q in store.queries()] == [q.id for q in store.open_queries()] == unanswered(store) == ids
    for queries, name in zip(others, [*NAMES, *NAMES[1:]], strict=True):
        store.answer(queries, make_told(name), "bert", kind="human")
    assert [q.id for q in store.open_queries()] == unanswered(store) == ids
    assert store.standing_answers() == []
    assert store.comparisons() is None
    assert (store.counts()["queries"], store.counts()["answers"], store.counts()["annotators"]) == (4, 0, {})
    assert len(store.queries(kind=None, criterion=None)) == 4 + 3 * 17
    assert store.counts(kind=None, criterion=None)["answers"] == 3 * 17
    with pytest.raises(UserError, match="is of kind triplet; valid here are pairs"):
        store.segments(others[2])


def test_learning_from_whole_episodes_of_different_lengths(store):
    for session, steps in ((1, 4), (2, 7)):
        pair = EpisodePair(make_segments(1, session, steps), make_segments(1, 10 + session, steps))
        store.answer(store.ask(session, 0, pair, sampler="s"), make_answers(1), "anna")
    found = store.comparisons(kind=EpisodePair)
    assert found.left.mask.sum(1).tolist() == [4, 7]
    assert torch.equal(found.left.obs[1], make_segments(1, 2, 7).obs[0])


WRONG = {
    "repeated index": ("ranking", ChoiceAnswers, [[2, 0, 2, 1]], r"order=\[2.0, 0.0, 2.0, 1.0\]; valid are different"),
    "index too high": ("best", ChoiceAnswers, [[4]], "order=4; valid are different whole numbers from 0 to 3"),
    "best is worst": ("best_and_worst", ChoiceAnswers, [[1, 1]], "order=.*; valid are different"),
    "too few": ("ranking", ChoiceAnswers, [[2, 0, 1]], "has 3 numbers; valid are 4"),
    "over the scale": ("rating", RatingAnswers, [5.5], "rating=5.5; valid are 1 to 5 stars, or a skip"),
    "nan": ("rating", RatingAnswers, [float("nan")], "rating=nan; valid are 1 to 5 stars"),
    "triplet": ("triplet", type(make_told("triplet")), [-0.1], "closer_second=-0.1; valid are 0 to 1"),
    "pair": ("segment_pair", Answers, [2.0], "prefers_right=2; valid are 0 to 1"),
    "answer to a pair": (
        "triplet",
        Answers,
        [1.0],
        "is of kind triplet, answered by Answers; valid are TripletAnswers",
    ),
    "answer to another": ("segment_pair", RatingAnswers, [1.0], "is of kind segment_pair, answered by RatingAnswers"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_is_one_line_and_nothing_is_stored(store, wrong):
    name, kind, value, message = WRONG[wrong]
    ids = store.ask(1, 0, make_questions()[name], sampler="s")
    with pytest.raises(UserError, match=message) as caught:
        store.answer(ids[:1], kind(torch.tensor(value), torch.tensor([True])), "anna")
    assert "\n" not in str(caught.value)
    assert store.forms() == {}


def test_the_database_keeps_the_answers_of_each_kind_in_their_column(store):
    ids = store.ask(1, 0, Triplet(*make_items(3)), sampler="s")
    pairs = ask(store, 2)
    row = "INSERT INTO answers (query, annotator, kind, created_at, {}) VALUES ({}, 1, 'human', 0, {})"
    store.answer(pairs[:1], make_answers(1), "anna")
    for column, query, value in (("prefers_right", ids[0], "1"), ("value", pairs[1], "'[1.0]'")):
        with sqlite3.connect(store.path) as db, pytest.raises(sqlite3.IntegrityError, match="prefers_right answers"):
            db.execute(row.format(column, query, value))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE batches SET details = '[1'", "details of batches is '\\[1', expected a JSON object"),
        ("UPDATE batches SET criterion = 7.5", None),
        ("UPDATE batches SET kind = 'quartet'", "questions of kind 'quartet' are unknown here; valid are"),
        ("UPDATE batches SET criterion = 'grace'", "holds other segments"),
        ("UPDATE batches SET items = 2", "holds other segments"),
        (
            "INSERT INTO answers (query, annotator, kind, created_at, value) VALUES (2, 1, 'h', 0, '{}')",
            "value of answ",
        ),
        ("INSERT INTO answers (query, annotator, kind, created_at, value) VALUES (2, 1, 'h', 0, '[')", "value of answ"),
        ("INSERT INTO answers (query, annotator, kind, created_at, value) VALUES (2, 1, 'h', 0, '[9.0]')", "9"),
    ],
)
def test_strange_content_is_one_line(store, sql, message):
    ids = store.ask(1, 0, Triplet(*make_items(3)), sampler="s")
    store.answer(ids[:1], type(make_told("triplet"))(torch.tensor([1.0]), torch.tensor([True])), "anna")
    with sqlite3.connect(store.path) as db:
        db.execute(sql)
    db.close()
    if message is None:  # SQLite makes it text, another criterion
        with LabelStore(store.run_dir) as again:
            assert again.answered(kind=Triplet) is None
        return

    def read():
        with LabelStore(store.run_dir) as again:
            again.questions(ids)
            again.answered(kind=Triplet, criterion="overall")

    with pytest.raises(UserError, match=message) as caught:
        read()
    assert "\n" not in str(caught.value)
