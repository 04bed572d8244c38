import dataclasses

import numpy as np
import pytest
import torch

from pbrl.errors import UserError
from pbrl.question_kinds import Choice, ChoiceAnswers, EpisodePair, Rating, SegmentPair, Triplet
from pbrl.questions import Question
from pbrl.types import Segments


def make_segments(n=3, steps=4, first=0, obs=2):
    values = torch.arange(first, first + n * (steps + 1) * obs, dtype=torch.float32)
    return Segments(
        obs=values.reshape(n, steps + 1, obs),
        actions=torch.full((n, steps, 1), 0.5),
        mask=torch.ones(n, steps),
        terminated=torch.zeros(n, steps),
        true_reward=torch.ones(n, steps),
        ids=torch.arange(n) + first,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SegmentPair(make_segments(3), make_segments(2)), "right has 2 segments of 4 steps, expected 3 of 4"),
        (lambda: Triplet(*[make_segments()] * 2, make_segments(3, 5)), "second has 3 segments of 5 steps"),
        (lambda: Choice((make_segments(),)), "has 1 items, expected at least 2"),
        (lambda: SegmentPair(*[make_segments()] * 2, np.zeros((3, 5, 1))), "states are given for 1 of 2 items"),
        (
            lambda: Rating(make_segments(), "stars", 1, 5, (np.zeros((3, 4, 1)),)),
            r"segment_states has shape \(3, 4, 1\), expected \(3, 5, D\)",
        ),
    ],
)
def test_items_that_do_not_fit_together_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SegmentPair(*[make_segments()] * 2, criterion=" "), "criterion=' '; valid is text"),
        (lambda: Choice((make_segments(),) * 2, "bets"), "wanted='bets'; valid are best, worst, .* did you mean best"),
        (lambda: Rating(make_segments(), "", 1, 5), "scale=''; valid is text"),
        (lambda: Rating(make_segments(), "stars", 5, 5), "from 5 to 5; valid are finite low < high"),
        (lambda: Rating(make_segments(), "stars", 1, float("nan")), "from 1 to nan"),
    ],
)
def test_what_cannot_be_asked_is_one_line(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_rows_of_parts_are_rows_of_the_whole():
    items = tuple(make_segments(first=100 * i) for i in range(3))
    whole = Choice(items, "worst", tuple(np.full((3, 5, 2), i) for i in range(3)), criterion="speed")
    again = Choice.cat([whole[[0]], whole[[2, 1]]])[[0, 2, 1]]
    assert again.form == whole.form
    assert again.hashes() == whole.hashes()
    for one, other in zip(again.item_states, whole.item_states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_questions_that_ask_different_things_are_no_batch():
    segments = make_segments()
    usual = SegmentPair(segments, segments)
    for other in (dataclasses.replace(usual, criterion="speed"), EpisodePair(segments, segments)):
        assert other.form != usual.form
        with pytest.raises(UserError, match="2 forms cannot be one batch"):
            SegmentPair.cat([usual, other])
    assert Rating(segments, "stars", 1, 5).form == Rating(segments, "stars", 1.0, 5.0).form
    assert Rating(segments, "stars", 1, 5).form != Rating(segments, "stars", 0, 5).form


def test_episodes_of_different_lengths_are_padded_to_the_longest_and_stay_the_same():
    short, long = (EpisodePair(*(make_segments(2, t, first) for first in (0, 90))) for t in (3, 7))
    both = EpisodePair.cat([short, long])
    assert both.left.mask.sum(1).tolist() == [3, 3, 7, 7]
    assert both.left.obs[0, 3:].tolist() == [short.left.obs[0, 3].tolist()] * 5
    assert both.right.actions[:2, 3:].abs().sum() == both.right.true_reward[:2, 3:].sum() == 0
    assert both.hashes() == short.hashes() + long.hashes()
    states = EpisodePair(short.left, short.right, np.arange(8.0).reshape(2, 4, 1), np.zeros((2, 4, 1))).padded(5)
    assert states.left_states[:, :, 0].tolist() == [[0, 1, 2, 3, 3, 3], [4, 5, 6, 7, 7, 7]]


@pytest.mark.parametrize(
    ("wanted", "order", "wrong"),
    [
        ("ranking", [2, 0, 1], False),
        ("ranking", [2, 0, 2], True),
        ("ranking", [3, 0, 1], True),
        ("ranking", [-1, 0, 1], True),
        ("ranking", [0.5, 0, 1], True),
        ("ranking", [float("nan"), 0, 1], True),
        ("best", [2], False),
        ("best_and_worst", [1, 0], False),
        ("best_and_worst", [1, 1], True),
    ],
)
def test_an_order_names_different_items(wanted, order, wrong):
    question = Choice((make_segments(),) * 3, wanted)
    assert Choice.answer_shape(question.form) == (len(order),)
    assert Choice.wrong(np.array([order], float), question.form).tolist() == [[wrong]]


def test_answers_come_back_as_they_were_told_and_skips_are_marked():
    form = Choice((make_segments(),) * 3).form
    answers = Choice.make_answers([(2, 0, 1), None], form)
    assert isinstance(answers, ChoiceAnswers)
    assert answers.order.tolist() == [[2, 0, 1], [-1, -1, -1]]
    assert answers.order.dtype == torch.long
    rating = Rating.make_answers([None, (4.5,)], Rating(make_segments(), "stars", 1, 5).form)
    assert rating.answered.tolist() == [False, True]
    assert rating.rating[0].isnan()
    assert rating.rating[1] == 4.5


def test_a_kind_of_ones_own_is_known_by_its_name_and_a_taken_name_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Surprise(Rating):
        kind = "surprise_of_this_test"

    try:
        assert Surprise(make_segments(), "bits", 0, 1).form.type is Surprise
        with pytest.raises(ValueError, match="two classes are questions of kind 'rating'"):

            class Other(Rating):
                pass
    finally:
        del Question.kinds["surprise_of_this_test"]
