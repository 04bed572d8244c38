"""The base of all losses on answered comparisons, and the plain one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pbrl.data.lists import Lists
from pbrl.question_kinds import SegmentPair
from pbrl.questions import Question, States
from pbrl.types import Segments


class AnswerLoss(nn.Module):
    """One number for each comparison and member, which the member's next gradient step lowers on average.

    What it learns itself, as the share of wrong answers, lies in buffers, which are saved with the run.

    least_members: of the reward ensemble.
    peers: it is given what another member thinks of each comparison.
    plain: it is the cross-entropy.
    strengths: it reads how far a target is from 0.5 as how much better one side is.
    asks: the kind of question whose answers it learns from.
    items: segments of a question.
    lists: it is a `ListLoss`.
    """

    least_members: ClassVar[int] = 1
    peers: ClassVar[bool] = False
    plain: ClassVar[bool] = False
    strengths: ClassVar[bool] = False
    asks: ClassVar[type[Question]] = SegmentPair
    items: int = 2
    lists: ClassVar[bool] = False

    def forward(self, gain: Tensor, target: Tensor, peers: Tensor | None = None) -> Tensor:
        """Return the losses (E, b) whose mean over b each member minimises.

        gain: (E, b) score of the right segment less that of the left. target: (E, b) in [0, 1], 0.5 for a tie.
        peers: (E, b) the gains that member e + 1 finds in the comparisons of member e, without a graph.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, float]:
        """Return what it has found out about the answers, for progress.csv."""
        return {}


class ListLoss(AnswerLoss):
    """A loss on answers about lists of segments, or about one at a time, instead of pairs."""

    lists = True

    def question(self, items: tuple[Segments, ...], states: States) -> Question:
        """Return what is asked about `items` times n segments."""
        raise NotImplementedError

    def read(self, questions: Any, values: Tensor) -> Lists:
        """Return what was answered. values: (n, w) as they are stored, see `Question`."""
        raise NotImplementedError

    def accuracy(self, scores: Tensor, told: Tensor) -> float:
        """Return the share of what was said that the scores foresaw; NaN where nothing was decided."""
        raise NotImplementedError

    def of_lists(self, scores: Tensor, told: Tensor) -> Tensor:
        """Return losses (E, b). scores: (E, b, items), of a ranking the best first; told: (E, b) of one, in [0, 1]."""
        raise NotImplementedError


class BradleyTerry(AnswerLoss):
    """Cross-entropy of P(right) = sigmoid(gain); Christiano et al. 2017, eq. 1. A target between 0 and 1 is soft."""

    plain = True

    def forward(self, gain: Tensor, target: Tensor, peers: Tensor | None = None) -> Tensor:
        return cross_entropy(gain, target)


def cross_entropy(gain: Tensor, target: Tensor) -> Tensor:
    """Return -t log s(gain) - (1 - t) log s(-gain), each for itself; linear in t, which may lie outside [0, 1]."""
    return F.binary_cross_entropy_with_logits(gain, target, reduction="none")
