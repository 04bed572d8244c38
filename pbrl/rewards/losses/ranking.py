"""Rankings of several segments, the best first."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pbrl.checks import whole
from pbrl.data.lists import Lists
from pbrl.nets.devices import number
from pbrl.question_kinds import Choice
from pbrl.questions import Question, States
from pbrl.rewards.losses.loss import ListLoss
from pbrl.types import Segments


class RankingLoss(ListLoss):
    """Asks for rankings of `items` segments."""

    asks = Choice

    def __init__(self, *, items: int) -> None:
        super().__init__()
        whole(2, items=items)
        self.items = items

    def question(self, items: tuple[Segments, ...], states: States) -> Question:
        return Choice(items, wanted="ranking", states=states)

    def read(self, questions: Any, values: Tensor) -> Lists:
        if questions.wanted != "ranking" or len(questions.items) != self.items:
            asked = f"{questions.wanted} of {len(questions.items)} segments"
            raise ValueError(f"answers say the {asked}; this loss learns from the ranking of {self.items} (items)")
        n = len(questions)
        place = values.long() * n + torch.arange(n)[:, None]  # item j of question i stands in row j * n + i
        return Lists(Segments.cat(questions.items)[place.flatten()], torch.ones(n), self.items)

    def accuracy(self, scores: Tensor, told: Tensor) -> float:
        """Return the accuracy over all pairs in the lists."""
        better, worse = torch.triu_indices(scores.shape[-1], scores.shape[-1], 1)
        return number((scores[..., better] > scores[..., worse]).float().mean())


class PlackettLuce(RankingLoss):
    """-sum_j log exp s_j / sum_{l >= j} exp s_l over all but the last: the best is chosen, then the best of the rest.

    Plackett 1975; of two items it is Bradley-Terry.

    Args:
        items: segments in each list.
    """

    def of_lists(self, scores: Tensor, told: Tensor) -> Tensor:
        rest = scores.flip(-1).logcumsumexp(-1).flip(-1)  # of each and all behind it
        return (rest - scores)[..., :-1].sum(-1)


class LambdaRank(RankingLoss):
    """sum_{i above j} |G_i - G_j| |1 / D_i - 1 / D_j| softplus(s_j - s_i): what the scores put on top counts most.

    G = 2^(1 - rank / (items - 1)) - 1 falls from 1 for the best (rank 0) to 0 for the last; D = log2(1 + place), where
    place is 1 for the highest score now. LiPO (Liu et al. 2024), after Burges et al. 2006.

    Args:
        items: segments in each list.
    """

    def of_lists(self, scores: Tensor, told: Tensor) -> Tensor:
        k = scores.shape[-1]
        gain = 2 ** (1 - torch.arange(k, device=scores.device) / (k - 1)) - 1
        place = scores.detach().argsort(-1, descending=True).argsort(-1) + 1
        discount = 1 / torch.log2(1.0 + place)  # (E, b, k)
        weight = (gain[:, None] - gain).abs() * (discount[..., :, None] - discount[..., None, :]).abs()
        above = torch.ones(k, k, device=scores.device).triu(1)  # i before j: better
        return (above * weight * F.softplus(scores[..., None, :] - scores[..., :, None])).sum((-2, -1))
