import math

import pytest
import torch
from test_labels import ask, make_answers, make_segments

from pbrl.data.label_report import format_report, label_report, wilson_interval
from pbrl.data.labels import LabelStore
from pbrl.errors import UserError
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
    assert report["shares"] == {"decisive": 7 / 9, "equal": 1 / 9, "skipped": 1 / 9}
    low, high = wilson_interval(5, 7)
    assert report["prefers_right"] == {"count": 5, "of": 7, "share": 5 / 7, "low": low, "high": high}
    anna, bert = report["annotators"]["anna"], report["annotators"]["bert"]
    # anna: right, wrong, right, equal returns, tie, unknown; bert: skip, right, wrong
    assert (anna["agrees_with_true_return"]["count"], anna["agrees_with_true_return"]["of"]) == (2, 3)
    assert (bert["agrees_with_true_return"]["count"], bert["agrees_with_true_return"]["of"]) == (1, 2)
    assert anna["response_s"] == {"n": 6, "p10": 1.5, "median": 3.5, "p90": 5.5, "total": 21.0}
    assert bert["response_s"] is None
    assert report["sessions"] == [
        {"session": 0, "env_steps": 500, "queries": 6, "decisive": 7, "equal": 1, "skipped": 1},
        {"session": 1, "env_steps": 1000, "queries": 4, "decisive": 0, "equal": 0, "skipped": 0},
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
