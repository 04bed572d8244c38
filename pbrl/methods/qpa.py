"""QPA (Hu et al. 2024): PEBBLE whose questions and batches stay near what the policy does now."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from pbrl.agents.buffers import LearnedRewardBuffer
from pbrl.checks import lengths, share, whole
from pbrl.feedback.crops import crop_loss, draw_crops
from pbrl.feedback.settings import Feedback
from pbrl.methods.method import Metrics, Run
from pbrl.methods.pebble import Pebble
from pbrl.nets.networks import descend
from pbrl.types import Episode


class Qpa(Pebble):
    """Changes PEBBLE in three ways, each of which can be switched off.

    The pool is the last few episodes (`feedback.pool_episodes`), asked about uniformly; part of every SAC batch comes
    from these episodes while labels last; and the reward learns from crops of the labelled pairs, for long.

    Args:
        recent_share: of a batch that is drawn from the pool's steps, until the budget is spent.
        crops: how many of each labelled pair in each pass.
        crop: shortest and longest, in steps; None: whole segments, with `crops` = 1.
        batch_size: labelled pairs per gradient step.
        passes: gradient steps of a session are at most ceil(passes * labels / batch_size).
        whole_passes: they are at most passes * ceil(labels / batch_size): passes over few labels take one step each.
        stop_accuracy: over all crops since the session began, at which the fit ends.
        others: as for `Pebble`; `fit` is None.
    """

    accelerated = True
    uses_objective = fits_itself = True

    def __init__(
        self,
        *,
        recent_share: float,
        crops: int,
        crop: Sequence[int] | None,
        batch_size: int,
        passes: int,
        whole_passes: bool = False,
        stop_accuracy: float,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        share(recent_share=recent_share, stop_accuracy=stop_accuracy)
        whole(1, crops=crops, batch_size=batch_size, passes=passes)
        if crop is None and crops > 1:
            raise ValueError(f"crops={crops}: with crop=null all are the whole segment; set crops=1")
        self.recent_share, self.crops, self.crop = recent_share, crops, crop
        self.batch_size, self.passes, self.whole_passes = batch_size, passes, whole_passes
        self.stop_accuracy = stop_accuracy

    def check(self, feedback: Feedback) -> None:
        super().check(feedback)
        if self.crop is not None:
            lengths(feedback.segment_length, crop=self.crop)

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.lengths: deque[int] = deque(maxlen=run.feedback.pool_episodes)  # of the last episodes, in steps

    def observe(self, finished: Sequence[Episode]) -> None:
        super().observe(finished)
        self.lengths.extend(map(len, finished))

    def rows(self, buffer: LearnedRewardBuffer, n: int) -> np.ndarray | None:
        """Take a share from the pool's steps; all uniform once nobody is asked any more."""
        if self.recent_share == 0:
            return None
        pool = buffer.recent_rows(-(-sum(self.lengths) // buffer.n_envs))
        if self.run.desk.exhausted or len(pool) == 0:
            return None
        recent = round(self.recent_share * n)
        drawn = np.random.randint(0, len(pool), size=recent)  # noqa: NPY002  as SB3: one global stream
        return np.concatenate([buffer.draw_uniformly(n - recent), pool[drawn]])

    def learn_model(self) -> Metrics:
        """Pass over all labels in an order of its own for each member, with new crops in each."""
        rng, members = self.run.rng("fit"), self.model.members
        passes = (self.preferences.batches(self.batch_size, members, False, rng) for _ in range(self.passes))
        each = len(self.preferences.train_rows) / self.batch_size
        most = self.passes * math.ceil(each) if self.whole_passes else math.ceil(self.passes * each)
        losses, foreseen, seen = [], 0.0, 0
        for batch in itertools.islice(itertools.chain.from_iterable(passes), most):
            steps = batch.left.steps
            crops = draw_crops(len(batch), steps, self.crop or (steps, steps), self.crops, rng)
            loss, accuracy = crop_loss(self.model, batch, crops, self.objective)
            losses.append(descend(self.model.optimizer, loss) / members)
            if not math.isnan(accuracy):  # ties alone have none
                foreseen, seen = foreseen + accuracy * len(batch), seen + len(batch)
            if seen and foreseen / seen >= self.stop_accuracy:
                break
        if not losses:
            return {"updates": 0}
        return {"updates": len(losses), "loss": losses[-1], "accuracy": foreseen / seen if seen else 1.0}
