"""The label report about other questions than pairs, and about reasons, by hand."""

import json
import math

import pytest
import torch
from questions_made import make_items, make_questions, make_told
from test_label_store import ask, make_answers

from pbrl.labels.store import LabelStore
from pbrl.labels.views import Arrangement, add_arrangement, add_tags
from pbrl.question_kinds import Choice, ChoiceAnswers, Outcome, OutcomeAnswers, Rating, RatingAnswers, Triplet
from pbrl.question_kinds import TripletAnswers as Closer
from pbrl.reports.label_kinds import kendall_tau
from pbrl.reports.label_page import label_page
from pbrl.reports.label_report import label_report
from pbrl.reports.label_text import format_report

YES = torch.ones(3, dtype=torch.bool)


def told(store, question, answers, name, places=None, session=1):
    ids = store.ask(session, 0, question, sampler="s")
    numbers = store.answer(ids, answers, name, [2.0] * len(ids), kind="human")
    for number, where in zip(numbers, places or [], strict=False):
        add_arrangement(store.db, Arrangement(number, where, 1.0, None, 1, "page"))
    return numbers


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path) as store:
        yield store


def said(store):
    (row,) = label_report(store.run_dir)["kinds"]
    return row


def test_triplets_by_hand(store):
    triplet = Triplet(*make_items(3))
    swapped, straight = (0, 2, 1), (0, 1, 2)  # reference, left, right
    told(store, triplet, Closer(torch.tensor([1.0, 1.0, 0.5]), YES), "ann", [straight, swapped, straight])
    row = said(store)
    assert (row["kind"], row["queries"], row["answers"], row["skipped"]) == ("triplet", 3, 3, 0)
    assert (row["said"]["second"]["count"], row["said"]["second"]["of"]) == (2, 2)
    assert (row["said"]["screen_right"]["count"], row["said"]["screen_right"]["of"]) == (1, 2)
    assert row["said"]["equal"]["share"] == 1 / 3
    assert row["agreement"] is None
    assert row["response_s"]["median"] == 2


def test_rankings_by_hand(store):
    ranking = Choice(make_items(3), "ranking")
    orders = torch.tensor([[0, 1, 2], [0, 1, 2], [2, 1, 0]])
    told(store, ranking, ChoiceAnswers(orders, YES), "ann", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
    told(store, ranking, ChoiceAnswers(torch.tensor([[0, 1, 2], [1, 0, 2], [0, 1, 2]]), YES), "bob")
    row = said(store)
    assert row["said"] == {"first_at_place": [2, 1, 0]}  # where the best one stood, of ann's; bob had no screen
    # tau: the same 1, one pair of three reversed 1/3, all of them -1
    assert row["agreement"]["value"] == pytest.approx((1 + 1 / 3 - 1) / 3)
    assert (row["agreement"]["measure"], row["agreement"]["units"]) == ("Kendall's tau", 3)
    assert row["annotators"] == {"ann": 3, "bob": 3}


def test_kendall_tau_of_known_orders():
    assert kendall_tau([0, 1, 2, 3], [0, 1, 2, 3]) == 1
    assert kendall_tau([0, 1, 2, 3], [3, 2, 1, 0]) == -1
    assert kendall_tau([0, 1, 2, 3], [1, 0, 2, 3]) == pytest.approx(4 / 6)


def test_ratings_and_outcomes_by_hand(store):
    rating = Rating(*make_items(1), "stars", 1, 5)
    told(store, rating, RatingAnswers(torch.tensor([1.0, 3.0, math.nan]), YES & torch.tensor([1, 1, 0]).bool()), "ann")
    row = said(store)
    assert (row["skipped"], row["said"]["mean"], row["said"]["median"]) == (1, 2, 2)
    outcome = Outcome(*make_items(1, 9))
    told(store, outcome, OutcomeAnswers(torch.tensor([[1, 4], [0, -1], [1, 2]]), YES), "ann", session=2)
    row = next(row for row in label_report(store.run_dir)["kinds"] if row["kind"] == "outcome")
    assert (row["said"]["success"]["count"], row["said"]["moment_marked"]["count"]) == (2, 2)
    assert row["said"]["moment_median"] == 3


def test_interventions_by_hand(store):
    questions = make_questions("overall")["intervention"]
    store.answer(store.ask(1, 0, questions, sampler="s"), make_told("intervention"), "ann", kind="human")
    row = said(store)  # [0 0 1 1 3 0 0], [2 0 ...], a skip
    assert row["said"]["interventions"] == 1
    assert row["said"]["steps_taken_over"] == 3
    assert row["said"]["said_wrong"] == 2
    assert row["said"]["without_any"]["count"] == 0


def test_reasons_are_counted_by_person_and_by_answer(store):
    ids = store.answer(ask(store), make_answers(0, 1, 0.5, None), "anna", kind="human")
    for number, tags in zip(ids, (["falls"], ["falls", "slow"], [], ["slow"]), strict=True):
        add_tags(store.db, number, tags)
    store.retract(ids[0])  # what does not stand does not count
    report = label_report(store.run_dir)
    assert report["tags"] == [
        {"tag": "slow", "count": 2, "annotators": {"anna": 2}, "answers": {"second": 1, "skip": 1}},
        {"tag": "falls", "count": 1, "annotators": {"anna": 1}, "answers": {"second": 1}},
    ]
    assert report["kinds"] == []


def test_every_kind_is_in_text_page_and_json(store):
    for number, (name, questions) in enumerate(make_questions().items(), 1):
        store.answer(store.ask(number, 0, questions, sampler="s"), make_told(name), "<b>ann", kind="human")
    report = label_report(store.run_dir)
    assert len(report["kinds"]) == len(make_questions()) - 1  # pairs of segments have the rest of the report
    text, page = format_report(report), label_page(report)
    for words in ("choice of 4", "ranking", "by speed", "triplet", "rating", "outcome", "intervention", "episode_pair"):
        assert words in text
        assert words in page
    assert "<b>ann" not in page
    assert json.loads(json.dumps(report)) == report
