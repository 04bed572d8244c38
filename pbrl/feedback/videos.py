"""A script at the desk that is asked about whole videos, before an agent starts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.feedback.desk import Desk
from pbrl.question_kinds import EpisodePair, Triplet
from pbrl.questions import Question


class VideoDesk(Desk):
    """Answers as a `pbrl.teachers.triplet.TripletTeacher` does."""

    of_videos = True
    stream = "reward"  # of random numbers: answers come before a model is trained with them
    kinds: tuple[type[Question], ...] = (Triplet, EpisodePair)

    def __init__(self, teacher: Any, **parts: Any) -> None:
        super().__init__()
        self.teacher = teacher

    def ask_triplets(self, videos: Videos, rows: Tensor) -> Triplets:
        """Return which of two videos is closer to a third. rows: (B, 3) of the third, first and second."""
        answers: Triplets = self.teacher.answer_triplets(videos, rows)
        self.counts.decisive += len(answers)
        return answers

    def ask_pairs(self, videos: Videos, rows: Tensor) -> VideoPairs:
        """Return which of two videos is preferred. rows: (B, 2) of left and right."""
        answers: VideoPairs = self.teacher.answer_pairs(videos, rows)
        self.counts.decisive += len(answers)
        return answers

    def rank(self, videos: Videos) -> Tensor:
        """Return all rows (N,), the most preferred first."""
        order: Tensor = self.teacher.rank(videos)
        return order
