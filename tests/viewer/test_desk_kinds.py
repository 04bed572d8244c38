"""Other questions than pairs: who answers a place of the screen answers about the item that stands there."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

import numpy as np
import pytest
from real_viewer import RealViewer
from shop import config, segments

from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.labels.views import find_tags
from pbrl.question_kinds import Choice, Outcome, Rating, SegmentPair, Triplet
from pbrl.questions import Question
from pbrl.viewer.cards import DeskSettings, Given, make_card
from pbrl.viewer.client import ViewerClient
from pbrl.viewer.desk import Desk
from pbrl.viewer.settings import viewer_section
from pbrl.viewer.wording import asked

STATES = np.zeros((1, 5, 2))


def one(kind: str, **about: Any) -> Question:
    """A question of this kind about random segments."""
    items = tuple(segments(1, seed) for seed in range(4))
    made = {
        "triplet": lambda: Triplet(*items[:3], (STATES,) * 3, **about),
        "rating": lambda: Rating(items[0], "stars", 1, 5, (STATES,), **about),
        "outcome": lambda: Outcome(items[0], (STATES,), **about),
        "pair": lambda: SegmentPair(*items[:2], STATES, STATES, **about),
    }
    return made[kind]() if kind in made else Choice(items, kind, (STATES,) * 4, **about)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path) as store:
        yield store


def ask(store: LabelStore, question: Question, session: int = 0) -> Desk:
    store.ask(session, 0, question, sampler="test")
    return Desk(store, DeskSettings(repeats=0.0), lambda query: True, random.Random(0))


def answer(table: Desk, card: Any, value: tuple[float, ...], name: str = "a", **more: Any) -> None:
    places = more.pop("places", card.places)
    given = Given(name, card.query.id, "ann", "answer", False, time.time(), 1.0, value=value, places=places)
    table.answer(given._replace(**more))


def stored(store: LabelStore) -> Any:
    return [a.value for a in store.standing_answers(kind=None, criterion=None)]


@pytest.mark.parametrize("order", itertools.permutations(range(4)))
def test_a_ranking_is_of_items_wherever_they_stood(store, order):
    table = ask(store, one("ranking"))
    (card,), _ = table.next("ann", 1)
    best_first = tuple(order.index(item) for item in (2, 0, 3, 1))  # the places at which they stand
    answer(table, card, best_first, places=order)
    assert stored(store) == [(2, 0, 3, 1)]


@pytest.mark.parametrize(
    ("kind", "value", "item"), [("best", (1,), (3,)), ("worst", (3,), (1,)), ("best_and_worst", (0, 2), (2, 0))]
)
def test_the_chosen_place_is_the_item_there(store, kind, value, item):
    table = ask(store, one(kind))
    answer(table, table.next("ann", 1)[0][0], value, places=(2, 3, 0, 1))
    assert stored(store) == [item]


@pytest.mark.parametrize(("places", "said", "label"), [((0, 1, 2), 1, 1.0), ((0, 2, 1), 1, 0.0), ((0, 2, 1), 0.5, 0.5)])
def test_the_closer_one_of_a_triplet_is_the_segment_there(store, places, said, label):
    table = ask(store, one("triplet"))
    answer(table, table.next("ann", 1)[0][0], (said,), places=places)
    assert stored(store) == [(label,)]


@pytest.mark.parametrize(("kind", "value"), [("rating", (4.5,)), ("outcome", (1, 3)), ("outcome", (0, -1))])
def test_a_clip_alone_is_rated_or_succeeds(store, kind, value):
    table = ask(store, one(kind))
    answer(table, table.next("ann", 1)[0][0], value)
    assert stored(store) == [value]


def test_every_kind_can_be_skipped_undone_and_looked_at_again(store):
    kinds = ("triplet", "ranking", "best", "rating", "outcome")
    for number, kind in enumerate(kinds):
        table = ask(store, one(kind), number)
    dealt, _ = table.next("ann", 10)
    assert len(dealt) == len(kinds)
    for number, card in enumerate(dealt):
        answer(table, card, (), f"skip-{number}", choice="skip")
    assert stored(store) == [None] * len(kinds)
    assert table.counts("ann")["skipped"] == len(kinds)
    past = table.history("ann", 10)
    assert [p.card for p in past] == dealt[::-1]
    assert [table.undo(p.client_id, "ann") for p in past] == dealt[::-1]
    assert stored(store) == []


def test_the_order_on_the_screen_is_random_and_a_triplet_keeps_its_reference(store):
    rng = random.Random(0)
    ask(store, one("ranking"))
    ask(store, one("triplet"), 1)
    ranking, triplet = store.queries(kind=None, criterion=None)
    orders = [make_card(ranking, rng).places for _ in range(200)]
    assert len(set(orders)) == 24
    assert {make_card(triplet, rng).places for _ in range(50)} == {(0, 1, 2), (0, 2, 1)}


@pytest.mark.parametrize(
    ("kind", "value", "places"),
    [
        ("ranking", (0, 0, 1, 2), (0, 1, 2, 3)),
        ("ranking", (0, 1, 2), (0, 1, 2, 3)),
        ("ranking", (0, 1, 2, 4), (0, 1, 2, 3)),
        ("ranking", (0, 1, 2, 3), (0, 1, 2, 2)),
        ("ranking", (0.5, 1, 2, 3), (0, 1, 2, 3)),
        ("best", (), (0, 1, 2, 3)),
        ("rating", (9,), (0,)),
        ("rating", (), (0,)),
        ("outcome", (2, 0), (0,)),
        ("outcome", (1,), (0,)),
        ("triplet", (3,), (0, 1, 2)),
    ],
)
def test_what_is_no_answer_is_refused(store, kind, value, places):
    table = ask(store, one(kind))
    (card,), _ = table.next("ann", 1)
    with pytest.raises(UserError):
        answer(table, card, value, places=places)
    assert stored(store) == []


def test_pairs_by_another_criterion_are_asked_too(store):
    table = ask(store, one("pair", criterion="safety"))
    (card,), _ = table.next("ann", 1)
    answer(table, card, (), choice="left", swapped=False, tags=("falls", "slow"))
    assert [a.prefers_right for a in store.standing_answers(criterion="safety")] == [0.0]
    assert store.standing_answers() == []  # overall
    assert list(find_tags(store.db).values()) == [["falls", "slow"]]


def test_the_question_is_that_of_its_kind_and_criterion(tmp_path):
    about = config(tmp_path, question="Which?", criteria={"safety": "Which one is safer?"})
    assert asked(one("pair").form, about) == "Which?"
    assert asked(one("pair", criterion="safety").form, about) == "Which one is safer?"
    assert asked(one("pair", criterion="speed").form, about) == "By speed: Which?"
    assert asked(one("rating").form, about) == "How good is it, from 1 to 5 stars?"
    assert asked(one("best", criterion="speed").form, about) == "By speed: Which one is the best?"


def test_a_program_ranks_and_rates_as_the_page_does(tmp_path):
    server = RealViewer(tmp_path, pairs=0, questions=[one("rating"), one("ranking")], tags=("slow",))
    robot = ViewerClient(server.url(), "robot")
    robot.enter()
    for value in ([2, 0, 3, 1], [4]):
        (question,) = robot.next()
        robot.answer(question, "answer", value=value, tags=["slow"])
        if "wanted" in question:
            best_first = tuple(question["places"][place] for place in value)
    server.stop()
    assert {a.value for a in server.answers()} == {best_first, (4.0,)}
    with LabelStore(tmp_path) as store:
        assert list(find_tags(store.db).values()) == [["slow"]] * 2


def test_how_a_criterion_is_asked_can_be_said_on_the_command_line_and_in_the_config_of_a_run():
    said = "{safety: Which one is safer?, speed: 'Faster, or not?'}"
    asked = {"safety": "Which one is safer?", "speed": "Faster, or not?"}
    run = compose_config(["env=point_reach", "method=pebble", f"viewer.criteria={said}"])
    assert viewer_section(run).criteria == asked
    plain = compose_config(["env=point_reach", "method=pebble"])
    assert viewer_section(plain, {"criteria": said}).criteria == asked
    for wrong in ("{safety: 3}", "safety", "{safety"):
        with pytest.raises(UserError, match=r"viewer\.criteria="):
            viewer_section(plain, {"criteria": wrong})
