"""How long a bench will take."""

import math

import pytest

from pbrl.bench.estimate import _extrapolate, spread


def test_a_pair_that_was_not_measured_is_the_product_of_what_was():
    known = {("a", "x"): 10.0, ("a", "y"): 40.0, ("b", "x"): 20.0}
    assert spread(known, {("b", "y")})["b", "y"] == pytest.approx(80)


def test_what_was_measured_stays_as_it_is():
    known = {("a", "x"): 10.0, ("a", "y"): 40.0, ("b", "x"): 20.0, ("b", "y"): 1000.0}
    assert spread(known, {("b", "y"), ("a", "x")}) == known


def test_a_name_measured_nowhere_costs_what_the_others_cost():
    assert spread({("a", "x"): 10.0, ("a", "y"): 40.0}, {("b", "x")})["b", "x"] == pytest.approx(10, rel=0.5)
    assert spread({}, {("b", "x")}) == {}


def test_the_later_half_of_what_was_seen_goes_on():
    rows = [(100.0, 0.1), (200.0, 0.2), (300.0, 1.2), (400.0, 2.2)]  # slow from step 200 on: learning has begun
    assert _extrapolate(rows, steps=1300, wall_s=5.0) == pytest.approx(5.0 + 900 / 100)
    assert _extrapolate([(1.0, 50.0), (3.0, 51.0)], steps=13, wall_s=60.0) == pytest.approx(65.0)  # a start of 50 s
    assert _extrapolate([(100.0, 2.0)], steps=200, wall_s=3.0) == pytest.approx(5.0)
    assert _extrapolate([], steps=200, wall_s=3.0) is None
    assert math.isfinite(_extrapolate([(200.0, 1.0)], steps=200, wall_s=2.0))
