import json
import math
import random
import re
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from test_label_store import ask, make_answers, make_segments

from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.labels.views import View, add_check, add_view
from pbrl.reports.label_page import label_page, write_label_page
from pbrl.reports.label_report import label_report
from pbrl.reports.label_text import format_report
from pbrl.statistics.intervals import wilson_interval
from pbrl.types import Segments


def with_returns(returns):
    """One-step segments with these true returns; their second step is padding and must not count."""
    s = make_segments(len(returns), 0, steps=2)
    reward = torch.stack([torch.tensor(returns), torch.full((len(returns),), 100.0)], 1)
    mask = torch.tensor([[1.0, 0.0]]).expand(len(returns), 2)
    return Segments(s.obs, s.actions, mask, s.terminated, reward, s.ids)


def test_wilson_interval_known_values():
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_report_of_a_planted_case_by_hand(tmp_path):
    with LabelStore(tmp_path) as store:
        left, right = with_returns([0.0, 0, 0, 0, 0, 0]), with_returns([1.0, 1, -1, 0, 2, math.nan])
        ids = store.ask(0, 500, left, right, sampler="uniform")
        later = ask(store, session=1)  # other length, nobody answered
        store.answer(ids, make_answers(1, 0.2, 0, 1, 0.5, 1), "anna", [1, 2, 3, 4, 5, 6])
        store.answer(ids[:3], make_answers(None, 1, 0), "bert")
        store.answer(ids[2:3], make_answers(1), "bert")
    report = label_report(tmp_path)
    assert (report["queries"], report["unanswered"], report["retracted"], report["answers"]) == (10, len(later), 1, 9)
    assert (report["decisive"], report["equal"], report["skipped"]) == (7, 1, 1)
    assert report["shares"] == {"decisive": 7 / 9, "equal": 1 / 9, "incomparable": 0, "skipped": 1 / 9}
    low, high = wilson_interval(5, 7)
    assert report["prefers_right"] == {"count": 5, "of": 7, "share": 5 / 7, "low": low, "high": high}
    anna, bert = report["annotators"]["anna"], report["annotators"]["bert"]
    # anna: right, wrong, right, equal returns, tie, unknown; bert: skip, right, wrong
    assert (anna["agrees_with_true_return"]["count"], anna["agrees_with_true_return"]["of"]) == (2, 3)
    assert (bert["agrees_with_true_return"]["count"], bert["agrees_with_true_return"]["of"]) == (1, 2)
    assert anna["response_s"] == {"n": 6, "p10": 1.5, "median": 3.5, "p90": 5.5, "total": 21.0}
    assert bert["response_s"] is None
    assert report["sessions"] == [
        {"session": 0, "env_steps": 500, "queries": 6, "decisive": 7, "equal": 1, "incomparable": 0, "skipped": 1},
        {"session": 1, "env_steps": 1000, "queries": 4, "decisive": 0, "equal": 0, "incomparable": 0, "skipped": 0},
    ]
    text = format_report(report)
    for part in ("10 queries, 4 of them open; 9 answers stand, 1 retracted", "anna", "bert", "71%", "of 7", "3.5"):
        assert part in text


def test_report_of_an_empty_store(tmp_path):
    LabelStore(tmp_path).close()
    report = label_report(tmp_path)
    assert report["answers"] == 0
    assert report["prefers_right"] is report["agrees_with_true_return"] is report["response_s"] is None
    assert "0 queries" in format_report(report)
    with pytest.raises(UserError, match="is missing"):
        label_report(tmp_path / "typo")


START = 1_750_000_000.0  # Unix time
VALUES = {"left": 0.0, "right": 1.0, "equal": 0.5, "incomparable": None, "skip": None}


@contextmanager
def stopped_clock():
    clock = SimpleNamespace(now=START)
    clock.time = lambda: clock.now
    with pytest.MonkeyPatch.context() as patch:
        for module in ("rows", "views"):
            patch.setattr(f"pbrl.labels.{module}.time", clock)
        yield clock


@pytest.fixture
def clock():
    """The time that is stored with answers; a test sets `clock.now`."""
    with stopped_clock() as clock:
        yield clock


def give(store, query, name, choice, swapped=False, seconds=2.0, played=True, strength="clear", value=None):
    """An answer as the viewer stores it; `choice` is between segments, not sides."""
    answer = make_answers(VALUES[choice] if value is None else value)
    (number,) = store.answer([query], answer, name, [seconds], kind="human", client_id=f"{random.random()}")
    add_view(store.db, View(number, choice, strength, swapped, START, START if played else None, 1, 1, "test"))
    return number


def repeat(store, query, name, choice, swapped=True):
    numbers = {
        "prefers_right": VALUES[choice],
        "swapped": swapped,
        "response_s": 1.0,
        "client_id": f"{random.random()}",
    }
    return add_check(store.db, query=query, annotator=name, choice=choice, **numbers)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A run with a careful, a biased and an inconsistent annotator, and one who met only few of the queries."""
    rng, path = random.Random(0), tmp_path_factory.mktemp("crowd")
    with stopped_clock() as clock, LabelStore(path) as store, store.transaction():
        better = {}
        for session in range(6):
            returns = [[rng.gauss(0, 1) for _ in range(25)] for _ in "lr"]
            ids = store.ask(session, 2000 * (session + 1), *map(with_returns, returns), sampler="uniform")
            better |= {q: b - a for q, a, b in zip(ids, *returns, strict=True)}
        for name, share, left, noise, pace in (
            ("anna", 0.9, 0.0, 0.3, 3.0),
            ("bert", 0.7, 0.4, 0.3, 2.2),
            ("cleo", 0.6, 0.0, 30.0, 0.8),
            ("a visitor with a long name", 0.1, 0.0, 0.3, 5.0),
        ):
            clock.now = START + 600 * rng.random()
            for query, advantage in better.items():
                if rng.random() > share:
                    continue
                for again in (False, True):
                    if again and rng.random() > 0.15:
                        break
                    swapped, felt = rng.random() < 0.5, advantage + rng.gauss(0, noise)
                    choice = "equal" if abs(felt) < 0.15 else "right" if felt > 0 else "left"
                    if rng.random() < left:
                        choice = "right" if swapped else "left"
                    if rng.random() < 0.06:
                        choice = rng.choice(["incomparable", "skip"])
                    seconds = pace * math.exp(rng.gauss(0, 0.5) - 0.004 * query)
                    clock.now += seconds + 0.5 + (1500 if rng.random() < 0.01 else 0)
                    if again:
                        repeat(store, query, name, choice, swapped)
                    else:
                        number = give(store, query, name, choice, swapped, seconds, rng.random() < 0.97)
                        if rng.random() < 0.04:
                            store.retract(number)
    return path


@pytest.fixture
def people(crowd, tmp_path):
    """A copy of that run."""
    return shutil.copytree(crowd, tmp_path / "walker")


def test_screen_side_takes_the_swap_into_account(tmp_path):
    with LabelStore(tmp_path) as store:
        ids = [q for session in range(10) for q in ask(store, session, seed=session)]
        for query in ids:  # always the left side; half the pairs are swapped, so both segments win equally often
            give(store, query, "left-hander", "right" if query % 2 else "left", swapped=bool(query % 2))
            give(store, query, "even", "right" if query % 4 < 2 else "left", swapped=bool(query % 2))
        give(store, ids[0], "undecided", "equal")
        give(store, ids[1], "undecided", "incomparable")
        store.answer(ids[2:4], make_answers(0, 1), "undecided")  # not from the viewer
    report = label_report(tmp_path)
    left, even = report["annotators"]["left-hander"], report["annotators"]["even"]
    assert (left["screen_left"]["count"], left["screen_left"]["of"]) == (40, 40)
    assert (even["screen_left"]["count"], even["screen_left"]["of"]) == (20, 40)
    assert left["prefers_right"]["share"] == even["prefers_right"]["share"] == 0.5
    assert report["annotators"]["undecided"]["screen_left"] is None
    (warning,) = [line for line in report["warnings"] if "side of the screen" in line]
    assert warning == "left-hander prefers the left side of the screen: 100% of 40 decisive answers"


def test_kinds_of_answers_by_hand(tmp_path):
    with LabelStore(tmp_path) as store:
        ids = ask(store) + ask(store, 2, seed=1)
        give(store, ids[0], "anna", "left", seconds=0.3)
        give(store, ids[1], "anna", "right", value=0.75, strength="slight", played=False)
        give(store, ids[2], "anna", "equal")
        give(store, ids[3], "anna", "incomparable")
        give(store, ids[4], "anna", "skip")
        store.retract(give(store, ids[5], "anna", "left"))  # undone
        give(store, ids[6], "anna", "left")
        give(store, ids[6], "anna", "right")  # changed
        store.retract(give(store, ids[7], "anna", "equal"))
        give(store, ids[7], "anna", "equal")  # undone, then answered as before
    report = label_report(tmp_path)
    anna = report["annotators"]["anna"]
    counts = [anna[k] for k in ("answers", "decisive", "equal", "incomparable", "skipped")]
    assert counts == [7, 3, 2, 1, 1]
    assert sum(anna["shares"].values()) == pytest.approx(1)
    assert [anna[k] for k in ("retracted", "undone", "changed")] == [3, 1, 1]
    assert (anna["slight"]["count"], anna["slight"]["of"]) == (1, 3)
    assert (anna["fast"]["count"], anna["fast"]["of"]) == (1, 7)
    assert (anna["unplayed"]["count"], anna["unplayed"]["of"]) == (1, 7)
    assert report["sessions"][0] | report["sessions"][1] == report["sessions"][1]
    assert [s["incomparable"] for s in report["sessions"]] == [1, 0]
    assert "under 0.5 s" in report["warnings"][0]


def test_consistency_is_with_the_answer_before_the_repetition(tmp_path, clock):
    with LabelStore(tmp_path) as store:
        ids = ask(store) + ask(store, 2, seed=1)
        for query, choice in zip(ids, ("left", "left", "right", "skip", "incomparable", "left"), strict=False):
            give(store, query, "anna", choice)
        clock.now += 100
        repeat(store, ids[0], "anna", "left")
        repeat(store, ids[1], "anna", "right")
        repeat(store, ids[2], "anna", "equal")
        repeat(store, ids[3], "anna", "left")  # skipped at first: says nothing
        repeat(store, ids[4], "anna", "incomparable")
        repeat(store, ids[5], "anna", "skip")
        undone = repeat(store, ids[5], "anna", "right")
        store.db.execute("UPDATE checks SET retracted_at = 1 WHERE id = ?", (undone,))
        repeat(store, ids[6], "bert", "left")  # without a first answer
        clock.now += 100
        give(store, ids[1], "anna", "right")  # the person saw the contradiction; it was one all the same
    report = label_report(tmp_path)
    same = report["annotators"]["anna"]["self_consistency"]
    assert (same["count"], same["of"]) == (2, 4)
    assert report["annotators"]["bert"]["self_consistency"] is None


def test_how_reliable_each_person_is_by_hand(tmp_path):
    with LabelStore(tmp_path) as store:
        ids = ask(store, n=4)
        store.answer(ids, make_answers(0, 1, 0.5, 1), "anna")
        store.answer(ids[:3], make_answers(0.2, 0, None), "bert")  # leans as anna does; not; says nothing
        store.answer(ids[:1], make_answers(0), "carl")
        store.leave_out("carl", "slept")
        checks = {"prefers_right": None, "swapped": False, "response_s": 1.0}
        told = [("gold", "left", "left")] * 4 + [("gold", "right", "left"), ("attention", "right", "right")]
        told += [("attention", "skip", "right"), ("practice", "left", "right"), ("repeat", "left", None)]
        for number, (purpose, choice, expected) in enumerate(told):
            with store.transaction():
                add_check(
                    store.db, query=ids[number % 4], annotator="anna", choice=choice, client_id=str(number),
                    purpose=purpose, expected=expected, **checks,
                )  # fmt: skip
        store.db.execute("UPDATE checks SET retracted_at = NULL")
    report = label_report(tmp_path)
    anna, bert, carl = (report["annotators"][name] for name in ("anna", "bert", "carl"))
    shares = {
        name: (row["agrees_with_others"]["count"], row["agrees_with_others"]["of"])
        for name, row in report["annotators"].items()
    }
    assert shares == {"anna": (2, 3), "bert": (2, 3), "carl": (2, 2)}
    assert (anna["gold"]["count"], anna["gold"]["of"]) == (4, 5)
    assert (anna["attention"]["count"], anna["attention"]["of"]) == (1, 2)
    assert (bert["gold"], anna["left_out"], carl["left_out"]) == (None, None, "slept")
    assert anna["self_consistency"]["of"] == 1  # of repeats alone
    assert "anna missed 1 of 2 checks of attention" in report["warnings"]
    assert "anna answered 4 of 5 gold pairs right, which may be chance" in report["warnings"]
    text = format_report(report)
    assert "slept" in text
    assert "80%" in text
    assert json.loads(json.dumps(report)) == report
    assert "gold right" in label_page(report)


def test_pauses_do_not_count_in_labels_per_minute(tmp_path, clock):
    with LabelStore(tmp_path) as store:
        ids = ask(store) + ask(store, 2, seed=1)
        for query, gap in zip(ids, (0, 10, 20, 4000, 30), strict=False):
            clock.now += gap
            number = give(store, query, "anna", "left")
        clock.now += 5
        repeat(store, ids[0], "anna", "left")
        store.retract(number)
        store.answer(ids, make_answers(*[1] * 8), "scripted:oracle")
    report = label_report(tmp_path)
    found = report["annotators"]["anna"]["labels_per_minute"]
    assert found == {"labels": 2, "minutes": 65 / 60, "rate": pytest.approx(2 / 65 * 60)}
    assert report["annotators"]["scripted:oracle"]["labels_per_minute"] is None
    assert report["labels_per_minute"] == found


def test_labels_over_time_are_all_there(people):
    report = label_report(people)
    bins = report["over_time"]["bins"]
    assert bins[-1]["cumulative"] == sum(sum(b["answers"].values()) for b in bins) == report["answers"]
    assert len(bins) <= 61
    assert [b["time"] for b in bins] == sorted({b["time"] for b in bins})
    assert all(b["time"] % report["over_time"]["bin_s"] == 0 for b in bins)
    for row in report["annotators"].values():
        assert row["pace"][-1]["up_to"] == row["answers"]
        assert all(s["p10"] <= s["median"] <= s["p90"] for s in row["pace"])


def test_agreement_is_on_shared_queries_and_soft_labels_lean(tmp_path):
    with LabelStore(tmp_path) as store:
        ids = ask(store) + ask(store, 2, seed=1)
        store.answer(ids[:6], make_answers(0, 0.3, 1, 0.5, None, 1), "anna")
        store.answer(ids[:5], make_answers(0, 0, 1, 1, 1), "bert")
        store.answer(ids[6:], make_answers(0, 0), "cleo")
    together = label_report(tmp_path)["agreement"]
    (pair,) = together["pairs"]
    assert pair["annotators"] == ["anna", "bert"]
    assert (pair["same"]["count"], pair["same"]["of"]) == (3, 4)
    # left 2 and 2 of 4, right 1 and 2, equal 1 and 0: chance (4 + 2) / 16
    assert pair["kappa"]["value"] == pytest.approx(1 - (1 / 4) / (10 / 16))
    assert pair["linear_kappa"]["value"] == pytest.approx(1 - (0.5 / 4) / ((4 + 1 + 1 + 2) / 16))
    assert together["alpha"]["nominal"]["units"] == 4


def test_people_with_known_faults_are_found_out(people):
    report = label_report(people)
    warnings = "\n".join(report["warnings"])
    assert "bert prefers the left side of the screen" in warnings
    assert re.search("cleo answered .* repeated pairs alike", warnings)
    assert "anna" not in warnings
    by_pair = {tuple(pair["annotators"]): pair["kappa"] for pair in report["agreement"]["pairs"]}
    assert by_pair["anna", "bert"]["low"] > 0
    assert by_pair["anna", "cleo"]["low"] < 0.1
    assert report == label_report(people)


def test_page_needs_nothing_else_and_names_cannot_break_it(people):
    nasty = ["<script>alert(1)</script>", "_under $x$ [bold]", "\u674e"]
    with LabelStore(people) as store:
        for name in nasty:
            give(store, 1, name, "left", swapped=True)
            give(store, 2, name, "right")
    report = label_report(people)
    page = label_page(report)
    assert page == label_page(report)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#|data:)|@import|url\((?!#)", page)
    assert page.count("<svg ") == 8
    assert r"\\$" not in page
    assert not re.search("#0101[0-9]{2}", page)
    for text in ("anna", "_under $x$ [bold]", "\u674e", "bert prefers the left side of the screen"):
        assert text in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "_under $x$ [bold]" in format_report(report)


def test_page_of_little(tmp_path):
    with LabelStore(tmp_path) as store:
        assert "0" in label_page(label_report(tmp_path))
        ids = ask(store)
        store.answer(ids[:1], make_answers(None), "anna")
        assert "anna" in label_page(label_report(tmp_path))
        assert "anna" in format_report(label_report(tmp_path))
        store.answer(ids, make_answers(1, 1, 1, 1), "scripted:oracle")
        store.answer(ids, make_answers(1, 1, 1, 1), "bert")
    report = label_report(tmp_path)
    assert "chance would agree" in format_report(report)
    assert "chance would agree" in label_page(report)


def test_page_is_never_overwritten(people, tmp_path):
    write_label_page(label_report(people), tmp_path / "page.html")
    before = (tmp_path / "page.html").read_text()
    with pytest.raises(FileExistsError):
        write_label_page(label_report(people), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == before
