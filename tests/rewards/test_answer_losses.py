"""Losses on answers, against closed forms and enumeration."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from pbrl.rewards.losses.co_teaching import CoTeaching
from pbrl.rewards.losses.em import FlipEM
from pbrl.rewards.losses.strength import Margin, SoftLabels
from pbrl.rewards.losses.unbiased import Unbiased


def gains(members=2, pairs=6, seed=0):
    return 2 * torch.randn(members, pairs, generator=torch.Generator().manual_seed(seed))


ANSWERS = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0, 0.75]).expand(2, -1)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.45])
def test_the_unbiased_loss_is_the_clean_one_on_average_over_flips(rate):
    loss = Unbiased(flip_rate=rate)
    told = (1 - rate) * loss(gains(), ANSWERS) + rate * loss(gains(), 1 - ANSWERS)
    torch.testing.assert_close(told, bce(gains(), ANSWERS, reduction="none"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [-0.1, 0.5, 0.7, math.nan, "half", True])
def test_answers_that_are_wrong_half_the_time_or_more_say_nothing(rate):
    with pytest.raises(ValueError, match=r"flip_rate=.*: expected a probability of at least 0 and below 0.5"):
        Unbiased(flip_rate=rate)
    with pytest.raises(ValueError, match="flip_rate"):
        CoTeaching(flip_rate=rate, ramp=1)
    with pytest.raises(ValueError, match="flip_rate"):
        FlipEM(flip_rate=rate, rate=0.1)


def test_the_weight_of_an_answer_is_its_posterior():
    loss = FlipEM(flip_rate=0.3, rate=1.0)
    says = torch.tensor([[math.log(0.8 / 0.2), math.log(0.2 / 0.8)]])  # p = 0.8 and 0.2 of the right one
    right = 0.8 * 0.7 / (0.8 * 0.7 + 0.2 * 0.3), 0.2 * 0.7 / (0.2 * 0.7 + 0.8 * 0.3)
    torch.testing.assert_close(loss.weights(says, torch.ones(1, 2)), torch.tensor([right]))
    swapped = loss.weights(-says, torch.zeros(1, 2))
    torch.testing.assert_close(swapped, torch.tensor([right]))
    found = loss(says, torch.ones(1, 2))
    expected = [-w * math.log(p) - (1 - w) * math.log(1 - p) for w, p in zip(right, (0.8, 0.2), strict=True)]
    torch.testing.assert_close(found, torch.tensor([expected]))
    assert loss.facts()["flip_rate"] == pytest.approx(1 - sum(right) / 2)  # rate 1 takes the batch's own


def test_ties_say_nothing_about_flips_and_stay_ties():
    loss = FlipEM(flip_rate=0.3, rate=1.0)
    torch.testing.assert_close(
        loss(gains(), torch.full((2, 6), 0.5)), bce(gains(), torch.full((2, 6), 0.5), reduction="none")
    )
    assert loss.facts()["flip_rate"] == pytest.approx(0.3)


def test_em_finds_the_share_of_wrong_answers_and_which_they_are():
    rng = torch.Generator().manual_seed(0)
    n, rate = 2000, 0.3
    features = torch.randn(n, 4, generator=rng)
    truth = (features @ torch.tensor([1.0, -2.0, 0.5, 3.0]) > 0).float()  # separable, were it not for the flips
    flipped = torch.rand(n, generator=rng) < rate
    told = torch.where(flipped, 1 - truth, truth)
    weights = torch.zeros(4, requires_grad=True)
    loss, optimizer = FlipEM(flip_rate=0.1, rate=0.05), torch.optim.Adam([weights], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        loss((features @ weights)[None], told[None]).mean().backward()
        optimizer.step()
    sd = math.sqrt(rate * (1 - rate) / n)
    assert loss.facts()["flip_rate"] == pytest.approx(float(flipped.float().mean()), abs=4 * sd)
    believed = loss.weights((features @ weights).detach()[None], told[None])[0]
    right = ((believed < 0.5) == flipped).float().mean()
    assert right > 0.95


def test_each_member_learns_what_the_other_explains_best_and_nothing_else():
    loss = CoTeaching(flip_rate=0.4, ramp=1)
    loss.steps = 1  # the ramp is over: 3 of 5 are kept
    gain = gains(pairs=5).requires_grad_()
    peers = torch.tensor([[3.0, -3.0, 2.0, -2.0, 1.0], [-1.0, 5.0, -5.0, 4.0, 3.0]])
    loss(gain, torch.ones(2, 5), peers).mean().backward()
    kept = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 0, 1, 1]]).bool()
    expected = (torch.sigmoid(gain.detach()) - 1) / 3 / 2 * kept  # of the mean over 3 pairs and 2 members
    torch.testing.assert_close(gain.grad, expected)


def test_the_share_that_is_left_out_grows_to_the_flip_rate():
    loss, shares = CoTeaching(flip_rate=0.4, ramp=4), []
    for _ in range(7):
        shares.append(loss.facts()["kept"])
        loss(gains(), ANSWERS, gains(seed=1))
    assert shares == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6])


def test_the_margin_is_whole_for_a_clear_answer_and_half_for_a_slight_one():
    target = torch.tensor([[1.0, 0.75, 0.0, 0.25, 0.5]])
    found = Margin(margin=1.0)(torch.tensor([[2.0, 2.0, -2.0, -2.0, 2.0]]), target)
    clear, slight = math.log1p(math.exp(-1)), math.log1p(math.exp(-1.5))
    torch.testing.assert_close(found, torch.tensor([[clear, slight, clear, slight, math.log(2 * math.cosh(1))]]))


def test_soft_labels_are_straight_lines_through_a_tie_slight_and_clear():
    given = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 0.875])
    torch.testing.assert_close(SoftLabels(slight=0.75, clear=1.0).soft(given), given)
    expected = torch.tensor([0.1, 0.4, 0.5, 0.6, 0.9, 0.75])
    torch.testing.assert_close(SoftLabels(slight=0.6, clear=0.9).soft(given), expected)
    gain = torch.tensor([[math.log(0.9 / 0.1)]], requires_grad=True)
    SoftLabels(slight=0.6, clear=0.9)(gain, torch.ones(1, 1)).mean().backward()
    assert float(gain.grad) == pytest.approx(0, abs=1e-6)  # a clear answer is worth odds of 9 to 1
    with pytest.raises(ValueError, match=r"slight=0.9: expected at most clear=0.8"):
        SoftLabels(slight=0.9, clear=0.8)
