"""Linear rewards learned from comparisons under either preference model, by the successor-feature recipe.

Knox et al., "Models of human preference for learning reward functions" (2024), and the released code. With weights w, a
segment has the score phi . w + V(last state) - V(first state): V is 0 for partial return, and for regret the value of
the best policy of a library, so that no planning is needed while the weights change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import expit

from pbrl.errors import choices
from pbrl.tabular.grid_world import GridWorld
from pbrl.tabular.labels import MODELS, Model
from pbrl.tabular.library import POLICIES, policy_library
from pbrl.tabular.segments import GridSegments, SegmentsLike

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam


class FitSettings(NamedTuple):
    """Numbers of the released code; the scripts of its follow-up paper have 1000 iterations with learning rate 2."""

    iterations: int = 5000  # of Adam, the whole data in each
    learning_rate: float = 0.5
    policies: int = POLICIES  # that are asked of the library
    temperature: float = 0.001  # of the softmax over policies; 0 takes the best one alone


PUBLISHED = FitSettings()


@dataclass(frozen=True)
class FittedReward:
    """A learned reward phi . weights, and the preference model that it was learned under."""

    world: GridWorld
    model: Model
    weights: np.ndarray  # (F,)
    cross_entropy: float  # on the comparisons that it was learned from; log 2 = 0.69 says nothing
    policy_features: np.ndarray  # (S, P, F) of the library; one policy that collects nothing for partial return
    temperature: float

    def score(self, segments: SegmentsLike) -> np.ndarray:
        """Return the statistic (n,) of segments under the learned reward: partial return or (negated) regret."""
        states, phi = _states_and_features(self.world, GridSegments.of(segments))
        [values], _ = near_best(self.weights[None], self.policy_features, self.temperature)  # (S,)
        return phi @ self.weights + values[states[:, -1]] - values[states[:, 0]]

    def predict_proba(self, left: SegmentsLike, right: SegmentsLike) -> np.ndarray:
        """Return the probability (n,) that the right segment is preferred, logistic(score(right) - score(left))."""
        return expit(self.score(right) - self.score(left))


def fit_reward(
    world: GridWorld,
    left: SegmentsLike,
    right: SegmentsLike,
    prefers_right: np.ndarray,
    model: Model = "partial_return",
    seed: int = 0,
    settings: FitSettings = PUBLISHED,
) -> FittedReward:
    """The reward that explains prefers_right (n,) in [0, 1], 0.5 a tie, best under `model`; see `fit_rewards`.

    left, right: n segments of equal length each, as GridSegments or as a pair of arrays (starts, moves).
    """
    left, right, prefers_right = GridSegments.of(left), GridSegments.of(right), np.asarray(prefers_right, float)
    if prefers_right.shape != (len(left),):
        raise ValueError(f"prefers_right has shape {prefers_right.shape}, expected ({len(left)},)")
    [fitted] = fit_rewards(world, left, right, prefers_right[None], model, seed, settings)
    return fitted


def fit_rewards(
    world: GridWorld,
    left: GridSegments,
    right: GridSegments,
    prefers_right: np.ndarray,
    model: Model,
    seed: int,
    settings: FitSettings,
) -> list[FittedReward]:
    """Fit a reward for each row of prefers_right (E, n): the same pairs under different labels, in one go.

    Adam on the cross-entropy of all pairs, in double precision. Pairs are not added with swapped sides and labels as in
    the released code: the loss of a swapped pair is the same, so that nothing would change. The loss under regret is
    not convex, and the weights with the lowest loss are kept; under partial return the last ones. The seed chooses the
    first weights, uniform within 1 / sqrt(F), and the policies of the library.

    ValueError: unknown model, no pairs, shapes that do not fit, labels outside [0, 1]; or as in GridWorld.walk.
    """
    prefers_right = np.asarray(prefers_right, float)
    _check(left, right, prefers_right, model)
    features = len(world.weights)
    policy_features = np.zeros((world.next_state.shape[0], 1, features))
    if model == "regret":
        policy_features = policy_library(world, seed, settings.policies).successor_features
    data = PairFeatures.of(world, left, right, policy_features)
    bound = 1 / np.sqrt(features)
    first = np.tile(np.random.default_rng(seed).uniform(-bound, bound, features), (len(prefers_right), 1))
    weights, losses = _adam(data, prefers_right, first, model == "regret", settings)
    return [
        FittedReward(world, model, w, float(loss), policy_features, settings.temperature)
        for w, loss in zip(weights, losses, strict=True)
    ]


@dataclass(frozen=True)
class PairFeatures:
    """The terms of the difference of two scores, for B pairs that visit U different first and last states."""

    phi: np.ndarray  # (B, F) features of the right segment minus those of the left
    visits: sparse.csr_array  # (B, U) V(last) - V(first) of the right minus those of the left
    visits_by_state: sparse.csr_array  # (U, B) the same, transposed
    policy_features: np.ndarray  # (U, P, F)

    @staticmethod
    def of(world: GridWorld, left: GridSegments, right: GridSegments, policy_features: np.ndarray) -> PairFeatures:
        (l_states, l_phi), (r_states, r_phi) = (_states_and_features(world, s) for s in (left, right))
        ends = np.concatenate([r_states[:, -1], r_states[:, 0], l_states[:, 0], l_states[:, -1]])
        signs = np.repeat([1.0, -1.0, 1.0, -1.0], len(left))
        rows = np.tile(np.arange(len(left)), 4)
        visited, columns = np.unique(ends, return_inverse=True)
        visits = sparse.csr_array((signs, (rows, columns)), shape=(len(left), len(visited)))
        # Features are the slowest axis in memory: this makes the product with the weights ten times as fast.
        by_feature = np.ascontiguousarray(policy_features[visited].transpose(2, 0, 1))
        return PairFeatures(r_phi - l_phi, visits, visits.T.tocsr(), by_feature.transpose(1, 2, 0))


def loss_and_gradient(
    weights: np.ndarray, data: PairFeatures, prefers_right: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-entropy (E,) of P(right) = sigmoid(score difference), and its gradient (E, F), at weights (E, F).

    prefers_right: (E, B). The gradient of a pair is (probability - label) times that of the score difference.
    """
    values, slopes = near_best(weights, data.policy_features, temperature)  # (E, U), (E, U, F)
    logits = weights @ data.phi.T + (data.visits @ values.T).T  # (E, B)
    decay = np.exp(-np.abs(logits))
    loss = (np.maximum(logits, 0) + np.log1p(decay) - prefers_right * logits).mean(1)
    probability = np.where(logits < 0, decay, 1) / (1 + decay)
    error = (probability - prefers_right) / logits.shape[1]
    visits = (data.visits_by_state @ error.T).T  # (E, U)
    return loss, error @ data.phi + (visits[:, None] @ slopes)[:, 0]


def near_best(weights: np.ndarray, policy_features: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Value (E, U) of nearly the best policy in each state, and its slope (E, U, F) in the weights (E, F).

    policy_features: (U, P, F). sum_p softmax_p(q / temperature) q_p with q = policy_features . weights; at temperature
    0 the maximum, whose slope is a sub-gradient.
    """
    states, policies, features = policy_features.shape
    q = (weights @ policy_features.reshape(-1, features).T).reshape(len(weights), states, policies)
    if temperature == 0:
        best = q.argmax(-1)[..., None]
        return np.take_along_axis(q, best, -1)[..., 0], policy_features[np.arange(states), best[..., 0]]
    best = q.max(-1)
    q -= best[..., None]
    q /= temperature
    gap = np.maximum(q, -100, out=q)  # exp(-100) is nothing, and to compute that of less is slow
    share = np.exp(gap)
    share /= share.sum(-1, keepdims=True)
    mean_gap = np.einsum("eup,eup->eu", share, gap)
    gap -= mean_gap[..., None] - 1
    slope_of_q = np.multiply(share, gap, out=share)
    slopes = (slope_of_q.transpose(1, 0, 2) @ policy_features).transpose(1, 0, 2)
    return best + temperature * mean_gap, slopes


def _adam(
    data: PairFeatures, prefers_right: np.ndarray, weights: np.ndarray, keep_best: bool, settings: FitSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (E, F) and their losses (E,), of E fits that do not know of each other (Kingma and Ba, 2015)."""
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    loss, gradient = loss_and_gradient(weights, data, prefers_right, settings.temperature)
    best_weights, best_loss = weights, loss
    for step in range(1, settings.iterations + 1):
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        scale = settings.learning_rate * np.sqrt(1 - BETAS[1] ** step) / (1 - BETAS[0] ** step)
        weights = weights - scale * mean / (np.sqrt(square) + EPSILON * np.sqrt(1 - BETAS[1] ** step))
        loss, gradient = loss_and_gradient(weights, data, prefers_right, settings.temperature)
        better = loss < best_loss
        best_weights = np.where(better[:, None], weights, best_weights)
        best_loss = np.where(better, loss, best_loss)
    return (best_weights, best_loss) if keep_best else (weights, loss)


def _states_and_features(world: GridWorld, segments: GridSegments) -> tuple[np.ndarray, np.ndarray]:
    """States (n, L+1) and summed features (n, F) of segments."""
    states, actions = world.walk(segments.starts, segments.moves)
    return states, world.features[states[:, :-1], actions].sum(1)


def _check(left: GridSegments, right: GridSegments, prefers_right: np.ndarray, model: str) -> None:
    if model not in MODELS:
        raise ValueError(f"model is {model!r}, {choices(model, MODELS)}")
    if not len(left) or len(left) != len(right):
        raise ValueError(f"left has {len(left)} segments and right {len(right)}, expected as many, at least one")
    if prefers_right.ndim != 2 or prefers_right.shape[1] != len(left):
        raise ValueError(f"prefers_right has shape {prefers_right.shape}, expected (E, {len(left)})")
    if not ((prefers_right >= 0) & (prefers_right <= 1)).all():
        raise ValueError("prefers_right has values outside [0, 1], expected 1 for right, 0 for left, 0.5 for a tie")
