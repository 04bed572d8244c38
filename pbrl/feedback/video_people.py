"""People at the desk of a method of videos: all is asked when the run begins, before an agent starts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pbrl.data.datasets import Dataset
from pbrl.data.episodes import episode_items
from pbrl.data.videos import Triplets, VideoPairs, Videos
from pbrl.errors import UserError
from pbrl.feedback.people import PeopleDesk
from pbrl.labels.recorded import write_source
from pbrl.question_kinds import EpisodePair, Triplet
from pbrl.questions import Question

if TYPE_CHECKING:
    from pbrl.viewer.sources import ClipSource


class Unanswered(Exception):
    """Raised where what was asked is in the label store, and people have not answered it all."""


class VideoPeopleDesk(PeopleDesk):
    """Asks people about videos; asking the same again finds the old questions, so that a killed run goes on waiting.

    Args:
        source: what clips of the run are drawn from.
        teacher: a `pbrl.teachers.human.HumanTeacher` that waits.
        parts: see `PeopleDesk`.
    """

    kinds: tuple[type[Question], ...] = (Triplet, EpisodePair)
    of_videos = True

    def __init__(self, teacher: Any, *, source: partial[ClipSource], **parts: Any) -> None:
        if teacher.mode != "block":
            raise UserError(
                f"teacher.mode={teacher.mode}: the reward is learned before an agent starts, so the run waits for "
                "people; valid is teacher.mode=block"
            )
        super().__init__(teacher, **parts)
        self._source = source

    def show(self, data: Dataset) -> None:
        """Note what is asked about, before anything is: the viewer finds its videos by it."""
        write_source(self.store.run_dir, data)
        self._data = data
        theirs = ((data.meta["env"] or {}).get("make") or {}).get("kwargs")
        ours = (self._source().look.get("env") or {}).get("kwargs")
        if "videos" not in data.meta and theirs is not None and theirs != ours:
            raise UserError(
                f"data={data.path} is of an environment with {theirs}, and clips would show it with {ours}; "
                "leave env= out"
            )

    def ask_triplets(self, videos: Videos, rows: Tensor) -> Triplets:
        """Return what people said of which of two videos is closer to a third, without those that they left out.

        rows: (B, 3) of the third, first and second. Unanswered: some wait.
        """
        told, closer_second = self._put(Triplet, videos, rows)
        anchor, first, second = told.unbind(1)
        return Triplets(anchor, first, second, closer_second)

    def ask_pairs(self, videos: Videos, rows: Tensor) -> VideoPairs:
        """Return which of two videos people prefer. rows: (B, 2) of left and right. Unanswered: some wait."""
        told, prefers_right = self._put(EpisodePair, videos, rows)
        left, right = told.unbind(1)
        return VideoPairs(left, right, prefers_right)

    def rank(self, videos: Videos) -> Tensor:
        """Return all rows (N,), the largest true return first: triplets do not say which videos are preferred."""
        return videos.by_true_return()

    def _put(self, kind: Any, videos: Videos, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ask, and return the rows (A, k) that were answered, one for each answer, and the answers (A,)."""
        assert videos.ids is not None
        first = self._data.first_rows
        episodes = torch.from_numpy(np.searchsorted(first, videos.ids.numpy()))[rows]
        questions = kind.of(*episode_items(self._data.episodes, first, episodes), criterion=self.criterion)
        queries = self.store.ask(0, 0, questions, sampler="uniform")
        self.sessions = 1
        self._look()
        if set(queries) & set(self.open):
            raise Unanswered
        place = {query: row for row, query in enumerate(queries)}
        standing = self.answers(kind)
        known = [row for row, query in enumerate(standing.questions.tolist()) if query in place]
        if not known:
            raise UserError(
                f"people answered none of the {len(queries)} questions in {self.store.run_dir}; begin another run"
            )
        told = rows[[place[query] for query in standing.questions[known].tolist()]]
        return told, torch.from_numpy(standing.prefers_right[known])

    def _require_shape(self, queries: Any) -> None:
        """Accept videos of any shape: nothing but pictures is learned from."""
