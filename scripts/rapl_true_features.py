"""Likeness without an encoder: transport between the features that the teacher looks at, as a reference for RAPL.

python scripts/rapl_true_features.py OUT    after results_rapl.py collect and rewards; prints a table of tasks

Features in place of embeddings, their mean squared difference in place of 1 - cos, and else all as in the runs: the
same demonstrations, held-out episodes and moments. Where this agrees with the true return and RAPL does not, six
demonstrations and a plan are enough, and what was learned from pictures is not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_rapl import SEEDS, TASKS
from scipy import stats
from torch import Tensor

from pbrl.config import compose_config
from pbrl.data.datasets import load_dataset
from pbrl.optimal_transport import sinkhorn
from pbrl.teachers.triplet import spread
from pbrl.training.video_reward import FACTS_FILE


def main(out: Path) -> int:
    print("| task | correlation by seed | mean |\n| --- | --- | --- |")
    for task in TASKS:
        found = [out / "rewards" / task / "rapl" / f"s{seed}" / FACTS_FILE for seed in SEEDS]
        values = [correlation(json.loads(file.read_text())) for file in found]
        print(f"| {task} | {', '.join(f'{value:.2f}' for value in values)} | {np.mean(values):.2f} |")
    return 0


def correlation(facts: dict[str, Any]) -> float:
    """Spearman's, over the episodes that a learned reward was measured on. facts: of its reward.json."""
    config = compose_config(facts["arguments"])
    video, episodes = config.method.video, load_dataset(Path(config.data)).episodes
    solver = {key: facts["settings"][f"method.video.model.{key}"] for key in ("epsilon", "iterations", "tolerance")}
    seen = np.array(facts["episodes"])
    known = np.setdiff1d(np.arange(len(episodes)), seen)
    columns = [episodes[0].factor_names.index(name) for name in video.features]
    moments = [np.linspace(0, len(e) - 1, video.frames).round().astype(int) for e in episodes]
    features = torch.tensor(np.stack([e.factors[m][:, columns] for e, m in zip(episodes, moments, strict=True)]))
    features = features / spread(features[known].flatten(0, 1))
    returns = np.array([e.true_reward.sum() for e in episodes])
    demos = features[known[np.argsort(-returns[known], kind="stable")[: video.demos]]]
    likeness = [_likeness(features[k], demos, **solver) for k in seen]
    return float(stats.spearmanr(likeness, returns[seen]).statistic)


def _likeness(episode: Tensor, demos: Tensor, **solver: Any) -> float:
    """(F, K), (D, F, K) -> minus the cost of transport to the nearest demonstration."""
    cost = torch.cdist(episode.expand(len(demos), -1, -1), demos).square() / episode.shape[-1]
    return -float((sinkhorn(cost, **solver) * cost).sum((1, 2)).min())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
