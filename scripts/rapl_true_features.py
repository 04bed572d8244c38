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

from pbrl.collection.videos import shown_steps
from pbrl.config import compose_config
from pbrl.data.datasets import load_dataset
from pbrl.data.videos import Videos
from pbrl.feedback.triplets import uniform_triplets
from pbrl.methods.video import FACTS_FILE
from pbrl.rewards.optimal_transport import sinkhorn
from pbrl.teachers.triplet import TripletTeacher, spread

TRIPLETS = 600


def main(out: Path) -> int:
    print("| task | correlation by seed | mean | triplets answered as the teacher does |")
    print("| --- | --- | --- | --- |")
    for task in TASKS:
        found = [out / "rewards" / task / "rapl" / f"s{seed}" / FACTS_FILE for seed in SEEDS]
        values, shares = zip(*(agreement(json.loads(file.read_text())) for file in found), strict=True)
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"| {task} | {each} | {np.mean(values):.2f} | {np.mean(shares):.2f} |")
    return 0


def agreement(facts: dict[str, Any]) -> tuple[float, float]:
    """Over the episodes that a learned reward was measured on: Spearman's correlation with the true return, and the
    share of triplets of them that are answered as the teacher does.

    facts: of its reward.json.
    """
    config = compose_config(facts["arguments"])
    video, episodes = config.method, load_dataset(Path(config.data)).episodes
    solver = {key: facts["settings"][f"method.model.{key}"] for key in ("epsilon", "iterations", "tolerance")}
    seen = np.array(facts["episodes"])
    known = np.setdiff1d(np.arange(len(episodes)), seen)
    columns = [episodes[0].factor_names.index(name) for name in video.features]
    features = torch.tensor(np.stack([e.factors[shown_steps(e, video.frames)][:, columns] for e in episodes]))
    features = features / spread(features[known].flatten(0, 1))
    returns = np.array([e.true_reward.sum() for e in episodes])
    demos = features[known[np.argsort(-returns[known], kind="stable")[: video.demos]]]
    likeness = [-float(_cost(features[k].expand_as(demos), demos, **solver).min()) for k in seen]
    return float(stats.spearmanr(likeness, returns[seen]).statistic), _triplets_answered(features[seen], **solver)


def _triplets_answered(features: Tensor, **solver: Any) -> float:
    """Return the share of TRIPLETS that features (N, F, K) answer as `TripletTeacher` does; ties count half."""
    rng = torch.Generator().manual_seed(0)
    n, f = features.shape[:2]
    videos = Videos(torch.zeros(n, f, 1, 1, 1, dtype=torch.uint8), features, torch.zeros(n))
    asked = uniform_triplets(len(videos), TRIPLETS, rng)
    answers = TripletTeacher(beta=None, mistake=0.0, equal=0.0, rng=rng).answer_triplets(videos, asked)
    anchor, first, second = features[asked].unbind(1)
    gain = _cost(anchor, first, **solver) - _cost(anchor, second, **solver)
    return float(1 - (answers.closer_second - (gain.sign() + 1) / 2).abs().mean())


def _cost(x: Tensor, y: Tensor, **solver: Any) -> Tensor:
    """Return the cost (B,) of transport from each x (B, F, K) to its y (B, F, K)."""
    cost = torch.cdist(x, y).square() / x.shape[-1]
    return (sinkhorn(cost, **solver) * cost).sum((1, 2))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
