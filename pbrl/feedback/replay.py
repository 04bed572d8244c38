"""Feedback from a label set: the pairs of the file are asked, session by session, instead of new ones."""

from __future__ import annotations

import math

from pbrl.data.episodes import EpisodeStore
from pbrl.feedback.loop import FeedbackLoop
from pbrl.feedback.schedule import session_size
from pbrl.labels.segment_files import SegmentPairs
from pbrl.teachers.replay import ReplayTeacher


class ReplayFeedback(FeedbackLoop):
    teacher: ReplayTeacher
    needed = 1  # its pairs come from the file

    @property
    def exhausted(self) -> bool:
        return super().exhausted or self.teacher.remaining == 0

    def _questions(self, episodes: EpisodeStore, env_steps: int) -> tuple[SegmentPairs, float]:
        n = session_size(self.config.schedule, self.config.per_session, env_steps, self.steps)
        pairs = self.teacher.questions(min(n, self.config.budget - self.spent, self.teacher.remaining))
        self._check_shape(pairs.left, "the labels of teacher.labels")
        return pairs, math.nan
