"""The foresight of a reward: the answers that people have yet to give, and which of the newest clips it likes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from pbrl.blocks import score_in_blocks
from pbrl.feedback.desk import Score
from pbrl.labels.files import group_by_form
from pbrl.labels.questions import HUMAN
from pbrl.labels.rows import Query, StandingAnswer
from pbrl.labels.store import LabelStore
from pbrl.statistics.intervals import wilson_interval

RANKED_QUERIES, RANKED = 40, 3  # the newest queries whose segments are ranked, and how many are shown of each end


class Foresight:
    """Counts people's first answers to a question that the reward said right before it learned from them, ties aside.

    judged: queries whose first answer has been looked at, whether or not a trained reward was there to compare it with.
    right, of: decisive first answers that the reward said right, and that it said at all.
    """

    def __init__(self) -> None:
        self.judged: set[int] = set()
        self.right, self.of = 0, 0

    @torch.no_grad()
    def judge(self, store: LabelStore, new: Sequence[StandingAnswer], score: Score, trained: bool) -> float:
        """Return the share of new answers about pairs that was foreseen; NaN: none, or not `trained` yet."""
        first = {a.query: a for a in reversed(new) if a.kind == HUMAN and a.query not in self.judged}
        self.judged |= first.keys()
        decisive = [a for a in first.values() if a.prefers_right != 0.5]
        if not trained or not decisive:
            return math.nan
        left, right = store.segments([a.query for a in decisive])
        says_right = [a.prefers_right is not None and a.prefers_right > 0.5 for a in decisive]
        gain = score_in_blocks(score, right) - score_in_blocks(score, left)
        foreseen = int(((gain > 0) == torch.tensor(says_right)).sum())
        self.right, self.of = self.right + foreseen, self.of + len(decisive)
        return foreseen / len(decisive)

    def facts(self) -> dict[str, float] | None:
        """Return the share so far with its interval; None before the first answer that could be foreseen."""
        low, high = wilson_interval(self.right, self.of)
        return {"share": self.right / self.of, "low": low, "high": high, "of": self.of} if self.of else None


@torch.no_grad()
def rank_newest(store: LabelStore, queries: Sequence[Query], score: Score) -> dict[str, list[dict[str, Any]]]:
    """Return which segments of the newest of these questions the reward likes most and least, each with its score."""
    newest = sorted((q for q in queries if q.session >= 0), key=lambda q: q.id)[-RANKED_QUERIES:]
    ranked: list[dict[str, Any]] = []
    for same in group_by_form(newest):
        questions = store.questions(same)
        for side, segments in zip(questions.places(len(questions.items)), questions.items, strict=True):
            scores = score_in_blocks(score, segments).tolist()
            ranked += [{"query": q, "side": side, "score": s} for q, s in zip(same, scores, strict=True)]
    ranked.sort(key=lambda clip: -float(clip["score"]))
    return {"best": ranked[:RANKED], "worst": ranked[: -RANKED - 1 : -1]}
