"""Reward learning by successor features: gradients, identities, and what each model can and cannot find."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pbrl.losses import bradley_terry_loss
from pbrl.tabular import (
    MODELS,
    MOVES,
    FitSettings,
    GridSegments,
    delivery_world,
    fit_reward,
    load_board,
    policy_library,
    preference_labels,
    random_segments,
    random_world,
    scaled_return,
    scaled_returns,
)
from pbrl.tabular.library import GAMMA, successor_features
from pbrl.tabular.planning import optimal_values
from pbrl.tabular.reward_fit import PairFeatures, fit_rewards, loss_and_gradient, near_best

_, _, LEFT, RIGHT = MOVES.tolist()

SHORT = FitSettings(iterations=200, learning_rate=2.0, policies=20)


@pytest.fixture(scope="module")
def world():
    return random_world(1002)  # 10 x 6, with sheep, coins and road blocks


@pytest.fixture(scope="module")
def pairs(world):
    rng = np.random.default_rng(0)
    return random_segments(world, 300, 3, rng), random_segments(world, 300, 3, rng)


def test_no_policy_of_the_library_is_above_the_optimum(world):
    library = policy_library(world, 0)
    rng = np.random.default_rng(1)
    for weights in rng.choice(world.reward_choices, (20, 6)):
        best = optimal_values(world.next_state, world.features @ weights, GAMMA)
        assert ((library.successor_features @ weights).max(-1) <= best + 1e-6).all()


def test_the_library_has_no_policy_twice_and_not_the_true_one(world):
    psi = policy_library(world, 0).successor_features.transpose(1, 0, 2)  # (P, S, F)
    flat = psi.reshape(len(psi), -1)
    gaps = np.abs(flat[:, None] - flat).max(-1) + np.eye(len(flat))
    assert gaps.min() > 1e-7
    truth = successor_features(world, world.weights)
    assert np.abs(psi - truth).max((1, 2)).min() > 1e-7


def test_a_library_is_made_once_for_a_seed_and_size(world):
    assert policy_library(world, 0) is policy_library(world, 0)
    assert policy_library(world, 1) is not policy_library(world, 0)
    assert policy_library(world, 0, policies=7).successor_features.shape[1] <= 7
    again = policy_library(replace(world, libraries={}), 0)
    np.testing.assert_array_equal(again.successor_features, policy_library(world, 0).successor_features)


@pytest.mark.parametrize("temperature", [0.0, 0.001, 5.0])
def test_loss_and_gradient_are_those_of_autograd(world, pairs, temperature):
    rng = np.random.default_rng(2)
    psi = policy_library(world, 0, 20).successor_features
    data = PairFeatures.of(world, *pairs, psi)
    prefers_right = rng.choice([0, 0.5, 1], (3, len(pairs[0])))
    weights = rng.normal(size=(3, 6)) * 0.1
    loss, gradient = loss_and_gradient(weights, data, prefers_right, temperature)

    w = torch.tensor(weights, requires_grad=True)
    scores = []
    for segments in pairs:
        states, actions = world.walk(segments.starts, segments.moves)
        phi = torch.tensor(world.features[states[:, :-1], actions].sum(1))
        q = torch.einsum("npf,ef->enp", torch.tensor(psi[states[:, [0, -1]].ravel()]), w)
        best = (torch.softmax(q / temperature, -1) * q).sum(-1) if temperature else q.max(-1).values
        scores.append(w @ phi.T + best[:, 1::2] - best[:, ::2])
    total = bradley_terry_loss(scores[0], scores[1], torch.tensor(prefers_right)) * 3  # the mean is over fits too
    total.backward()
    np.testing.assert_allclose(loss.sum(), total.item())
    np.testing.assert_allclose(gradient, w.grad, rtol=1e-6, atol=1e-9)


def test_near_best_lies_between_the_mean_and_the_maximum_and_reaches_it_when_cold():
    rng = np.random.default_rng(0)
    psi, weights = rng.normal(size=(5, 4, 3)), rng.normal(size=(2, 3))
    q = np.einsum("upf,ef->eup", psi, weights)
    cold, hard, warm = (near_best(weights, psi, t)[0] for t in (0.001, 0.0, 1.0))
    np.testing.assert_allclose(hard, q.max(-1))
    np.testing.assert_allclose(cold, hard, atol=1e-3)
    assert (warm <= hard).all()
    assert (warm >= q.mean(-1)).all()


@pytest.mark.parametrize("model", MODELS)
def test_swapping_sides_and_labels_changes_nothing(world, pairs, model):
    left, right = pairs
    labels = preference_labels(world, left, right, model, np.random.default_rng(0))
    fit = fit_reward(world, left, right, labels, model, 0, SHORT)
    swapped = fit_reward(world, right, left, 1 - labels, model, 0, SHORT)
    np.testing.assert_allclose(fit.weights, swapped.weights, rtol=1e-6)
    np.testing.assert_allclose(fit.predict_proba(left, right), 1 - swapped.predict_proba(right, left), atol=1e-9)
    # Pairs that are added with swapped sides and labels say the same once more.
    both = [GridSegments(*(np.concatenate(p) for p in zip(*sides, strict=True))) for sides in _sides(left, right)]
    doubled = fit_reward(world, *both, np.concatenate([labels, 1 - labels]), model, 0, SHORT)
    np.testing.assert_allclose(fit.weights, doubled.weights, rtol=1e-6)


def _sides(left, right):
    (a, b), (c, d) = ((s.starts, s.moves) for s in (left, right))
    return ((a, b), (c, d)), ((c, d), (a, b))


def test_fits_in_one_go_do_not_know_of_each_other(world, pairs):
    labels = np.stack([preference_labels(world, *pairs, m) for m in MODELS])
    for model in MODELS:
        together = fit_rewards(world, *pairs, labels, model, 0, SHORT)
        for fitted, row in zip(together, labels, strict=True):
            alone = fit_reward(world, *pairs, row, model, 0, SHORT)
            np.testing.assert_allclose(fitted.weights, alone.weights, rtol=1e-6)
            assert fitted.cross_entropy == pytest.approx(alone.cross_entropy)


@pytest.mark.parametrize("model", MODELS)
def test_cross_entropy_and_probabilities_agree(world, pairs, model):
    labels = preference_labels(world, *pairs, model, np.random.default_rng(0))
    fit = fit_reward(world, *pairs, labels, model, 0, SHORT)
    p = fit.predict_proba(*pairs)
    assert fit.cross_entropy == pytest.approx(-np.mean(np.log(np.where(labels == 1, p, 1 - p))), rel=1e-4)
    assert fit.cross_entropy < np.log(2)
    arrays = [(side.starts, side.moves) for side in pairs]
    np.testing.assert_array_equal(fit_reward(world, *arrays, labels, model, 0, SHORT).predict_proba(*arrays), p)
    assert ((p > 0.5) == (labels > 0.5)).mean() > 0.8


def test_one_pair_that_is_all_there_is_to_know():
    """On a street of road, 70 % for the segment that ends at the goal fit the logit log(0.7 / 0.3)."""
    world = delivery_world(np.array([[0, 0, 1]]))
    one = np.array([[0, 1]])
    left, right = GridSegments(one, np.array([[LEFT]])), GridSegments(one, np.array([[RIGHT]]))
    fit = fit_reward(world, left, right, np.array([0.7]), settings=FitSettings(2000, 0.1))
    assert fit.predict_proba(left, right).item() == pytest.approx(0.7, abs=1e-4)
    assert fit.weights[1] - fit.weights[0] == pytest.approx(np.log(0.7 / 0.3), abs=1e-3)


def test_partial_return_cannot_tell_progress_and_regret_can():
    """Of two segments that collect the same features, partial return cannot prefer one; where they lead decides."""
    world, rng = load_board("sheep_detour"), np.random.default_rng(0)
    left, right = (random_segments(world, 1000, 3, rng) for _ in range(2))
    labels = preference_labels(world, left, right, "regret")
    same = (PairFeatures.of(world, left, right, np.zeros((100, 1, 6))).phi == 0).all(1) & (labels != 0.5)
    assert same.sum() > 300
    blind, sees = (fit_reward(world, left, right, labels, model, 0, FitSettings(600, 2.0)) for model in MODELS)
    np.testing.assert_array_equal(blind.predict_proba(left[same], right[same]), 0.5)
    assert ((sees.predict_proba(left[same], right[same]) > 0.5) == labels[same]).mean() > 0.95


def test_regret_labels_are_explained_by_regret(world):
    rng = np.random.default_rng(5)
    left, right = (random_segments(world, 1000, 3, rng) for _ in range(2))
    labels = preference_labels(world, left, right, "regret")
    fits = {m: fit_reward(world, left, right, labels, m, 0, FitSettings(600, 2.0)) for m in MODELS}
    assert fits["regret"].cross_entropy < 0.15 < 0.4 < fits["partial_return"].cross_entropy
    assert scaled_return(world, fits["regret"].weights) > 0.9


def test_the_seed_decides(world, pairs):
    labels = preference_labels(world, *pairs, "regret")
    first, again, other = (fit_reward(world, *pairs, labels, "regret", s, SHORT).weights for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_table_of_advantages_is_no_reward_unless_absorbing_moves_are_in_the_data():
    """Knox et al., "Learning optimal advantage from preferences and mistaking it for reward"."""
    world = delivery_world(np.array([[0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1]])).with_weight_per_move()
    for absorbing in (True, False):
        rng = np.random.default_rng(0)
        left, right = (random_segments(world, 4000, 3, rng, absorbing=absorbing) for _ in range(2))
        labels = preference_labels(world, left, right, "regret", rng)
        fit = fit_reward(world, left, right, labels, settings=FitSettings(300))
        assert scaled_return(world, fit.weights, planning_gamma=0) == pytest.approx(1)  # greedy: right in both cases
        as_reward = scaled_return(world, fit.weights)
        assert as_reward == pytest.approx(1) if absorbing else as_reward < -5  # in circles for ever


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prefers_right": np.zeros(2)}, r"prefers_right has shape \(2,\), expected \(3,\)"),
        ({"prefers_right": np.array([0, 1, 1.5])}, r"outside \[0, 1\]"),
        ({"prefers_right": np.array([0, 1, np.nan])}, r"outside \[0, 1\]"),
        ({"model": "return"}, "model is 'return', valid are partial_return, regret"),
        ({"right": slice(2)}, "left has 3 segments and right 2"),
        ({"left": slice(0), "right": slice(0), "prefers_right": np.zeros(0)}, "at least one"),
    ],
)
def test_what_cannot_be_fitted(world, pairs, change, said):
    left, right = (side[:3][change.get(name, slice(None))] for name, side in zip(("left", "right"), pairs, strict=True))
    labels = change.get("prefers_right", np.zeros(3))
    with pytest.raises(ValueError, match=said):
        fit_reward(world, left, right, labels, change.get("model", "regret"), 0, SHORT)


def test_scaled_return_is_1_for_the_true_reward_whatever_its_scale_and_0_for_none():
    for name in ("town", "two_goals"):
        world = load_board(name)
        weights = np.stack([world.weights, 100 * world.weights, 0.001 * world.weights, 0 * world.weights])
        np.testing.assert_allclose(scaled_returns(world, weights), [1, 1, 1, 0], atol=1e-9)
        assert scaled_return(world, -world.weights) < 0


def test_scaled_return_of_a_street_by_hand():
    """One cell of road beside the goal: random moves stay with 3/4, so V = (-3/4 + 50/4) / (1 - 3/4 gamma)."""
    world = delivery_world(np.array([[0, 1]]))
    random = (-0.75 + 12.5) / (1 - 0.75 * 0.999)
    stays = -1 / (1 - 0.999)
    assert scaled_return(world, np.array([1.0, 0, 0, 0, 0, 0])) == pytest.approx((stays - random) / (50 - random))


def test_scaled_return_needs_something_to_gain():
    from pbrl.errors import UserError

    with pytest.raises(UserError, match="random moves are optimal"):
        scaled_return(delivery_world(np.array([[0]])), np.ones(6))
    with pytest.raises(ValueError, match=r"weights has shape \(1, 5\), expected \(E, 6\)"):
        scaled_return(load_board("town"), np.ones(5))
