"""Rankings and thumbs: losses on hand values, what follows from an answer, who answers, and that rewards learn."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import softplus

from pbrl.data.episodes import Episode
from pbrl.data.lists import Lists
from pbrl.question_kinds import Choice, Rating
from pbrl.rewards.losses.ranking import LambdaRank, PlackettLuce
from pbrl.rewards.losses.thumbs import Thumbs
from pbrl.rewards.objective import Objective
from pbrl.rewards.partial_return import PartialReturn
from pbrl.rewards.pessimism import Mean
from pbrl.teachers.scripted import ScriptedTeacher
from pbrl.types import Segments

ONES = torch.ones(1, 1)


def scores(k, lists=5, members=2, seed=0):
    return torch.randn(members, lists, k, generator=torch.Generator().manual_seed(seed))


def test_a_ranking_of_two_is_a_comparison():
    s = scores(2)
    expected = bce(s[..., 0] - s[..., 1], torch.ones(2, 5), reduction="none")
    torch.testing.assert_close(PlackettLuce(items=2).of_lists(s, torch.ones(2, 5)), expected)
    proportional = LambdaRank(items=2).of_lists(s, torch.ones(2, 5)) / expected
    torch.testing.assert_close(proportional, torch.full((2, 5), 1 - 1 / math.log2(3)))


def test_the_probabilities_of_all_rankings_sum_to_one():
    s = scores(4, lists=1, members=1)
    each = [PlackettLuce(items=4).of_lists(s[..., list(order)], ONES) for order in itertools.permutations(range(4))]
    assert float(torch.exp(-torch.cat(each)).sum()) == pytest.approx(1, abs=1e-5)
    best = sum(
        torch.exp(-PlackettLuce(items=4).of_lists(s[..., [2, *rest]], ONES))
        for rest in itertools.permutations((0, 1, 3))
    )
    assert float(best) == pytest.approx(float(s.softmax(-1)[0, 0, 2]), abs=1e-5)  # the best is chosen by softmax


def test_lambda_weights_by_hand():
    s = torch.tensor([[[0.0, 2.0, 1.0]]])  # the best of three has the lowest score: places 3, 1, 2
    gain, discount = (1, math.sqrt(2) - 1, 0), (1 / 2, 1, 1 / math.log2(3))
    expected = sum(
        abs(gain[i] - gain[j]) * abs(discount[i] - discount[j]) * math.log1p(math.exp(s[0, 0, j] - s[0, 0, i]))
        for i, j in ((0, 1), (0, 2), (1, 2))
    )
    assert float(LambdaRank(items=3).of_lists(s, ONES)) == pytest.approx(expected, rel=1e-5)


def test_thumbs_are_judged_by_the_distance_from_the_running_mean():
    loss = Thumbs(rate=1.0)
    found = loss.of_lists(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(found, torch.full((1, 2), float(softplus(torch.tensor(-1.0)))))
    assert loss.facts() == {"shift": 2.0}
    slow = Thumbs(rate=0.1)
    for _ in range(200):
        slow.of_lists(torch.full((3, 4, 1), 7.0), torch.ones(3, 4))
    assert slow.facts()["shift"] == pytest.approx(7, abs=1e-4)


def segments(rewards, seed=0):
    """(n, T) true rewards; the observation shows them."""
    n, steps = rewards.shape
    return Segments(
        obs=torch.nn.functional.pad(rewards, (0, 1))[..., None],
        actions=torch.zeros(n, steps, 1),
        mask=torch.ones(n, steps),
        terminated=torch.zeros(n, steps),
        true_reward=rewards,
        ids=torch.arange(n),
    )


def items(n, k, steps=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return tuple(segments(torch.randn(n, steps, generator=rng)) for _ in range(k))


def teacher(**changes):
    numbers = {"beta": None, "gamma": 1.0, "mistake": 0.0, "skip": 0.0, "equal": 0.0}
    numbers |= {"scale_beta": False, "bpref_compat": False} | changes
    return ScriptedTeacher(**numbers, rng=torch.Generator().manual_seed(0))


def test_the_oracle_ranks_by_return_and_lists_have_the_best_first():
    shown = items(6, 4)
    told = teacher().judge(Choice(shown))
    assert told.answered.all()
    lists = PlackettLuce(items=4).read(Choice(shown), told.order)
    returns = torch.stack([item.true_reward.sum(1) for item in lists.items])
    assert (returns[:-1] > returns[1:]).all()
    expected = torch.stack([item.true_reward.sum(1) for item in shown]).sort(0, descending=True).values
    torch.testing.assert_close(returns, expected)
    pairs = lists.pairs()
    assert len(pairs) == 6 * 6
    assert (pairs.left.true_reward.sum(1) > pairs.right.true_reward.sum(1)).all()
    assert (pairs.prefers_right == 0).all()
    some = lists[torch.tensor([4, 1])]
    torch.testing.assert_close(some.items[2].obs, lists.items[2].obs[[4, 1]])


def test_a_boltzmann_teacher_picks_the_best_by_softmax():
    shown = tuple(segments(torch.full((20000, 1), value)) for value in (0.0, 0.5, 1.0))
    first = teacher(beta=2.0).judge(Choice(shown)).order[:, 0]
    found = torch.bincount(first, minlength=3) / 20000
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 2.0]).softmax(0), atol=0.015, rtol=0)


def test_a_mistake_swaps_two_neighbours():
    shown = items(50, 4)
    right, wrong = (teacher(mistake=m).judge(Choice(shown)).order for m in (0.0, 1.0))
    moved = [torch.nonzero(row).flatten().tolist() for row in right != wrong]
    assert all(len(row) == 2 and row[1] == row[0] + 1 for row in moved)
    assert {row[0] for row in moved} == {0, 1, 2}


def test_thumbs_are_up_above_the_median_of_recent_segments():
    one = teacher()
    reward = torch.arange(30.0).numpy()  # windows of 3 sum to 3, 12, ..., 84, whose median is 43.5
    one.observe([Episode(torch.zeros(31, 1).numpy(), torch.zeros(30, 1).numpy(), reward, False)])
    shown = segments(torch.tensor([[14.0, 14.0, 14.0], [15.0, 15.0, 15.0]]))
    assert one.judge(Rating(shown, scale="thumbs", low=0.0, high=1.0)).rating.tolist() == [0, 1]
    assert one.judge(Rating(shown, scale="thumbs", low=-2.0, high=2.0)).rating.tolist() == [-2, 2]


def test_each_good_one_is_compared_with_a_bad_one():
    shown = segments(torch.arange(5.0)[:, None])
    pairs = Lists(shown, torch.tensor([1.0, 0.0, 1.0, 0.5, 1.0]), 1).pairs()
    assert pairs.left.ids.tolist() == [0, 2, 4]
    assert pairs.right.ids.tolist() == [1, 1, 1]
    assert len(Lists(shown, torch.ones(5), 1).pairs()) == 0


@pytest.mark.parametrize("loss", [PlackettLuce(items=4), LambdaRank(items=4), Thumbs(rate=0.05)])
def test_rewards_are_learned_from_lists(loss):
    objective = Objective(loss=loss, pessimism=Mean(), score="sum", annotators="alike", calibrate=False)
    model = PartialReturn(
        obs_size=1, action_size=1, members=2, hidden=(16,), activation="relu", head="linear", normalise=False, lr=1e-2,
        smoothing=0.0, crop=None, precision="float32", rng=torch.Generator().manual_seed(0),
    )  # fmt: skip
    shown = items(64, loss.items)
    if loss.items == 1:
        told = (shown[0].true_reward.sum(1) > 0).float()
        lists = loss.read(Rating(shown[0], scale="thumbs", low=0.0, high=1.0), told[:, None])
    else:
        lists = loss.read(Choice(shown), teacher().judge(Choice(shown)).order)
    both = torch.arange(64).repeat(2)  # the same for each member
    first = objective.update(model, lists[both])
    for _ in range(300):
        last = objective.update(model, lists[both])
    assert last["loss"] < first["loss"]
    fresh = segments(torch.randn(200, 3, generator=torch.Generator().manual_seed(9)))
    score, true = model.score(fresh).detach().mean(0), fresh.true_reward.sum(1)
    assert float(torch.corrcoef(torch.stack([score, true]))[0, 1]) > 0.9
