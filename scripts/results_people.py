"""Accuracy of reward models on people's answers: cross-validation behind results/offline/human.md and results/recorded.

python scripts/results_people.py LABEL_SET ... [FOLDS SHUFFLES]     folders made by `pbrl data import FILE out=FOLDER`

Accuracy counts decided pairs, cross-entropy all of them (a tie is half). Segments overlap, so folds are made of groups:
pairs that share a step, directly or through others, stay together, also in what an option holds out, a fifth of the
training pairs. Each shuffle makes other folds. Figures are means over pairs of the means over shuffles, with 95 %
bootstrap intervals over groups. Ten folds, three shuffles: half an hour of one core, most of it the transformers.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import optimize, sparse, stats
from scipy.special import expit, logit

from pbrl.building import maker_of
from pbrl.config import compose_config
from pbrl.feedback.fit import Fit
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.labels.sets import load_label_set
from pbrl.rewards.calibration import expected_calibration_error
from pbrl.rewards.losses.loss import BradleyTerry
from pbrl.rewards.losses.strength import SoftLabels
from pbrl.rewards.objective import Objective
from pbrl.rewards.pessimism import Mean
from pbrl.types import Answers, Comparisons, Segments

DRAWS, HELDOUT, PATIENCE = 10_000, 0.2, 5
FIT = Fit(batch_size=32, max_epochs=100, max_updates=100, stop_accuracy=None, patience=None, bootstrap=False)
"""A hundred pairs are learned by heart soon after."""
ENSEMBLE = ["method=piql", "method.model.hidden=[64,64]", "method.model.head=tanh"]  # three members
TRANSFORMER = ["method=preference_transformer", "method.model.width=32"]
Predictor = Callable[[Comparisons], np.ndarray]  # comparisons -> P(right is preferred), (B,)
COLUMNS = ("people", "n", "decided", "groups", "folds", "shuffles", "model")
FIGURES = ("accuracy", "cross_entropy", "below_ln_2", "ece")


def majority(train: Comparisons, seed: int) -> Predictor:
    """Predict the mean answer."""
    share = float(train.prefers_right.mean())
    return lambda held: np.full(len(held), share)


def one_feature(train: Comparisons, seed: int) -> Predictor:
    """Predict by the one feature that orders the training pairs best: an observation, effort or change."""
    gains, target = feature_gains(train), train.prefers_right.numpy()
    decided = target != 0.5
    agreement = ((gains[decided] > 0) == (target[decided, None] > 0.5)).mean(0)
    best = int(np.argmax(np.abs(agreement - 0.5)))
    spread = float(gains[:, best].std()) + 1e-12

    def loss(weight: float) -> float:
        return cross_entropy(expit(weight * gains[:, best] / spread), target).mean()

    scale = float(optimize.minimize_scalar(loss, bounds=(-10, 10), method="bounded").x) / spread
    return lambda held: expit(scale * feature_gains(held)[:, best])


def linear(train: Comparisons, seed: int) -> Predictor:
    """Predict by logistic regression on the same features, standardised, ridge 1."""
    gains, target = feature_gains(train), train.prefers_right.numpy()
    spread = gains.std(0) + 1e-8

    def loss(weights: np.ndarray) -> float:
        return cross_entropy(expit(gains / spread @ weights), target).sum() + 0.5 * float(weights @ weights)

    weights = optimize.minimize(loss, np.zeros(gains.shape[1])).x
    return lambda held: expit(feature_gains(held) / spread @ weights)


def model_of(
    words: list[str], train: Comparisons, seed: int, heldout: float = 0.0, patience: int | None = None,
    cooled: bool = False, loss: Any = BradleyTerry,
) -> Predictor:  # fmt: skip
    """Predict by the reward model of a config, fitted as a session fits it.

    cooled: scores are divided by the temperature that explains held-out answers best.
    """
    rng = torch.Generator().manual_seed(seed)
    sizes = {"obs_size": train.left.obs.shape[-1], "action_size": train.left.actions.shape[-1]}
    model = maker_of(compose_config(["env=none", *words]).method.model).make(**sizes, rng=rng)
    model.observe(torch.cat([train.left.obs, train.right.obs])[:, :-1].flatten(0, 1).numpy())
    data = PreferenceDataset(heldout, rng)
    data.add(train.left, train.right, Answers(train.prefers_right, torch.ones(len(train)).bool()))
    objective = Objective(loss=loss(), pessimism=Mean(), score="sum", annotators="alike", calibrate=cooled)
    found = dataclasses.replace(FIT, patience=patience)(model.train(), data, rng, objective)
    model.eval()
    temperature = found.get("heldout_temperature", 1.0) if cooled else 1.0
    return lambda held: torch.sigmoid(objective.gain(model, held) / temperature).double().numpy()


ensemble, soft = partial(model_of, ENSEMBLE), partial(SoftLabels, slight=0.65, clear=0.8)
MODELS: dict[str, Callable[[Comparisons, int], Predictor]] = {
    "majority": majority,
    "one feature": one_feature,
    "linear": linear,
    "ensemble": ensemble,
    "ensemble, fit.calibrate=true": partial(ensemble, heldout=HELDOUT, cooled=True),
    f"ensemble, method.fit.patience={PATIENCE}": partial(ensemble, heldout=HELDOUT, patience=PATIENCE),
    "ensemble, both": partial(ensemble, heldout=HELDOUT, patience=PATIENCE, cooled=True),
    "ensemble, fit.loss=soft_labels": partial(ensemble, loss=soft),
    "ensemble, fit.loss=soft_labels and fit.calibrate": partial(ensemble, loss=soft, heldout=HELDOUT, cooled=True),
    "Preference Transformer, attention": partial(model_of, [*TRANSFORMER, "method.model.head=attention"]),
    "Preference Transformer, mean": partial(model_of, [*TRANSFORMER, "method.model.head=mean"]),
}


def main(folders: list[Path], folds: int, shuffles: int) -> None:
    torch.set_num_threads(1)
    table = csv.writer(sys.stdout)
    table.writerow((*COLUMNS, *FIGURES))
    for folder in folders:
        comparisons = load_label_set(folder).comparisons
        group = groups(comparisons)
        ids = torch.from_numpy(group).long()  # so that what is held out shares no step with the rest
        sides = {name: dataclasses.replace(getattr(comparisons, name), ids=ids) for name in ("left", "right")}
        comparisons = dataclasses.replace(comparisons, **sides)
        decided = int((comparisons.prefers_right != 0.5).sum())
        about = [folder.name, len(group), decided, group.max() + 1, folds, shuffles]
        for name, fit in MODELS.items():
            predicted = [predict_held_out(comparisons, group, fit, shuffle, folds) for shuffle in range(shuffles)]
            table.writerow([*about, name, *figures(comparisons, group, predicted)])
            sys.stdout.flush()


def groups(comparisons: Comparisons) -> np.ndarray:
    """Return the number (B,) of each pair's group: pairs of one group share steps with each other alone."""
    sides = [torch.cat([s.obs[:, :-1], s.actions], 2).numpy() for s in (comparisons.left, comparisons.right)]
    steps = np.concatenate(sides, 1)  # (B, 2T, O+A)
    _, step = np.unique(steps.reshape(-1, steps.shape[-1]), axis=0, return_inverse=True)
    pair = np.repeat(np.arange(len(steps)), steps.shape[1])
    shares = sparse.coo_array((np.ones(len(pair)), (pair, step.ravel()))).tocsr()
    return sparse.csgraph.connected_components(shares @ shares.T, directed=False)[1]


def predict_held_out(
    comparisons: Comparisons, group: np.ndarray, fit: Callable[[Comparisons, int], Predictor], shuffle: int, count: int
) -> np.ndarray:
    """Return P(right is preferred) of each pair (B,) by what is learned from the other folds."""
    parts: list[list[int]] = [[] for _ in range(count)]  # each group to the fold that has fewest pairs
    for number in np.random.default_rng(shuffle).permutation(group.max() + 1):
        min(parts, key=len).extend(np.flatnonzero(group == number).tolist())
    probability = np.empty(len(comparisons))
    for number, held in enumerate(parts):
        rest = np.setdiff1d(np.arange(len(comparisons)), held)
        predict = fit(comparisons[torch.from_numpy(rest)], count * shuffle + number)
        probability[held] = predict(comparisons[torch.tensor(held)])
    return probability


def figures(comparisons: Comparisons, group: np.ndarray, shuffles: list[np.ndarray]) -> list[str]:
    """Return accuracy, cross-entropy, whether that is below a coin's, and calibration error, in words."""
    target, clipped = comparisons.prefers_right.numpy(), [np.clip(p, 1e-6, 1 - 1e-6) for p in shuffles]
    decided = target != 0.5
    right = np.mean([np.where(p == 0.5, 0.5, (p > 0.5) == (target > 0.5)) for p in shuffles], 0)
    loss = np.mean([cross_entropy(p, target) for p in clipped], 0)
    odds = [torch.from_numpy(logit(p)) for p in clipped]
    ece = np.mean([expected_calibration_error(gain, comparisons.prefers_right) for gain in odds])
    below = "yes" if loss.mean() < math.log(2) else "no"
    return [with_interval(right[decided], group[decided]), with_interval(loss, group), below, f"{ece:.2f}"]


def feature_gains(comparisons: Comparisons) -> np.ndarray:
    """Return features of right minus left (B, F)."""
    left, right = (features(s) for s in (comparisons.left, comparisons.right))
    return right - left


def features(segments: Segments) -> np.ndarray:
    """Return means (N, F) over the segment of observations, squared actions and the size of an observation's change."""
    obs = segments.obs[:, :-1]
    change = (obs[:, 1:] - obs[:, :-1]).norm(dim=-1).mean(1, keepdim=True)
    effort = segments.actions.square().sum(-1).mean(1, keepdim=True)
    return torch.cat([obs.mean(1), effort, change], 1).double().numpy()


def cross_entropy(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def with_interval(values: np.ndarray, group: np.ndarray) -> str:
    """Write the mean of values (B,) and its interval, whole groups being drawn anew."""
    _, place = np.unique(group, return_inverse=True)
    totals, counts = np.bincount(place, values), np.bincount(place)

    def ratio(total: np.ndarray, count: np.ndarray, axis: int) -> np.ndarray:
        return total.sum(axis) / count.sum(axis)

    found = stats.bootstrap(
        (totals, counts), ratio, paired=True, n_resamples=DRAWS, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return f"{values.mean():.2f} ({found.low:.2f} to {found.high:.2f})"


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.isdigit()]
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    if not words or len(numbers) not in (0, 2):
        sys.exit(__doc__)
    main([Path(word) for word in words], *(numbers or (10, 3)))
