"""Handing out pairs and taking answers, without HTTP."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from shop import fill

from pbrl.errors import UserError
from pbrl.labels.questions import retire, unretire
from pbrl.labels.store import LabelStore
from pbrl.labels.views import in_segment_order
from pbrl.types import Answers
from pbrl.viewer.cards import DeskSettings, Given, prefers_right
from pbrl.viewer.desk import Desk

MIRRORED = {"left": "right", "right": "left"}


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path) as store:
        yield store


def desk(store, *, ready=lambda query: True, seed=0, present=1, **settings):
    chosen = DeskSettings(**{"repeats": 0.0, **settings})
    return Desk(store, chosen, ready, random.Random(seed), lambda: present)


def cards(table, annotator, n, holding=()):
    return table.next(annotator, n, holding)[0]


def given(card, choice, number=0, annotator="ann", **more):
    common = {"shown_at": time.time(), "response_s": 1.0, "repeat": card.repeat, "swapped": card.swapped}
    name = f"{annotator}-{card.query.id}-{number}"
    return Given(id=name, query=card.query.id, annotator=annotator, choice=choice, **{**common, **more})


@pytest.mark.parametrize("choice", ["left", "right", "equal", "incomparable", "skip"])
def test_a_swapped_screen_changes_nothing_but_the_sides(choice):
    assert in_segment_order(in_segment_order(choice, True), True) == choice
    assert in_segment_order(choice, False) == choice
    assert in_segment_order(choice, True) == MIRRORED.get(choice, choice)


@pytest.mark.parametrize(
    ("choice", "strength", "label"),
    [
        ("left", "clear", 0.0),
        ("right", "clear", 1.0),
        ("left", "slight", 0.25),
        ("right", "slight", 0.75),
        ("equal", "clear", 0.5),
        ("incomparable", "clear", None),
        ("skip", "slight", None),
    ],
)
def test_the_label_of_a_choice(choice, strength, label):
    assert prefers_right(choice, strength, 0.75) == label


def test_the_newest_policy_comes_first_and_sides_are_a_fair_coin(store):
    fill(store, 200, session=0)
    newest = fill(store, 200, session=1)
    dealt = cards(desk(store), "ann", 200)
    assert [c.query.id for c in dealt] == newest
    assert abs(sum(c.swapped for c in dealt) - 100) < 4 * 50**0.5  # four standard deviations


def test_nobody_gets_what_another_holds_until_the_lease_is_over(store):
    fill(store, 3)
    table = desk(store, lease_s=0.2)
    first = {c.query.id for c in cards(table, "ann", 2)}
    assert {c.query.id for c in cards(table, "bob", 3)} == {1, 2, 3} - first
    assert cards(table, "cleo", 3) == []
    time.sleep(0.25)
    assert {c.query.id for c in cards(table, "cleo", 3)} == {1, 2, 3}


def test_what_a_person_holds_is_renewed_and_not_given_again(store):
    fill(store, 3)
    table = desk(store, lease_s=0.3)
    held = [c.query.id for c in cards(table, "ann", 2)]
    for _ in range(3):
        time.sleep(0.15)
        assert held[0] not in [c.query.id for c in cards(table, "ann", 0, holding=held)]
    assert [c.query.id for c in cards(table, "bob", 3)] == [q for q in (1, 2, 3) if q not in held]


@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_each_pair_is_answered_by_as_many_people_as_wanted(store, overlap):
    fill(store, 5)
    table, answered = desk(store, overlap=overlap), Counter()
    for annotator in ("ann", "bob", "cleo", "dan"):
        while dealt := cards(table, annotator, 2):
            for card in dealt:
                table.answer(given(card, "left", annotator=annotator))
                answered[card.query.id] += 1
    assert answered == dict.fromkeys(range(1, 6), overlap)
    assert table.open_queries() == []


def test_pairs_whose_clips_are_not_drawn_wait(store):
    fill(store, 3)
    assert [c.query.id for c in cards(desk(store, ready=lambda q: q.id == 2), "ann", 3)] == [2]


def test_an_answer_keeps_how_it_came_about(store):
    fill(store, 1)
    table = desk(store)
    (card,) = cards(table, "ann", 1)
    table.answer(given(card, "left", swapped=True, strength="slight", played_at=5.0, plays_left=2, plays_right=3))
    (answer,), (view,) = store.standing_answers(), store.views()
    assert (answer.prefers_right, answer.kind, answer.annotator, answer.response_s) == (0.75, "human", "ann", 1.0)
    assert (view.choice, view.strength, view.swapped, view.played_at) == ("right", "slight", True, 5.0)


def test_the_same_answer_twice_counts_once_even_after_it_was_undone(store):
    fill(store, 1)
    table = desk(store)
    answer = given(cards(table, "ann", 1)[0], "right")
    for _ in range(3):
        table.answer(answer)
    assert len(store.standing_answers()) == len(store.views()) == 1
    for _ in range(2):
        assert table.undo(answer.id, "ann").query.id == 1
    table.answer(answer)  # a late retry
    assert store.standing_answers() == []


def test_what_is_undone_is_held_by_who_undid_it(store):
    fill(store, 1)
    table = desk(store)
    answer = given(cards(table, "ann", 1)[0], "right")
    table.answer(answer)
    table.undo(answer.id, "ann")
    assert cards(table, "bob", 1) == []
    assert [c.query.id for c in cards(table, "ann", 1)] == [1]


def test_nobody_undoes_the_answer_of_another(store):
    fill(store, 1)
    table = desk(store)
    answer = given(cards(table, "ann", 1)[0], "right")
    table.answer(answer)
    assert table.undo(answer.id, "bob") is None
    assert len(store.standing_answers()) == 1


def test_a_changed_mind_replaces_the_answer(store):
    fill(store, 1)
    table = desk(store)
    (card,) = cards(table, "ann", 1)
    table.answer(given(card, "left", 1))
    table.answer(given(card, "right", 2))
    assert len(store.standing_answers()) == 1
    (past,) = table.history("ann", 10)
    assert (in_segment_order(past.choice, past.card.swapped), past.client_id) == ("right", "ann-1-2")
    assert store.counts()["retracted"] == 1


def test_an_answer_to_a_question_that_grew_old_is_kept(store):
    fill(store, 1)
    table = desk(store, lease_s=0.01)
    (card,) = cards(table, "ann", 1)
    time.sleep(0.02)
    assert retire(store.db, [1], "too old") == [1]
    assert cards(table, "bob", 1) == []
    table.answer(given(card, "left"))
    assert len(store.standing_answers()) == 1


def test_what_somebody_holds_is_not_retired(store):
    fill(store, 2)
    (card,) = cards(desk(store), "ann", 1)
    assert retire(store.db, [1, 2], "too old") == [q for q in (1, 2) if q != card.query.id]


def test_what_others_answered_or_was_taken_back_is_gone(store):
    fill(store, 4)
    table = desk(store, lease_s=0.01)
    held = [c.query.id for c in cards(table, "ann", 4)]
    time.sleep(0.02)
    (card,) = cards(table, "bob", 1)
    table.answer(given(card, "left", annotator="bob"))
    retire(store.db, [held[1]], "too old")
    assert table.next("ann", 0, held) == ([], [card.query.id, held[1]])


@pytest.mark.parametrize("overlap", [1, 2])
def test_an_invented_name_adds_nothing_to_a_question_that_has_its_answers(store, overlap):
    fill(store, 2)
    table = desk(store, overlap=overlap)
    for name in ("ann", "bob")[:overlap]:
        (card,) = [c for c in cards(table, name, 2) if c.query.id == 1]
        table.answer(given(card, "left", annotator=name))
    with pytest.raises(UserError, match="query 1: others have answered it"):
        table.answer(given(card, "right", annotator="zoe"))
    table.next("zoe", 0, [1])  # what one says to hold is not what one was given
    with pytest.raises(UserError, match="query 1: others have answered it"):
        table.answer(given(card, "right", annotator="zoe"))
    table.answer(given(card, "right", 1, annotator=name))  # a changed mind is welcome
    assert {a.annotator for a in store.standing_answers([1])} == {"ann", "bob"} - ({"bob"} if overlap == 1 else set())


def test_an_invented_name_cannot_answer_what_another_has(store):
    fill(store, 1)
    table = desk(store)
    (card,) = cards(table, "ann", 1)
    with pytest.raises(UserError, match="or have it now"):
        table.answer(given(card, "right", annotator="zoe"))
    assert table.next("zoe", 0, [1]) == ([], [1])
    table.answer(given(card, "left"))
    assert [a.annotator for a in store.standing_answers()] == ["ann"]


def test_who_was_asked_may_answer_late(store):
    fill(store, 1)
    table = desk(store, lease_s=0.01)
    (card,) = cards(table, "ann", 1)
    time.sleep(0.02)
    (again,) = cards(table, "bob", 1)
    table.answer(given(again, "left", annotator="bob"))
    table.answer(given(card, "right"))  # the laptop was asleep
    assert sorted(a.annotator for a in store.standing_answers()) == ["ann", "bob"]


def test_what_a_closed_page_gives_back_is_for_others_at_once(store):
    fill(store, 3)
    table = desk(store)
    held = [c.query.id for c in cards(table, "ann", 3)]
    assert cards(table, "bob", 3) == []
    table.release("ann", held[1:])
    assert [c.query.id for c in cards(table, "bob", 3)] == held[1:]
    assert table.next("ann", 0, held)[1] == held[1:]  # the page came back from the browser's memory


def test_ten_people_share_what_there_is(store):
    fill(store, 20)
    table = desk(store, present=10)
    dealt = [cards(table, f"P{number}", 4) for number in range(10)]
    assert min(map(len, dealt)) == 2
    assert len({c.query.id for some in dealt for c in some}) == 20


def test_who_comes_late_gets_what_another_could_do_without(store):
    fill(store, 4)
    alone = desk(store)
    held = [c.query.id for c in cards(alone, "ann", 4)]
    table = desk(store, present=2)
    (card,) = cards(table, "bob", 4)
    assert card.query.id == held[-1]  # never the one on show
    assert table.next("ann", 0, held)[1] == [held[-1]]
    table.answer(given(card, "left", annotator="bob"))
    for query in held[:-1]:
        table.answer(given(card._replace(query=store.queries([query])[0]), "left"))
    assert len(store.standing_answers()) == 4


def test_the_last_question_on_show_is_not_taken_away(store):
    fill(store, 1)
    table = desk(store, present=2)
    assert len(cards(table, "ann", 4)) == 1
    assert cards(table, "bob", 4) == []


def test_one_page_holds_a_handful_whatever_it_says(store):
    fill(store, 60)
    table = desk(store)
    table.next("ann", 0, list(range(1, 61)))
    assert len(cards(table, "bob", 60)) == 60 - 20


def told(store, name="ann"):
    """What a new board of this store says."""
    return _facts(desk(store, overlap=2), name)


def _facts(table, name="ann"):
    return [q.id for q in table.open_queries()], table.counts(name), dict(table.board.labels)


def test_what_is_kept_in_memory_is_what_the_store_says(tmp_path, store):
    """Whatever other processes do meanwhile, a board that was there all along says what a new one says."""
    rng = random.Random(0)
    fill(store, 6)
    table, people = desk(store, overlap=2), ["ann", "bob", "cleo"]
    with LabelStore(tmp_path) as other:
        table2 = desk(other, overlap=2)
        for number in range(150):
            who, name = rng.choice([table, table2]), rng.choice(people)
            act = rng.randrange(6)
            if act <= 2:
                for card in cards(who, name, 1):
                    who.answer(given(card, rng.choice(["left", "equal", "skip"]), number, name))
            elif act == 3 and (past := who.history(name, 3)):
                who.undo(rng.choice(past).client_id, name)
            elif act == 4:
                fill(other, 2, session=number)
            else:
                some = rng.randrange(1, 8)
                (retire(other.db, [some], "old") if number % 2 else unretire(other.db, [some]))
            assert _facts(table) == told(store)
            asked = [q.id for q in store.open_queries(2)]
            assert _facts(table)[0] == asked  # the order in which training says it
            standing = [a for a in store.standing_answers() if a.annotator == "ann"]
            assert table.counts("ann")["answers"] == sum(a.prefers_right is not None for a in standing)


def test_a_person_takes_the_place_of_the_stand_in(store):
    import torch

    (query,) = fill(store, 1)
    table = desk(store, lease_s=0.01)
    (card,) = cards(table, "ann", 1)
    store.answer([query], Answers(torch.tensor([1.0]), torch.tensor([True])), "scripted:stand-in")
    assert table.open_queries() == []
    table.answer(given(card, "left", swapped=False))
    assert [(a.annotator, a.prefers_right) for a in store.standing_answers()] == [("ann", 0.0)]


def test_a_changed_repeat_counts_once(store):
    fill(store, 1)
    table = desk(store)
    (card,) = cards(table, "ann", 1)
    table.answer(given(card, "left"))
    for number, choice in enumerate(("left", "right")):
        table.answer(given(card._replace(repeat="1"), choice, 10 + number))
    assert [c.client_id for c in store.checks()] == ["ann-1-11"]


def test_repeats_come_mirrored_and_train_nothing(store):
    fill(store, 300)
    table, shown = desk(store, repeats=0.2), {}
    repeats = 0
    for _ in range(300):
        dealt = cards(table, "ann", 1)
        if not dealt:
            break
        (card,) = dealt
        better = "right"  # this person always prefers the right segment
        table.answer(given(card, MIRRORED[better] if card.swapped else better, repeats if card.repeat else 0))
        if card.repeat is None:
            shown[card.query.id] = card.swapped
        else:
            repeats += 1
            assert card.swapped is not shown[card.query.id]
    checks = store.checks()
    assert len(checks) == repeats
    assert abs(repeats - 60) < 4 * (300 * 0.2 * 0.8) ** 0.5
    assert {c.prefers_right for c in checks} == {1.0}
    assert len(store.standing_answers()) == len(shown) == 300 - repeats
    assert len({c.query for c in checks}) == repeats  # no pair comes a third time


def test_an_undone_repeat_comes_back_as_one(store):
    fill(store, 40)
    table = desk(store, repeats=0.9)
    card = cards(table, "ann", 1)[0]
    while card.repeat is None:
        table.answer(given(card, "left"))
        card = cards(table, "ann", 1)[0]
    answer = given(card, "left", 7)
    table.answer(answer)
    assert table.undo(answer.id, "bob") is None
    back = table.undo(answer.id, "ann")
    assert (back.query.id, back.repeat) == (card.query.id, card.repeat)
    assert store.checks() == []
    table.answer(given(back, "right", 8))
    assert len(store.checks()) == 1


def test_answers_of_scripts_close_questions_only_where_they_stand_in_for_people(store):
    import torch

    queries = fill(store, 2)
    store.answer(queries[:1], Answers(torch.tensor([1.0]), torch.tensor([True])), "scripted:oracle")
    assert [c.query.id for c in cards(desk(store, scripts_count=True), "ann", 5)] == [2]
    assert {c.query.id for c in cards(desk(store, scripts_count=False), "bob", 5)} <= {1, 2}
    assert len(desk(store, scripts_count=False).open_queries()) == 2


@pytest.mark.parametrize(
    "change", [{"choice": "both"}, {"strength": "huge"}, {"query": 99}, {"response_s": -1.0}, {"repeat": "3"}]
)
def test_nonsense_is_refused_and_nothing_is_stored(store, change):
    fill(store, 1)
    table = desk(store)
    (card,) = cards(table, "ann", 1)
    with pytest.raises(UserError):
        table.answer(given(card, "left")._replace(**change))
    assert store.standing_answers() == store.views() == store.checks() == []


@pytest.mark.parametrize("bad", [{"overlap": 0}, {"repeats": 1.0}, {"slight": 0.5}, {"lease_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(UserError):
        DeskSettings(**bad)
