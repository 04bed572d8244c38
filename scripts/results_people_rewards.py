"""Are rewards learned from people as sure as they may be? Cross-validation behind results/recorded/people.csv.

python scripts/results_people_rewards.py LABEL_SET ... > people.csv     folders made by `pbrl data import`

Each option is what `pbrl train` does by the name in the table, with 100 gradient steps of the ensemble of
results_human.py (3 x 64-64). What an option holds out is a fifth of the training pairs, so that it has fewer to learn
from. Of ten folds nine train; of two, one does: 50 pairs. Folds and held-out pairs are made of groups of pairs that
share no step. Figures are means over pairs of the means over the shuffles, with 95 % bootstrap intervals over groups.
Six minutes of one core.
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
from results_human import BATCH, UPDATES, Predictor, groups, interval, majority, one_feature, predict_held_out

from pbrl.feedback.fit import Fit
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.labels.sets import load_label_set
from pbrl.rewards.calibration import expected_calibration_error
from pbrl.rewards.losses.loss import BradleyTerry
from pbrl.rewards.losses.strength import SoftLabels
from pbrl.rewards.objective import Objective
from pbrl.rewards.partial_return import PartialReturn
from pbrl.rewards.pessimism import Mean
from pbrl.types import Answers, Comparisons

SOFT = partial(SoftLabels, slight=0.65, clear=0.8)
SHUFFLES, FOLDS, HELDOUT, PATIENCE = 3, (10, 2), 0.2, 5
COLUMNS = (
    "people",
    "n",
    "decided",
    "groups",
    "folds",
    "shuffles",
    "model",
    "accuracy",
    "cross_entropy",
    "below_ln_2",
    "ece",
)


def ensemble(
    train: Comparisons,
    seed: int,
    heldout: float = 0.0,
    patience: int | None = None,
    cooled: bool = False,
    loss: Any = BradleyTerry,
) -> Predictor:
    """PEBBLE's and P-IQL's reward, fitted as a session fits it. cooled: scores are divided by the temperature."""
    rng = torch.Generator().manual_seed(seed)
    model = PartialReturn(
        obs_size=train.left.obs.shape[-1], action_size=train.left.actions.shape[-1], members=3, hidden=[64, 64],
        activation="relu", head="tanh", normalise=True, lr=3e-4, smoothing=0.0, crop=None, precision="float32", rng=rng,
    )  # fmt: skip
    model.observe(torch.cat([train.left.obs, train.right.obs])[:, :-1].flatten(0, 1).numpy())
    data = PreferenceDataset(heldout, rng)
    data.add(train.left, train.right, Answers(train.prefers_right, torch.ones(len(train)).bool()))
    fit = Fit(
        batch_size=BATCH,
        max_epochs=UPDATES,
        max_updates=UPDATES,
        stop_accuracy=None,
        patience=patience,
        bootstrap=False,
    )
    objective = Objective(loss=loss(), pessimism=Mean(), score="sum", annotators="alike", calibrate=cooled)
    found = fit(model, data, rng, objective)
    temperature = found.get("heldout_temperature", 1.0) if cooled else 1.0
    return lambda held: torch.sigmoid(objective.gain(model, held) / temperature).double().numpy()


MODELS: dict[str, Callable[[Comparisons, int], Predictor]] = {
    "majority": majority,
    "one feature": one_feature,
    "ensemble": ensemble,
    "ensemble, fit.calibrate=true": partial(ensemble, heldout=HELDOUT, cooled=True),
    f"ensemble, method.fit.patience={PATIENCE}": partial(ensemble, heldout=HELDOUT, patience=PATIENCE),
    "ensemble, both": partial(ensemble, heldout=HELDOUT, patience=PATIENCE, cooled=True),
    "ensemble, fit.loss=soft_labels": partial(ensemble, loss=SOFT),
    "ensemble, fit.loss=soft_labels and fit.calibrate": partial(ensemble, loss=SOFT, heldout=HELDOUT, cooled=True),
}


def main(folders: list[str]) -> int:
    torch.set_num_threads(1)
    table = csv.writer(sys.stdout)
    table.writerow(COLUMNS)
    for folder in folders:
        comparisons = load_label_set(Path(folder)).comparisons
        group = groups(comparisons)
        ids = torch.from_numpy(group).long()  # so that what is held out shares no step with the rest
        sides = {name: dataclasses.replace(getattr(comparisons, name), ids=ids) for name in ("left", "right")}
        comparisons = dataclasses.replace(comparisons, **sides)
        for count in FOLDS:
            for name, fit in MODELS.items():
                shuffles = [predict_held_out(comparisons, group, fit, repeat, count) for repeat in range(SHUFFLES)]
                decided, parts, *found = figures(comparisons, group, shuffles)
                table.writerow([Path(folder).name, len(group), decided, parts, count, SHUFFLES, name, *found])
                sys.stdout.flush()
    return 0


def figures(comparisons: Comparisons, group: np.ndarray, shuffles: list[np.ndarray]) -> list[Any]:
    """How many are decided, groups, accuracy, cross-entropy, whether that is below a coin's, and calibration error."""
    target = comparisons.prefers_right.numpy()
    decided = target != 0.5
    right = np.mean([np.where(p == 0.5, 0.5, (p > 0.5) == (target > 0.5)) for p in shuffles], 0)
    clipped = [np.clip(p, 1e-6, 1 - 1e-6) for p in shuffles]
    loss = np.mean([-(target * np.log(p) + (1 - target) * np.log(1 - p)) for p in clipped], 0)
    odds = [torch.from_numpy(np.log(p) - np.log(1 - p)) for p in clipped]
    ece = np.mean([expected_calibration_error(g, comparisons.prefers_right) for g in odds])
    below = "yes" if loss.mean() < math.log(2) else "no"
    spread = [interval(right[decided], group[decided]), interval(loss, group), below, f"{ece:.2f}"]
    return [int(decided.sum()), int(group.max()) + 1, *spread]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
