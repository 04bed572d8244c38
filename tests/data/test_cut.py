"""Splits, segments, pairs and answers against what must hold whatever the seed."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from pbrl.data.cut import Cut, cut_segments, draw_pairs, judge, split_episodes
from pbrl.data.episodes import Episode
from pbrl.data.rows import flatten, store_of
from pbrl.errors import UserError
from pbrl.teachers.scripted import ScriptedTeacher
from pbrl.types import Segments


def rng(seed=0):
    return np.random.default_rng(seed)


def make_episodes(*lengths, ended=()):
    return [
        Episode(np.full((n + 1, 2), k, "f4"), np.zeros((n, 1), "f4"), np.arange(n, dtype="f4"), terminated=k in ended)
        for k, n in enumerate(lengths)
    ]


def make_teacher(**settings):
    numbers = {"beta": None, "gamma": 1.0, "mistake": 0.0, "skip": 0.0, "equal": 0.0} | settings
    return ScriptedTeacher(**numbers, scale_beta=False, bpref_compat=False, rng=torch.Generator().manual_seed(0))


def cut_of(reward):
    """Segments (N, T) of these rewards, all for training."""
    n, t = reward.shape
    zeros = torch.zeros(n, t)
    segments = Segments(torch.zeros(n, t + 1, 1), zeros[..., None], zeros + 1, zeros, reward, torch.arange(n))
    return Cut(segments, np.arange(n), np.zeros(n, int), np.zeros(n, int))


@pytest.mark.parametrize("seed", range(5))
def test_splits_have_their_shares_of_every_source(seed):
    source = np.repeat([0, 1, 2], [40, 20, 40])[rng(seed).permutation(100)]
    split = split_episodes(source, (0.7, 0.2, 0.1), rng(seed))
    assert Counter(split.tolist()) == {0: 70, 1: 20, 2: 10}
    for number in range(3):
        shares = np.bincount(split[source == number], minlength=3) / (source == number).sum()
        np.testing.assert_allclose(shares, (0.7, 0.2, 0.1), atol=0.06)


def test_small_sets_have_an_episode_for_each_split_or_are_refused():
    assert sorted(split_episodes(np.zeros(3, int), (0.8, 0.1, 0.1), rng()).tolist()) == [0, 1, 2]
    assert split_episodes(np.zeros(2, int), (1, 0, 0), rng()).tolist() == [0, 0]
    with pytest.raises(UserError, match=r"splits=0.8,0.1,0.1 of 2 episodes leave none for train"):
        split_episodes(np.zeros(2, int), (0.8, 0.1, 0.1), rng())


def test_segments_are_different_and_know_where_they_are():
    episodes = make_episodes(10, 3, 7, ended=(1,))
    split = np.array([0, 1, 2])
    found = cut_segments(store_of(flatten(episodes)), split, 12, 4, rng())
    assert len(set(found.segments.ids.tolist())) == 12
    assert (found.split == split[found.episode]).all()
    for row, (k, t) in enumerate(zip(found.episode, found.start, strict=True)):
        assert (found.segments.obs[row] == k).all()
        assert found.segments.true_reward[row, 0] == t
    everything = cut_segments(store_of(flatten(episodes)), split, 10**6, 4, rng())
    assert Counter(everything.episode.tolist()) == {0: 7, 1: 2, 2: 4}  # the terminated one is padded up to half
    fewer = cut_segments(store_of(flatten(episodes)), split, 5, 4, rng(1))
    assert set(fewer.segments.ids.tolist()) < set(everything.segments.ids.tolist())


def test_each_start_is_equally_likely():
    episodes = make_episodes(12, 5)  # 9 + 2 starts
    drawn = Counter(
        int(cut_segments(store_of(flatten(episodes)), np.zeros(2, int), 1, 4, rng(i)).segments.ids) for i in range(2200)
    )
    assert len(drawn) == 11
    assert max(abs(count - 200) for count in drawn.values()) < 5 * np.sqrt(200)


def test_episodes_that_are_too_short_are_refused():
    with pytest.raises(UserError, match="segment_length=9: the longest of 2 episodes has 8 steps"):
        cut_segments(store_of(flatten(make_episodes(8, 3))), np.zeros(2, int), 5, 9, rng())


def test_all_pairs_of_a_split_are_each_drawn_once():
    split = np.array([0, 1, 0, 0, 2, 1, 0, 2, 0])
    left, right = draw_pairs(split, {"train": 10**6, "validation": 5, "test": 1}, rng())
    pairs = [frozenset(p) for p in zip(left.tolist(), right.tolist(), strict=True)]
    expected = [frozenset(p) for s in range(3) for p in combinations(np.flatnonzero(split == s).tolist(), 2)]
    assert Counter(pairs) == Counter(expected)


def test_pairs_are_different_in_random_order_and_on_random_sides():
    left, right = draw_pairs(np.zeros(3000, int), {"train": 4000, "validation": 0, "test": 0}, rng())
    assert len({frozenset(p) for p in zip(left.tolist(), right.tolist(), strict=True)}) == 4000
    assert (left != right).all()
    assert abs((left < right).mean() - 0.5) < 0.04
    halves = [np.concatenate([left[i], right[i]]).mean() for i in (slice(0, 2000), slice(2000, None))]
    assert abs(halves[0] - halves[1]) < 100  # no order: the first n are as good as any


def test_a_split_without_two_segments_has_no_pairs():
    left, right = draw_pairs(np.array([0, 0, 2]), {"train": 1, "validation": 9, "test": 9}, rng())
    assert {int(left[0]), int(right[0])} == {0, 1}
    assert len(left) == 1


@pytest.fixture
def judged():
    """2000 pairs of 200 segments, and a score that has nothing to do with their rewards."""
    generator = torch.Generator().manual_seed(0)
    cut = cut_of(torch.rand(200, 5, generator=generator))
    left, right = draw_pairs(cut.split, {"train": 2000, "validation": 0, "test": 0}, rng())
    score = -4 * torch.rand(200, generator=generator, dtype=torch.float64).numpy()
    return cut, score, left, right


def gain(score, left, right):
    return score[right] - score[left]


def test_an_exact_teacher_prefers_what_it_is_told_to_judge_by(judged):
    cut, score, left, right = judged
    by_score = judge(make_teacher(), cut, score, left, right)
    assert ((by_score.prefers_right == 1) == (gain(score, left, right) > 0)).all()
    assert by_score.answered.all()
    returns = cut.segments.true_reward.double().sum(1).numpy()
    by_return = judge(make_teacher(), cut, None, left, right)
    assert ((by_return.prefers_right == 1) == (gain(returns, left, right) > 0)).all()


def test_a_mistaken_teacher_errs_at_its_rate(judged):
    cut, score, left, right = judged
    rows = judge(make_teacher(mistake=0.1), cut, score, left, right)
    wrong = (rows.prefers_right == 1) != (gain(score, left, right) > 0)
    assert abs(wrong.mean() - 0.1) < 0.03


def test_a_boltzmann_teacher_prefers_by_the_logistic_of_the_gain(judged):
    cut, score, left, right = judged
    rows = judge(make_teacher(beta=1.5), cut, score, left, right)
    expected = 1 / (1 + np.exp(-1.5 * gain(score, left, right)))
    order = np.argsort(expected)
    for part in np.array_split(order, 5):
        assert abs(rows.prefers_right[part].mean() - expected[part].mean()) < 0.09


def test_a_myopic_teacher_judges_a_score_like_an_exact_one(judged):
    cut, score, left, right = judged
    rows = judge(make_teacher(gamma=0.5), cut, score, left, right)
    assert ((rows.prefers_right == 1) == (gain(score, left, right) > 0)).all()


def test_ties_and_skips_of_a_regret_are_measured_from_the_worst_segment(judged):
    """Both thresholds are eps times the mean of the score, which is made positive by taking the smallest off."""
    cut, score, left, right = judged
    shifted = score - score.min()
    tied = judge(make_teacher(equal=0.2), cut, score, left, right)
    assert ((tied.prefers_right == 0.5) == (abs(gain(score, left, right)) < 0.2 * shifted.mean())).all()
    skipped = judge(make_teacher(skip=0.4), cut, score, left, right)
    assert (skipped.answered == (np.maximum(shifted[left], shifted[right]) > 0.4 * shifted.mean())).all()
    assert (np.isnan(skipped.prefers_right) == ~skipped.answered).all()
    assert 0 < (~skipped.answered).mean() < 0.2


@pytest.mark.parametrize("settings", [{}, {"mistake": 0.3}, {"beta": 1.0}])
def test_a_teacher_says_equal_of_equal_returns_and_of_equal_scores(settings):
    cut = cut_of(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0], [3.0, 2.0]]))
    score = np.array([-0.3, -0.3, 0.7, 0.7])
    for by in (None, score):
        rows = judge(make_teacher(**settings), cut, by, np.array([0, 2, 1]), np.array([1, 3, 0]))
        assert rows.prefers_right.tolist() == [0.5] * 3
        assert rows.answered.all()
