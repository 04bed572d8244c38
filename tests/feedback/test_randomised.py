"""Randomised querying: the expected gap by hand, which pairs are asked, none where none is worth it, a contrast."""

import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from outcome import table
from tiny import train

from pbrl.feedback.samplers import expected_gap, randomised
from pbrl.tabular.river_swim import expected_visits, learn, make_river, plan
from pbrl.types import Segments


def test_the_gap_is_the_mean_difference_over_all_pairs_of_samples():
    gains = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_hand = torch.stack([(gains[i] - gains[j]).abs() for i, j in itertools.combinations(range(5), 2)]).mean(0)
    torch.testing.assert_close(expected_gap(gains), by_hand)
    assert expected_gap(torch.tensor([[2.0], [-1.0]])).tolist() == [3]


def segments(n):
    zeros = torch.zeros(n, 2)
    return Segments(torch.zeros(n, 3, 1), torch.zeros(n, 2, 1), zeros + 1, zeros, zeros, torch.arange(n))


def model(*weights):
    """Members who score a segment by its id, times a weight of their own."""
    scores = partial(lambda s: torch.stack([w * s.ids.float() for w in weights]))
    return SimpleNamespace(score=scores, members=len(weights))


def test_only_pairs_are_asked_on_which_the_members_disagree():
    everything, nothing = segments(6), segments(6)[torch.zeros(6, dtype=torch.long)]
    ask = partial(randomised, asked=None, rng=torch.Generator())
    chosen = ask(model(1.0, 2.0), nothing, everything, 4, threshold=1.5)
    assert chosen.tolist() == [2, 3]  # gaps 0, 1, 2, 3 of the first four
    assert ask(model(1.0, 1.0), nothing, everything, 4, threshold=0.1).tolist() == []


@pytest.mark.parametrize(("threshold", "labels"), [("1000", 6), ("1e-9", 24)])
def test_what_is_not_asked_is_left_in_the_budget(threshold, labels, tmp_path):
    code, _, err = train(tmp_path / "run", "queries=randomised", f"queries.threshold={threshold}")
    assert code == 0, err
    assert table(tmp_path / "run" / "progress.csv")[-1]["feedback/labels"] == str(labels)


@pytest.mark.parametrize("queries", ["randomised", "disagreement", "k_center_disagreement"])
def test_one_member_alone_disagrees_with_nobody(queries, tmp_path):
    code, _, err = train(tmp_path / "run", f"queries={queries}", "method.model.members=1")
    assert code == 2
    assert f"method.model.members=1: queries={queries} asks by their disagreement; expected at least 2" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("threshold", ["0", "-1"])
def test_a_threshold_that_cannot_be_is_refused_before_the_run(threshold, tmp_path):
    code, _, err = train(tmp_path / "run", "queries=randomised", f"queries.threshold={threshold}")
    assert code == 2
    assert f"queries.threshold={threshold}: expected a number above 0" in err
    assert not (tmp_path / "run").exists()


def test_a_fraction_of_the_questions_gives_the_same_regret():
    always, sometimes = (
        np.mean([learn(threshold, np.random.default_rng([seed, number])) for seed in range(6)], 0)
        for number, threshold in enumerate((0.0, 0.25))
    )
    assert always[0] == 300
    assert sometimes[0] < 0.3 * 300
    assert sometimes[1] < 1.1 * always[1]


def test_the_best_policy_of_the_river_goes_right():
    river = make_river()
    best = plan(river, river.rewards)
    assert (best[:4] == 1).all()
    assert expected_visits(river, best).sum() == pytest.approx(15)
