import pytest
import torch

from pbrl.errors import UserError
from pbrl.feedback.triplets import triplets_around, triplets_from_ranking, uniform_pairs, uniform_triplets


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def closer_and_farther(triplets):
    """{(anchor, closer, farther)} of decided triplets."""
    rows = zip(triplets.rows.tolist(), triplets.closer_second.tolist(), strict=True)
    return {(a, s, f) if closer_second else (a, f, s) for (a, f, s), closer_second in rows}


def test_all_triplets_of_four_videos():
    rows = uniform_triplets(4, 12, rng()).tolist()  # 4 anchors, 3 pairs of the others
    assert all(len(set(row)) == 3 for row in rows)
    assert len({(a, frozenset((b, c))) for a, b, c in rows}) == 12


def test_every_video_and_place_is_equally_likely():
    rows = uniform_triplets(20, 3000, rng())  # of 3420
    for place in rows.T:
        assert torch.bincount(place, minlength=20).float() == pytest.approx(150, abs=5.5 * 150**0.5)


def test_pairs_are_different_and_either_side_is_as_likely():
    rows = uniform_pairs(100, 4000, rng())
    assert len({frozenset(row) for row in rows.tolist()}) == 4000
    assert float((rows[:, 0] < rows[:, 1]).float().mean()) == pytest.approx(0.5, abs=5.5 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(
    ("ask", "videos", "n"), [(uniform_triplets, 4, 13), (uniform_triplets, 2, 1), (uniform_pairs, 3, 4)]
)
def test_more_questions_than_there_are(ask, videos, n):
    with pytest.raises(UserError, match=f"{n} different"):
        ask(videos, n, rng())


def test_a_list_around_an_anchor():
    triplets = triplets_around(9, torch.tensor([4, 2, 7]))
    assert closer_and_farther(triplets) == {(9, 4, 2), (9, 4, 7), (9, 2, 7)}


def test_a_ranked_list_anchors_on_the_better_ones():
    triplets = triplets_from_ranking(torch.tensor([5, 3, 8, 1]))
    assert closer_and_farther(triplets) == {(5, 3, 8), (5, 3, 1), (5, 8, 1), (3, 8, 1)}


def test_all_triples_of_a_long_list_and_no_side_gives_the_answer_away():
    triplets = triplets_from_ranking(torch.arange(10))
    assert len(triplets) == 10 * 9 * 8 // 6
    assert 0.4 < float(triplets.closer_second.mean()) <= 0.5


def test_two_ranked_videos_are_too_few():
    with pytest.raises(ValueError, match=r"\(2,\)"):
        triplets_from_ranking(torch.tensor([1, 0]))
