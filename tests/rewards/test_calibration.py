import math

import pytest
import torch

from pbrl.rewards.calibration import calibration, expected_calibration_error, fit_temperature


def odds(*probabilities):
    return torch.tensor([math.log(p / (1 - p)) for p in probabilities])


def test_the_error_of_hand_values():
    assert expected_calibration_error(odds(0.9, 0.9), torch.tensor([1.0, 0.0])) == pytest.approx(0.4)
    two_bins = expected_calibration_error(odds(0.92, 0.92, 0.62), torch.tensor([1.0, 1.0, 0.5]))
    assert two_bins == pytest.approx((2 * 0.08 + 0.12) / 3, abs=1e-6)
    assert expected_calibration_error(odds(0.5, 0.5), torch.tensor([1.0, 0.0])) == pytest.approx(0)
    assert math.isnan(expected_calibration_error(torch.zeros(0), torch.zeros(0)))


def test_the_error_does_not_know_left_from_right():
    gain, told = torch.randn(50), torch.rand(50).round()
    same = expected_calibration_error(-gain, 1 - told)
    assert expected_calibration_error(gain, told) == pytest.approx(same)


def drawn(n=4000):
    rng = torch.Generator().manual_seed(0)
    gain = 2 * torch.randn(n, generator=rng)
    return gain, (torch.rand(n, generator=rng) < torch.sigmoid(gain)).float()


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 3.0])
def test_the_temperature_is_by_how_much_scores_are_too_sure(too_sure):
    gain, told = drawn()
    assert fit_temperature(too_sure * gain, told) == pytest.approx(too_sure, rel=0.1)


def test_a_temperature_brings_the_error_down_and_leaves_the_order():
    gain, told = drawn()
    found = calibration(3 * gain, told)
    assert found["ece"] > 0.1 > 0.03 > found["calibrated_ece"]
    assert found["calibrated_loss"] < torch.nn.functional.binary_cross_entropy_with_logits(3 * gain, told)


def test_what_is_no_better_than_chance_ends_near_the_loss_of_a_coin():
    gain, told = drawn()
    found = calibration(3 * gain, told[torch.randperm(len(told), generator=torch.Generator().manual_seed(1))])
    assert found["temperature"] > 15
    assert found["calibrated_loss"] == pytest.approx(math.log(2), abs=0.03)


def test_a_handful_of_foreseen_answers_is_no_reason_to_be_sure_of_all():
    assert 0.2 < fit_temperature(torch.ones(5), torch.ones(5)) < 1
    assert fit_temperature(torch.zeros(0), torch.zeros(0)) == 1
    assert fit_temperature(torch.zeros(3), torch.ones(3)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_scores_that_are_not_finite_have_no_calibration(wrong):
    found = calibration(torch.tensor([1.0, wrong, 2.0]), torch.tensor([1.0, 0.0, 1.0]))
    assert math.isnan(found["ece"])
    assert math.isnan(found["temperature"])
