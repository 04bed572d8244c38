import math

import pytest
import torch

from pbrl.losses import bradley_terry_loss, preference_accuracy, smooth_labels


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
    prefers_right = torch.tensor([1.0, 1.0, 0.5, 0.2, 0.0])  # right, wrong, tie, right, right: equal is not greater
    assert float(preference_accuracy(left, right, prefers_right)) == 0.75
    assert preference_accuracy(left, right, torch.full((5,), 0.5)).isnan()
