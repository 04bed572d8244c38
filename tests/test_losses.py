import math

import pytest
import torch

from pbrl.losses import (
    bradley_terry_loss,
    cpl_loss,
    discounted_sum,
    divergence_score,
    expectile_square,
    ipo_loss,
    preference_accuracy,
    ranked_cpl_loss,
    smooth_labels,
)


def draw(seed=0):
    rng = torch.Generator().manual_seed(seed)
    left, right = torch.randn(2, 3, 7, generator=rng, dtype=torch.float64)
    return left, right, torch.rand(7, generator=rng, dtype=torch.float64)


def test_bradley_terry_by_hand():
    # P(right) = e^3 / (e^1 + e^3); the label says right with 0.8
    p = math.exp(3) / (math.exp(1) + math.exp(3))
    loss = bradley_terry_loss(torch.tensor([[1.0]]), torch.tensor([[3.0]]), torch.tensor([0.8]))
    assert float(loss) == pytest.approx(-0.8 * math.log(p) - 0.2 * math.log(1 - p))


def test_bradley_terry_gradient_is_probability_minus_label():
    left, right, label = draw()
    right.requires_grad_()
    bradley_terry_loss(left, right, label).backward()
    torch.testing.assert_close(right.grad, (torch.sigmoid(right - left) - label).detach() / right.numel())


@pytest.mark.parametrize("label", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equal_scores_cost_log_2_whatever_the_label(label, smoothing):
    loss = bradley_terry_loss(torch.full((2, 1), 5.0), torch.full((2, 1), 5.0), torch.tensor([label]), smoothing)
    assert float(loss) == pytest.approx(math.log(2))


def test_a_tie_pulls_the_scores_together():
    score = torch.tensor([[2.0]], requires_grad=True)
    bradley_terry_loss(torch.zeros(1, 1), score, torch.tensor([0.5])).backward()
    assert score.grad > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_swapping_sides_and_label_changes_nothing(smoothing):
    left, right, label = draw()
    swapped = bradley_terry_loss(right, left, 1 - label, smoothing)
    torch.testing.assert_close(bradley_terry_loss(left, right, label, smoothing), swapped)


def test_a_constant_added_to_both_scores_changes_nothing():
    left, right, label = draw()
    torch.testing.assert_close(bradley_terry_loss(left + 3, right + 3, label), bradley_terry_loss(left, right, label))


def test_labels_of_each_member_are_its_own():
    left, right, _ = draw()
    labels = torch.rand(3, 7, dtype=torch.float64)
    alone = [bradley_terry_loss(left[[e]], right[[e]], labels[e]) for e in range(3)]
    torch.testing.assert_close(bradley_terry_loss(left, right, labels), torch.stack(alone).mean())


def test_smoothing_by_hand():
    torch.testing.assert_close(smooth_labels(torch.tensor([0, 0.5, 0.8, 1]), 0.1), torch.tensor([0.1, 0.5, 0.74, 0.9]))


def test_smoothing_puts_the_best_logit_at_the_odds_of_a_right_label():
    logit = torch.tensor([[math.log(0.9 / 0.1)]], requires_grad=True)
    bradley_terry_loss(torch.zeros(1, 1), logit, torch.tensor([1.0]), smoothing=0.1).backward()
    assert logit.grad.abs() < 1e-7


@pytest.mark.parametrize(("gain", "label", "loss"), [(1000, 1, 0), (1000, 0, 1000), (-1000, 1, 1000), (-1000, 0, 0)])
def test_far_apart_scores_stay_exact(gain, label, loss):
    right = torch.tensor([[float(gain)]], requires_grad=True)
    value = bradley_terry_loss(torch.zeros(1, 1), right, torch.tensor([float(label)]))
    value.backward()
    assert value.item() == loss
    assert right.grad.item() == pytest.approx((gain > 0) - label)


def test_accuracy_counts_decided_comparisons_only():
    left, right = torch.tensor([0.0, 0.0, 0.0, 9.0, 1.0]), torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0])
    prefers_right = torch.tensor([1.0, 1.0, 0.5, 0.2, 0.0])  # right, wrong, tie, right, and equal scores: half right
    assert float(preference_accuracy(left, right, prefers_right)) == 0.625
    assert float(preference_accuracy(right, left, 1 - prefers_right)) == 0.625
    assert preference_accuracy(left, right, torch.full((5,), 0.5)).isnan()


def test_cpl_without_bias_is_bradley_terry():
    left, right, label = draw()
    torch.testing.assert_close(cpl_loss(left[0], right[0], label, 1.0), bradley_terry_loss(left[:1], right[:1], label))


def test_cpl_by_hand():
    # -log e^win / (e^win + e^(bias lose)), the right one won
    expected = -math.log(math.exp(-1) / (math.exp(-1) + math.exp(0.5 * -3)))
    loss = cpl_loss(torch.tensor([-3.0]), torch.tensor([-1.0]), torch.tensor([1.0]), 0.5)
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("bias", [0.25, 1.0])
def test_cpl_does_not_care_for_sides(bias):
    left, right, label = draw()
    torch.testing.assert_close(cpl_loss(left[0], right[0], label, bias), cpl_loss(right[0], left[0], 1 - label, bias))


def test_cpl_bias_pushes_the_loser_less():
    left, right = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    cpl_loss(left, right, torch.ones(1), 0.5).backward()
    assert float(left.grad) == pytest.approx(-0.5 * float(right.grad))


def test_ranked_cpl_is_cpl_over_all_decided_pairs():
    scores = torch.randn(5, dtype=torch.float64)
    order = torch.tensor([3.0, 1.0, 1.0, 2.0, 0.0])
    pairs = [(i, j) for i in range(5) for j in range(5) if order[i] < order[j]]
    lose, win = (scores[list(side)] for side in zip(*pairs, strict=True))
    expected = cpl_loss(lose, win, torch.ones(len(pairs), dtype=torch.float64), 0.5)
    torch.testing.assert_close(ranked_cpl_loss(scores, order, 0.5), expected)


def test_ranked_cpl_of_ties_teaches_nothing():
    scores = torch.randn(4, requires_grad=True)
    ranked_cpl_loss(scores, torch.ones(4), 0.5).backward()
    assert (scores.grad == 0).all()


def test_expectile_minimiser():
    # Of the values 0 and 1, the tau-expectile is tau: tau (1 - m) = (1 - tau) m
    values, m = (
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        torch.tensor(0.7, dtype=torch.float64, requires_grad=True),
    )
    expectile_square(values - m, 0.7).mean().backward()
    assert float(m.grad) == pytest.approx(0, abs=1e-6)


def test_half_expectile_is_half_the_square():
    error = torch.randn(6)
    torch.testing.assert_close(expectile_square(error, 0.5), error.square() / 2)


def test_discounted_sum_of_ones():
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    expected = torch.tensor([(1 - 0.9**3) / 0.1, 1.9])
    torch.testing.assert_close(discounted_sum(torch.ones(2, 3), mask, 0.9), expected)
    torch.testing.assert_close(discounted_sum(torch.full((2, 3), 5.0), mask, 1.0), torch.tensor([15.0, 10.0]))


def test_a_margin_is_what_the_winner_needs_more():
    left, right = torch.tensor([0.0]), torch.tensor([1.0])
    ahead = cpl_loss(left, right, torch.tensor([1.0]), 1.0, 1.0)  # just as far ahead as wanted
    assert ahead.item() == pytest.approx(math.log(2))
    assert cpl_loss(right, left, torch.tensor([0.0]), 1.0, 1.0).item() == pytest.approx(math.log(2))
    pairs = ranked_cpl_loss(torch.tensor([0.0, 1.0]), torch.tensor([3.0, 4.0]), 1.0, 1.0)
    assert pairs.item() == pytest.approx(math.log(2))


def test_the_squared_loss_ends_at_its_gap_where_the_logistic_one_goes_on():
    target = torch.tensor([1.0, 0.0, 0.5])
    left, right = torch.zeros(3), torch.tensor([0.7, -0.7, 0.0], requires_grad=True)
    loss = ipo_loss(left, right, target, gap=0.7)
    loss.backward()
    assert (loss.item(), right.grad.abs().max().item()) == (0, 0)
    assert ipo_loss(left, right.detach() + 1, target, gap=0.7).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("divergence", "f"),
    [
        ("reverse_kl", lambda u: u * u.log()),
        ("forward_kl", lambda u: -u.log()),
        ("jensen_shannon", lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log()),
    ],
)
def test_a_step_scores_the_slope_of_its_divergence(divergence, f):
    u = torch.tensor([0.2, 0.5, 1.0, 3.0], dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(f(u).sum(), u)
    at_one = torch.ones(1, dtype=torch.double, requires_grad=True)
    (least,) = torch.autograd.grad(f(at_one).sum(), at_one)
    torch.testing.assert_close(divergence_score(u.detach().log(), divergence), slope - least)


def test_bounded_divergences_stay_finite():
    far = torch.tensor([-300.0, 300.0])
    assert torch.isfinite(divergence_score(far, "forward_kl")).all()
    assert divergence_score(far, "jensen_shannon")[1].item() == pytest.approx(math.log(2))
