"""RAPL (Tian et al. 2024): align a picture encoder with what people find alike, reward likeness to preferred videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.checks import whole
from pbrl.data.datasets import Dataset
from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.errors import UserError
from pbrl.feedback.told_videos import ToldVideos
from pbrl.feedback.triplets import uniform_triplets
from pbrl.feedback.video_quality import split
from pbrl.methods.video import VideoMethod
from pbrl.question_kinds import Triplet


class Rapl(VideoMethod):
    """Asks which of two videos is closer to a third; `model` is a `rewards.rapl.RAPL`.

    Args:
        demos: how many preferred videos to be like.
        demos_data: videos to take them from and to measure on, as of another embodiment; None: the run's data.
        others: see `VideoMethod`.
    """

    accelerated = True
    asks = (Triplet,)
    stands_for = "triplets"

    def __init__(self, *, demos: int, demos_data: str | None, **common: Any) -> None:
        super().__init__(**common)
        whole(1, demos=demos)
        self.demos, self.demos_data = demos, demos_data

    def ask(self, videos: Videos, n: int, rng: torch.Generator) -> Triplets:
        if self.demos_data is None:
            self._best(videos)  # what cannot be is said before a fit
        return self.run.desk.ask_triplets(videos, uniform_triplets(len(videos), n, rng))

    def said(self, told: ToldVideos) -> Triplets:
        return told.as_triplets()

    def _from_people(self, told: ToldVideos, train: np.ndarray, shown: Videos) -> Triplets | VideoPairs:
        answers = super()._from_people(told, train, shown)
        self._best(shown)
        return answers

    def _best(self, videos: Videos) -> torch.Tensor:
        """Return all rows (N,), those first that are to be like; triplets alone do not say which."""
        if self._told is None:
            return self.run.desk.rank(videos)
        return self._told.order(len(videos)) if len(self._told.as_pairs()) else videos.by_true_return()

    def after_fit(
        self, model: Any, data: Dataset, shown: Videos, heldout: np.ndarray, seed: int
    ) -> tuple[Dataset, np.ndarray]:
        if self.demos_data is not None and self._told is not None:
            raise UserError(f"method.demos_data={self.demos_data}: labels= says which videos of data= are preferred")
        if self.demos_data is not None:
            data = self.load_data(Path(self.demos_data))
            train, heldout = split(len(data.episodes), self.heldout, seed)
            shown = self.draw(data, train)
        if self.demos > len(shown):
            raise ValueError(f"demos={self.demos}: {data.path} has {len(shown)} videos to choose them from")
        model.set_demos(shown[self._best(shown)[: self.demos]].frames, shown.frames)
        return data, heldout
