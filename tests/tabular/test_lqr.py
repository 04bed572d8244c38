"""Facts about the regulator, and that CPL is consistent on it exactly where its theory says."""

import numpy as np
import pytest

from pbrl.tabular.lqr import LQR, LinearSegments, fit_bc, fit_cpl

PAIRS, LENGTH, NOISE = 2000, 16, 0.5
Pair = tuple[LinearSegments, LinearSegments]


@pytest.fixture(scope="module")
def lqr() -> LQR:
    return LQR.double_integrator()


@pytest.fixture(scope="module", params=[0, 1, 2])
def pairs(lqr: LQR, request: pytest.FixtureRequest) -> Pair:
    """Of a behaviour that does half of what is best."""
    rng = np.random.default_rng(request.param)
    left, right = (lqr.roll_out(lqr.gain / 2, NOISE, PAIRS, LENGTH, rng) for _ in range(2))
    return left, right


def boltzmann(gain: np.ndarray) -> np.ndarray:
    return (np.random.default_rng(1).random(len(gain)) < 1 / (1 + np.exp(-gain))).astype(float)


def test_value_is_the_return_of_the_best_policy(lqr: LQR) -> None:
    segments = lqr.roll_out(lqr.gain, 0.0, 5, 400, np.random.default_rng(0))
    np.testing.assert_allclose(lqr.value(segments.states[:, 0]), lqr.partial_return(segments), rtol=1e-6)


def test_regret_telescopes(lqr: LQR, pairs: Pair) -> None:
    segments = pairs[0]
    telescoped = lqr.partial_return(segments) + lqr.value(segments.states[:, -1]) - lqr.value(segments.states[:, 0])
    np.testing.assert_allclose(lqr.negated_regret(segments), telescoped, atol=1e-9)


def test_best_actions_have_no_regret(lqr: LQR) -> None:
    segments = lqr.roll_out(lqr.gain, 0.0, 5, 50, np.random.default_rng(0))
    np.testing.assert_allclose(lqr.negated_regret(segments), 0, atol=1e-12)


def test_cpl_finds_the_best_gain_from_boltzmann_regret(lqr: LQR, pairs: Pair) -> None:
    labels = boltzmann(lqr.negated_regret(pairs[1]) - lqr.negated_regret(pairs[0]))
    alpha = float(lqr.curvature[0, 0])  # A* = alpha log pi then holds exactly for the best gain
    assert lqr.gain_error(fit_cpl(*pairs, labels, alpha=alpha, bias=1.0)) < 0.05


def test_bias_pulls_towards_cloning(lqr: LQR, pairs: Pair) -> None:
    labels = boltzmann(lqr.negated_regret(pairs[1]) - lqr.negated_regret(pairs[0]))
    biased = fit_cpl(*pairs, labels, alpha=float(lqr.curvature[0, 0]), bias=0.5)
    assert 0.05 < lqr.gain_error(biased) < 0.5


def test_bc_copies_the_behaviour(lqr: LQR, pairs: Pair) -> None:
    assert lqr.gain_error(fit_bc(pairs[0])) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("sure", [True, False])
def test_cpl_on_return_labels_is_worse_than_cloning(lqr: LQR, pairs: Pair, sure: bool) -> None:
    gain = lqr.partial_return(pairs[1]) - lqr.partial_return(pairs[0])
    labels, alpha = ((gain > 0).astype(float), 0.1) if sure else (boltzmann(gain), float(lqr.curvature[0, 0]))
    assert lqr.gain_error(fit_cpl(*pairs, labels, alpha=alpha, bias=1.0)) > lqr.gain_error(fit_bc(pairs[0]))


def test_more_comparisons_bring_cpl_closer(lqr: LQR) -> None:
    errors = []
    for n in (200, 20_000):
        rng = np.random.default_rng(5)
        left, right = (lqr.roll_out(lqr.gain / 2, NOISE, n, LENGTH, rng) for _ in range(2))
        labels = boltzmann(lqr.negated_regret(right) - lqr.negated_regret(left))
        errors.append(lqr.gain_error(fit_cpl(left, right, labels, alpha=float(lqr.curvature[0, 0]), bias=1.0)))
    assert errors[1] < min(errors[0], 0.02)
