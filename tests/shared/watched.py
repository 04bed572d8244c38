"""Episodes of point_reach that a person watched, as `pbrl watch` keeps them."""

from pathlib import Path

import numpy as np
import torch

from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Intervention, InterventionAnswers
from pbrl.types import Segments


def keep_watched(folder: Path, signals: list[list[int]], obs_size: int = 6, horizon: int = 9) -> None:
    """One episode for each list of signals, as long as that is; observations and actions are random."""
    rng = np.random.default_rng(0)
    with LabelStore(folder) as store:
        for number, own in enumerate(signals):
            n = len(own)
            flat = torch.zeros(1, n)
            segments = Segments(
                obs=torch.from_numpy(rng.normal(size=(1, n + 1, obs_size)).astype(np.float32)),
                actions=torch.from_numpy(rng.uniform(-1, 1, (1, n, 2)).astype(np.float32)),
                mask=flat + 1,
                terminated=flat,
                true_reward=flat,
                ids=torch.tensor([number]),
            )
            question = Intervention.watched(segments, None, horizon)
            told = torch.zeros(1, horizon, dtype=torch.long)
            told[0, :n] = torch.tensor(own)
            answers = InterventionAnswers(told, torch.ones(1, dtype=torch.bool))
            store.answer(store.ask(number, 0, question, sampler="watched"), answers, "ann", kind="human")
