import pytest
from test_label_store import ask, make_answers

from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.labels.views import GivenAnswer, View, add_check, add_view, find_history


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path) as store:
        yield store


def view(answer, **changes):
    return View(answer, "left", "clear", True, 10.5, None, 2, 3, "page")._replace(**changes)


def check(store, query, client_id="a", choice="right", **changes):
    numbers = {"prefers_right": 1.0, "swapped": True, "response_s": 2.5} | changes
    return add_check(store.db, query=query, annotator="anna", choice=choice, client_id=client_id, **numbers)


def test_views_come_back_and_the_first_one_stays(store):
    ids = store.answer(ask(store), make_answers(0, 1, 0.5, None), "anna")
    views = [view(ids[0]), view(ids[1], choice="right", strength="slight", swapped=False, played_at=11.25)]
    for one in reversed(views):
        add_view(store.db, one)
    add_view(store.db, view(ids[0], choice="equal"))
    assert store.views() == views
    assert [type(v.swapped) for v in store.views()] == [bool, bool]


def test_checks_come_back_and_a_retry_adds_nothing(store):
    (query, other, *_) = ask(store)
    first, second = check(store, query), check(store, other, "b", "skip", prefers_right=None, response_s=None)
    assert check(store, query) == first
    a, b = store.checks()
    assert (a.id, a.query, a.annotator, a.choice, a.prefers_right) == (first, query, "anna", "right", 1.0)
    assert (b.id, b.choice, b.prefers_right, b.response_s, b.client_id) == (second, "skip", None, None, "b")
    assert a.swapped is True
    with pytest.raises(UserError, match="another check"):
        check(store, other)
    with pytest.raises(UserError, match="another check"):
        check(store, query, choice="left")
    third = check(store, query, "c", "left", prefers_right=0.0)  # a changed mind
    assert [c.id for c in store.checks()] == [second, third]
    store.db.execute("UPDATE checks SET retracted_at = 1 WHERE id = ?", (third,))
    assert store.checks() == [b]


def test_what_is_not_a_choice_is_refused(store):
    (query, *_) = ask(store)
    (answer,) = store.answer([query], make_answers(1), "anna")
    with pytest.raises(UserError, match="valid are left, right, equal, incomparable, skip"):
        add_view(store.db, view(answer, choice="both"))
    with pytest.raises(UserError, match="valid are clear, slight"):
        add_view(store.db, view(answer, strength="huge"))
    with pytest.raises(UserError, match="choice='both'"):
        check(store, query, choice="both")
    assert store.views() == store.checks() == []


def test_history_has_what_stood_and_what_stands(store):
    first, second = ask(store, n=2)
    store.answer([first, second], make_answers(0, None), "anna", [1.5, None], kind="human")
    store.answer([first], make_answers(1), "anna")
    store.answer([first], make_answers(1), "bert")
    history = find_history(store.db)
    assert [(a.query, a.annotator, a.prefers_right, a.retracted_at is None) for a in history] == [
        (first, "anna", 0.0, False),
        (first, "anna", 1.0, True),
        (first, "bert", 1.0, True),
        (second, "anna", None, True),
    ]
    assert history[0].response_s == 1.5
    assert history[0].retracted_at >= history[0].created_at
    assert [a[:7] for a in history if a.retracted_at is None] == [a[:7] for a in store.standing_answers()]
    assert isinstance(history[0], GivenAnswer)
