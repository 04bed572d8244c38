"""Questions about safety: whether single segments are safe, while the policy learns and at the end."""

from __future__ import annotations

import numpy as np
import torch

from pbrl.data.episodes import EpisodeStore
from pbrl.methods.method import Act, Run
from pbrl.question_kinds import Rating
from pbrl.training.rollout import roll_out
from pbrl.types import Segments

SAFETY, EXAM = "safety", "safety_exam"  # criteria


def whether_safe(episodes: EpisodeStore, segments: Segments, criterion: str) -> Rating:
    """The question of each of these segments, rated 1 where it is safe and 0 where it is not."""
    states = episodes.states(segments.ids.numpy(), segments.steps)
    shown = None if states is None else (states,)
    return Rating(segments, scale="safe", low=0.0, high=1.0, states=shown, criterion=criterion)


def exam_questions(run: Run, act: Act, n: int) -> Rating:
    """A random segment of each of n fresh episodes, so that the answers are independent."""
    length, rng = run.feedback.segment_length, run.rng("exam")
    episodes = EpisodeStore(n)
    episodes.add(roll_out(run.make_env, act, n, run.seed("exam")))
    begins = np.concatenate([[0], np.cumsum(episodes.lengths + 1)[:-1]])
    room = torch.from_numpy(np.maximum(episodes.lengths - length + 1, 1))
    within = (torch.rand(len(room), generator=rng, dtype=torch.double) * room).long().numpy()
    return whether_safe(episodes, episodes.gather(begins + within, length), EXAM)
