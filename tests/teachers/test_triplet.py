"""Answers against the formula in the teacher's docstring."""

import math

import pytest
import torch

from pbrl.data.videos import Videos
from pbrl.errors import UserError
from pbrl.teachers.triplet import TripletTeacher, feature_distance

MANY = 40_000


def make_teacher(beta=None, mistake=0.0, equal=0.0, **more):
    return TripletTeacher(beta=beta, mistake=mistake, equal=equal, rng=torch.Generator().manual_seed(0), **more)


def videos_of(features, true_return=None):
    features = torch.as_tensor(features, dtype=torch.float32)
    returns = torch.zeros(len(features)) if true_return is None else torch.tensor(true_return)
    return Videos(torch.zeros(*features.shape[:2], 1, 1, 3, dtype=torch.uint8), features, returns)


def at(*places):
    """Videos of two frames with one feature that stays where it is."""
    return videos_of(torch.tensor(places)[:, None, None].expand(-1, 2, 1))


def test_the_exact_teacher_names_the_closer_one():
    videos = at(0.0, 1.0, -2.0, 5.0)
    rows = torch.tensor([[0, 1, 2], [0, 2, 1], [3, 2, 1], [1, 0, 3]])
    assert make_teacher().answer_triplets(videos, rows).closer_second.tolist() == [0, 1, 1, 0]


def test_equally_close_is_half():
    videos = at(0.0, 1.0, -1.0)
    assert make_teacher().answer_triplets(videos, torch.tensor([[0, 1, 2]])).closer_second.tolist() == [0.5]


def test_distance_by_hand():
    # The second feature has mean 2 and standard deviation 2 over the four frames, the first 0.5 and 0.5
    videos = videos_of([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 4.0], [1.0, 4.0]]])
    assert float(feature_distance(videos, torch.tensor([0]), torch.tensor([1]))) == pytest.approx(2)
    videos = videos_of([[[0.0, 0.0], [0.0, 0.0]], [[2.0, 4.0], [2.0, 4.0]]])
    assert float(feature_distance(videos, torch.tensor([0]), torch.tensor([1]))) == pytest.approx(math.sqrt(8))


def test_units_of_features_do_not_matter_and_constant_ones_do_not_count():
    features = torch.randn(8, 4, 3, generator=torch.Generator().manual_seed(1))
    changed = torch.cat([features * torch.tensor([1.0, 1000.0, 0.01]) + 5, torch.full((8, 4, 1), 7.0)], dim=2)
    rows = torch.arange(8)
    for other in range(8):
        others = torch.full((8,), other)
        expected = feature_distance(videos_of(features), rows, others)
        torch.testing.assert_close(feature_distance(videos_of(changed), rows, others), expected, rtol=1e-3, atol=1e-4)


def share_second(teacher, gain):
    """Of MANY answers to a question whose first candidate is farther by `gain` standard deviations.

    Of the places 0, 1 and x, that is (x - 1) over their standard deviation, sqrt(2 (x^2 - x + 1)) / 3.
    """
    x = 1.0
    while 3 * (x - 1) / math.sqrt(2 * (x * x - x + 1)) < gain:
        x += 1e-4
    rows = torch.tensor([[0, 1, 2]]).expand(MANY, -1)
    return float(teacher.answer_triplets(at(0.0, x, 1.0), rows).closer_second.mean())


def assert_share(share, probability):
    """Five and a half standard deviations: a false alarm in 10^7."""
    assert share == pytest.approx(probability, abs=5.5 * math.sqrt(probability * (1 - probability) / MANY) + 1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("mistake", [0.0, 0.2])
def test_the_noisy_teacher_is_boltzmann_and_errs_at_its_rate(beta, mistake):
    share = share_second(make_teacher(beta=beta, mistake=mistake), 0.6)
    p = 1 / (1 + math.exp(-beta * 0.6))
    assert_share(share, (1 - mistake) * p + mistake * (1 - p))


def test_near_distances_are_equally_close_and_mistakes_cannot_change_it():
    assert share_second(make_teacher(equal=0.31, mistake=1.0), 0.3) == 0.5
    assert share_second(make_teacher(equal=0.29, mistake=1.0), 0.3) == 0


def test_pairs_are_compared_by_true_return():
    videos = videos_of(torch.zeros(3, 2, 1), [1.0, 3.0, 3.0])
    answers = make_teacher().answer_pairs(videos, torch.tensor([[0, 1], [1, 0], [1, 2]])).prefers_right
    assert answers.tolist() == [1, 0, 0.5]


def test_returns_are_in_standard_deviations():
    videos = videos_of(torch.zeros(2, 2, 1), [10.0, 50.0])  # two standard deviations apart
    answers = make_teacher(beta=0.5).answer_pairs(videos, torch.tensor([[0, 1]]).expand(MANY, -1)).prefers_right
    assert_share(float(answers.mean()), 1 / (1 + math.exp(-0.5 * 2)))


def test_the_ranking_is_by_return():
    assert make_teacher().rank(videos_of(torch.zeros(4, 1, 1), [1.0, 9.0, 3.0, 9.0])).tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("settings", [{"beta": -1.0}, {"mistake": 1.1}, {"equal": -0.1}])
def test_numbers_that_make_no_teacher(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        make_teacher(**settings)


def test_pairs_by_likeness_are_triplets_around_the_best_video():
    """So that methods of pairs and of triplets learn from one teacher; by return these answers would be others."""
    videos = videos_of(torch.tensor([0.0, 1.0, 5.0, -2.0])[:, None, None].expand(-1, 2, 1), [9.0, 1.0, 2.0, 3.0])
    pairs = torch.tensor([[1, 2], [2, 1], [3, 1], [2, 3]])
    around = torch.cat([torch.zeros(4, 1, dtype=torch.long), pairs], 1)  # video 0 has the largest return
    told = make_teacher(pairs_by="likeness").answer_pairs(videos, pairs).prefers_right
    assert told.tolist() == make_teacher().answer_triplets(videos, around).closer_second.tolist() == [0, 1, 1, 1]
    assert make_teacher().answer_pairs(videos, pairs).prefers_right.tolist() == [1, 0, 0, 1]
    with pytest.raises(UserError, match="pairs_by is luck; valid are return, likeness"):
        make_teacher(pairs_by="luck")
