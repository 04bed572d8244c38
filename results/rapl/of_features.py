"""RAPL with the teacher's own features in place of what an encoder makes of pictures: the best that learning could do.

PYTHONPATH=results/rapl pbrl train method=rapl method._target_=of_features.OfFeatures data=DATA ...

The demonstrations, the plan and its settings are RAPL's; the cost of two frames is the mean squared difference of their
features, in units of the standard deviation of each over the frames of the data set. `spearman` in reward.json is of
this likeness; what stands there of an encoder is of one that nothing uses. Such a run is not resumed, but made anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import stats

from pbrl.data.videos import Videos
from pbrl.methods.rapl import Rapl
from pbrl.methods.video import VideoFit, frames_of
from pbrl.rewards.optimal_transport import sinkhorn
from pbrl.teachers.triplet import spread
from pbrl.types import Episode


class OfFeatures(Rapl):
    """Rewards an agent's episode by the likeness of its features to those of demonstrations; learns nothing."""

    def fit(self, seed: int) -> VideoFit:
        found = super().fit(seed)
        sums = [float(self._likeness(video / self.units).sum()) for video in found.heldout.features]
        found.facts["spearman"] = float(stats.spearmanr(sums, found.heldout.true_return).statistic)
        return found

    def after_fit(self, model: Any, data: Any, shown: Videos, heldout: np.ndarray, seed: int) -> Any:
        found = super().after_fit(model, data, shown, heldout, seed)
        names = data.episodes[0].factor_names
        self.columns = [names.index(name) for name in self.features or names]
        self.units = spread(shown.features.flatten(0, 1))
        self.demonstrated = shown.features[self._best(shown)[: self.demos]] / self.units
        self.unit_sum = torch.stack([self._likeness(video / self.units).sum() for video in shown.features]).abs().mean()
        return found

    def _likeness(self, features: torch.Tensor) -> torch.Tensor:
        solver = {key: self._make_model.plain[key] for key in ("epsilon", "iterations", "tolerance")}
        return likeness(features, self.demonstrated, **solver)

    def of_episode(self, episode: Episode) -> np.ndarray:
        assert episode.factors is not None
        drawn, shared = frames_of(len(episode), self.stride)
        features = torch.from_numpy(episode.factors[drawn][:, self.columns]) / self.units
        rewards = (self.scale * self._likeness(features) / self.unit_sum).numpy()
        self._sums[id(episode)] = float(rewards.sum())
        return np.repeat(rewards / shared, shared).astype(np.float32)


def likeness(features: torch.Tensor, demonstrated: torch.Tensor, **solver: Any) -> torch.Tensor:
    """Return the rewards (F,) of features (F, K) by the demonstration (D, S, K) that they are most like."""
    cost = torch.cdist(features.expand(len(demonstrated), -1, -1), demonstrated).square() / features.shape[-1]
    rewards = -(sinkhorn(cost, **solver) * cost).sum(2)
    return rewards[rewards.sum(1).argmax()]
