"""Where a person of a study is, what they get and when it is enough: all of it follows from what is stored."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from shop import fill

from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.study.desk import StudyDesk
from pbrl.study.plan import own_order, positions
from pbrl.study.settings import Attention, Breaks, Completion, KnownPair, KnownPairs, Study
from pbrl.viewer.cards import Card, DeskSettings, Given

FEW = DeskSettings(repeats=0.0, overlap=100)
MIRROR = {"left": "right", "right": "left"}


class Person:
    """Answers what they get as a page does, always for the segment that is `prefers`, unless told otherwise."""

    def __init__(self, desk: StudyDesk, name: str, prefers: str = "left") -> None:
        self.desk, self.name, self.prefers = desk, name, prefers
        self.given = 0

    @property
    def study(self) -> dict[str, Any]:
        return self.desk.tell(self.name)["study"]

    def take(self, step: str) -> dict[str, Any]:
        return self.desk.take_step(self.name, step, "test")["study"]

    def next(self, holding: Any = ()) -> Card | None:
        cards, _ = self.desk.next(self.name, 1, holding)
        return cards[0] if cards else None

    def answer(self, card: Card, choice: str | None = None, **more: Any) -> dict[str, Any]:
        """choice: on the screen."""
        self.given += 1
        choice = choice or (MIRROR[self.prefers] if card.swapped else self.prefers)
        about = {"id": f"{self.name}-{self.given}", "query": card.query.id, "annotator": self.name, "choice": choice}
        about |= {"swapped": card.swapped, "shown_at": 1.0, "response_s": 1.0, "repeat": card.repeat}
        given = Given(**{**about, "plays_left": 1, "plays_right": 1, **more})
        self.desk.answer(given)
        return self.desk.tell(self.name, given)["study"]

    def asked_side(self, card: Card) -> str:
        """What a check of attention wants."""
        assert card.words is not None
        return "left" if "{left}" in card.words else "right"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with LabelStore(tmp_path) as store:
        fill(store, 30)
    return tmp_path


def open_desk(folder: Path, study: Study, settings: DeskSettings = FEW) -> StudyDesk:
    return StudyDesk(study, LabelStore(folder), settings, lambda query: True, rng=random.Random(0))


def test_consent_and_instructions_come_first_and_nothing_is_stored_before(folder: Path) -> None:
    desk = open_desk(folder, Study(consent="Do you agree?", instructions="Look.", quota=3))
    ann = Person(desk, "ann")
    assert (ann.study["stage"], ann.study["text"]) == ("consent", "Do you agree?")
    assert ann.next() is None
    card = Card(desk.store.queries([1])[0], False, None)
    with pytest.raises(UserError, match="ann has not agreed"):
        ann.answer(card)
    assert desk.store.counts()["answers"] == 0
    assert ann.take("instructions")["stage"] == "consent"  # not its turn
    assert (ann.take("consent")["stage"], ann.study["text"]) == ("instructions", "Look.")
    assert ann.take("instructions")["stage"] == "questions"
    assert open_desk(folder, desk.study).tell("ANN")["study"]["stage"] == "questions"  # also after a kill
    assert desk.tell("bob")["study"]["stage"] == "consent"
    with pytest.raises(UserError, match="step='pay'; valid are consent"):
        ann.take("pay")


def test_practice_gives_feedback_and_what_was_wrong_comes_again(folder: Path) -> None:
    practice = KnownPairs((KnownPair(3, "left", "It stands."), KnownPair(5, "right")))
    desk = open_desk(folder, Study(practice=practice))
    ann = Person(desk, "ann", prefers="left")  # right about 3, wrong about 5
    assert ann.study["stage"] == "practice"
    first = ann.next()
    assert (first.query.id, first.practice) == (3, True)
    assert ann.next(holding=[3]) is None  # what is said about it comes first
    feedback = ann.answer(first)["feedback"]
    assert (feedback["right"], feedback["text"]) == (True, "It stands.")
    second = ann.next()
    feedback = ann.answer(second)["feedback"]
    assert feedback["right"] is False
    assert feedback["side"] == ("left" if second.swapped else "right")  # where the better one was
    again = ann.next()
    assert again.query.id == 5
    ann.prefers = "right"
    assert ann.answer(again)["stage"] == "questions"
    assert desk.store.standing_answers() == []  # nothing of it is a label
    rows = desk.store.db.execute("SELECT query, choice, expected FROM checks WHERE purpose = 'practice' ORDER BY id")
    assert rows.fetchall() == [(3, "left", "left"), (5, "left", "right"), (5, "right", "right")]


def test_each_person_gets_all_questions_in_an_order_of_their_own(folder: Path) -> None:
    desk = open_desk(folder, Study(quota=30))

    def all_of(name: str) -> list[int]:
        person, got = Person(desk, name), []
        while (card := person.next()) is not None:
            got.append(card.query.id)
            person.answer(card)
        return got

    ann, bob = all_of("ann"), all_of("bob")
    assert sorted(ann) == sorted(bob) == list(range(1, 31))
    assert ann != bob
    assert ann == own_order(range(1, 31), 0, "Ann")  # the same after a restart, however the name is written
    assert ann != own_order(range(1, 31), 1, "ann")


def test_an_order_is_drawn_uniformly_and_new_questions_leave_it_as_it_is() -> None:
    few = own_order(range(20), 0, "ann")
    assert [query for query in own_order(range(40), 0, "ann") if query < 20] == few
    firsts = Counter(own_order(range(4), 0, f"person {i}")[0] for i in range(2000))
    assert all(abs(n - 500) < 100 for n in firsts.values())  # 5 standard deviations


def test_the_quota_ends_it_with_the_code_and_an_undo_takes_it_back(folder: Path) -> None:
    study = Study(quota=3, completion=Completion("C1ABC", "https://example.org/done"))
    desk = open_desk(folder, study)
    ann = Person(desk, "ann")
    assert len(desk.next("ann", 20)[0]) == 3  # nobody holds more than the quota
    told = [ann.answer(ann.next()) for _ in range(3)]
    assert [t["stage"] for t in told] == ["questions", "questions", "done"]
    assert "code" not in told[1]
    assert (told[2]["code"], told[2]["url"], told[2]["done"]) == ("C1ABC", "https://example.org/done", 3)
    assert ann.next() is None
    assert desk.undo("ann-3", "ann") is not None
    assert ann.study["stage"] == "questions"
    assert "code" not in ann.study
    ann.answer(ann.next())
    assert ann.study["stage"] == "done"
    steps = desk.store.db.execute("SELECT count(*) FROM study_steps WHERE step = 'done'").fetchone()[0]
    assert steps == 1


def test_who_has_answered_everything_is_done_unless_a_training_asks_more(folder: Path) -> None:
    desk = open_desk(folder, Study(quota=100))
    ann = Person(desk, "ann")
    while (card := ann.next()) is not None:
        ann.answer(card)
    assert ann.study["stage"] == "done"
    desk.goes_on = lambda: True
    assert ann.study["stage"] == "questions"


def test_gold_comes_once_among_so_many_questions_and_is_no_label(folder: Path) -> None:
    gold = KnownPairs((KnownPair(2, "left"), KnownPair(4, "left"), KnownPair(6, "right")), every=5)
    desk = open_desk(folder, Study(gold=gold, quota=20))
    ann = Person(desk, "ann")
    got = []
    while (card := ann.next()) is not None:
        got.append(card.query.id)
        assert (card.words, card.practice, card.repeat) == (None, False, None)  # it looks like any other
        ann.answer(card)
    golden = [query for query in got if query in (2, 4, 6)]
    assert sorted(golden) == [2, 4, 6]
    questions_before = [sum(q not in (2, 4, 6) for q in got[: got.index(query)]) for query in golden]
    assert [n // 5 for n in questions_before] == [0, 1, 2]  # one in each block of five
    assert len(got) == 23
    assert {a.query for a in desk.store.standing_answers()} == set(got) - {2, 4, 6}
    rows = desk.store.db.execute("SELECT query, choice = expected FROM checks WHERE purpose = 'gold'").fetchall()
    assert dict(rows) == {2: 1, 4: 1, 6: 0}
    assert ann.study["done"] == 20


def test_attention_asks_for_a_key_whatever_the_clips_show(folder: Path) -> None:
    desk = open_desk(folder, Study(attention=Attention(every=4), quota=20))
    ann, seen, at = Person(desk, "ann"), [], 0
    while (card := ann.next()) is not None:
        if card.words is None:
            at += 1
            ann.answer(card)
            continue
        seen.append(at)
        side = ann.asked_side(card)
        swapped = len(seen) % 2 == 0  # the person has swapped the sides: the key stays the same
        ann.answer(card._replace(swapped=swapped), side if len(seen) != 2 else MIRROR[side])
    assert [n // 4 for n in seen][:4] == [0, 1, 2, 3]
    rows = desk.store.db.execute(
        "SELECT choice = expected FROM checks WHERE purpose = 'attention' ORDER BY id"
    ).fetchall()
    assert [row[0] for row in rows] == [i != 1 for i in range(len(seen))]
    sides = {ann.asked_side(desk._attention_card("ann", q, False)) for q in desk.store.queries()}
    assert sides == {"left", "right"}


def test_attention_comes_while_the_page_still_waits_for_its_last_answer(folder: Path) -> None:
    """A page that asks for more holds what it has just answered, until it knows that it is stored."""
    desk = open_desk(folder, Study(attention=Attention(every=1), quota=20))
    ann = Person(desk, "ann")
    first = ann.next()
    second = ann.next(holding=[first.query.id])
    ann.answer(first)
    ann.answer(second)
    check = ann.next(holding=[second.query.id])
    assert (check.words is not None, check.query) == (True, first.query)
    assert ann.next(holding=[check.query.id]).words is None  # one at a time


def test_an_undone_check_comes_back_as_what_it_was(folder: Path) -> None:
    desk = open_desk(folder, Study(gold=KnownPairs((KnownPair(2, "left"),), every=1), attention=Attention(1), quota=9))
    ann = Person(desk, "ann")
    gold = ann.next()
    assert gold.query.id == 2
    ann.answer(gold)
    assert desk.undo("ann-1", "ann") == gold
    ann.answer(gold)
    ann.answer(ann.next())
    check = ann.next()
    ann.answer(check, "left")
    assert desk.undo(f"ann-{ann.given}", "ann") == check


def test_breaks_come_after_so_many_questions_and_last_their_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = open_desk(folder, Study(breaks=Breaks(every=2, seconds=30), quota=5))
    ann = Person(desk, "ann")
    held = ann.next()
    ann.answer(ann.next(holding=[held.query.id]))
    assert ann.answer(held)["stage"] == "break"
    assert 29 < ann.study["rest_s"] <= 30
    assert ann.next() is None
    with pytest.raises(UserError, match="the break lasts 30 seconds more"):
        ann.take("break")
    import pbrl.study.desk as module

    later = module.time.time() + 31
    monkeypatch.setattr(module.time, "time", lambda: later)
    assert ann.take("break")["stage"] == "questions"
    ann.answer(ann.next())
    assert ann.study["stage"] == "questions"
    assert ann.answer(ann.next())["stage"] == "break"


def test_keys_count_after_one_full_play_and_skips_where_they_are_allowed(folder: Path) -> None:
    ann = Person(open_desk(folder, Study()), "ann")
    card = ann.next()
    with pytest.raises(UserError, match="have not played to their end"):
        ann.answer(card, plays_left=0)
    with pytest.raises(UserError, match="this study has no skips"):
        ann.answer(card, "skip")
    bob = Person(open_desk(folder, Study(full_play=False, skip=True)), "bob")
    bob.answer(bob.next(), "skip", plays_left=0)
    bob.answer(bob.next(), plays_left=0)
    assert bob.study["done"] == 2


def test_checks_come_at_random_once_in_each_block() -> None:
    for person in ("ann", "bob", "carla"):
        places = positions(10, 0, person, "gold")
        assert [next(places) // 10 for _ in range(50)] == list(range(50))
    first = Counter(next(positions(10, 0, f"person {i}", "gold")) for i in range(2000))
    assert set(first) == set(range(10))
    assert all(abs(n - 200) < 70 for n in first.values())  # 5 standard deviations
