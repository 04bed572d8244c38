"""A script that errs as people do: it cannot tell close segments apart, and is sure of clear ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.checks import between, positive, whole
from pbrl.question_kinds import Choice, ChoiceAnswers, EpisodePair, Rating, RatingAnswers, SegmentPair
from pbrl.questions import Question
from pbrl.teachers.scripted import median_return, named, whole_windows
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Episode, Segments


class HumanLikeTeacher(Teacher):
    """Compares true returns, whose difference d is in units of the range of segment returns, so in [0, 1].

    P(equal) = sigmoid((band - d) / edge); an answer that is not "equal" prefers the worse segment with probability
    mistake * clip((sure - d) / (sure - band), 0, 1). Exactly equal returns are a tie, as for every script. The range
    is the largest less the smallest return of a segment among those asked about and in the last episodes.

    Args:
        band: half of the pairs that differ by so much are called equal.
        edge: how softly that ends; 0: closer pairs are always equal, others never.
        mistake: probability of a wrong answer at the band.
        sure: difference from which there are none.
        slip: probability that an answer is turned round, however large the difference.
        side_bias: added to right minus left: above 0 the right side looks better than it is.
        fatigue: slips that 100 answers in one session add, up to a coin toss; the next session begins rested.
        return_range: of segments, in units of the true reward, where it is known; None: of those seen.
        window: episodes that are remembered for it.
        rng: where answers are drawn.
    """

    kinds = (SegmentPair, EpisodePair, Choice, Rating)

    def __init__(
        self,
        *,
        band: float,
        edge: float,
        mistake: float,
        sure: float,
        slip: float,
        side_bias: float,
        fatigue: float,
        return_range: float | None,
        window: int,
        rng: torch.Generator,
    ) -> None:
        between(0, 1, band=band, edge=edge, mistake=mistake, sure=sure)
        between(0, 0.5, slip=slip, fatigue=fatigue)
        between(-1, 1, side_bias=side_bias)
        whole(1, window=window)
        if not sure > band:
            raise ValueError(f"sure={sure}: expected more than band={band}, and at most 1")
        if return_range is not None:
            positive(return_range=return_range)
        self.band, self.edge, self.mistake, self.sure = band, edge, mistake, sure
        self.slip, self.side_bias, self.fatigue = slip, side_bias, fatigue
        self.return_range, self.rng = return_range, rng
        self.rewards: deque[np.ndarray] = deque(maxlen=window)
        self.decided = self.mistaken = 0

    def observe(self, episodes: Sequence[Episode]) -> None:
        self.rewards.extend(e.true_reward for e in episodes)

    def answer(self, left: Segments, right: Segments) -> Answers:
        returns = [side.true_reward.double().sum(1) for side in (left, right)]
        gain = returns[1] - returns[0]
        equal, says_right = self._tell(gain, gain / self._range(torch.cat(returns), left.steps) + self.side_bias)
        return Answers(torch.where(equal, 0.5, says_right.float()), torch.ones(len(gain), dtype=torch.bool))

    def judge(self, questions: Question) -> Any:
        """Judge rankings, and thumbs: up above the median return of recent segments, judged as in a pair with it."""
        returns = torch.stack([item.true_reward.double().sum(1) for item in questions.items], 1)  # (n, k)
        unit = self._range(returns.flatten(), questions.items[0].steps)
        every = torch.ones(len(returns), dtype=torch.bool)
        asked: Any = questions
        if questions.kind == Choice.kind:
            return ChoiceAnswers(named(self._rank(returns, unit), asked.wanted), every)
        gain = returns[:, 0] - median_return(self.rewards, questions.items[0].steps)
        equal, says_good = self._tell(gain, gain / unit)
        good = torch.where(equal, 0.5, says_good.double())
        return RatingAnswers(asked.low + good * (asked.high - asked.low), every)

    def _rank(self, returns: Tensor, unit: float) -> Tensor:
        """Rank from best to worst (n, k); each two neighbours are compared once, and "equal" leaves it to a coin."""
        order = returns.argsort(dim=1, descending=True, stable=True)
        for j in range(order.shape[1] - 1):
            one, other = (returns.gather(1, order[:, [place]])[:, 0] for place in (j, j + 1))
            equal, says_better = self._tell(one - other, (one - other) / unit)
            toss = torch.rand(len(order), generator=self.rng) < 0.5
            swap = torch.where(equal, toss, ~says_better)[:, None]
            order[:, j : j + 2] = torch.where(swap, order[:, j : j + 2].flip(1), order[:, j : j + 2])
        return order

    def _tell(self, gain: Tensor, felt: Tensor) -> tuple[Tensor, Tensor]:
        """Return whether differences (n,) are called equal, and whether the second is said to be better where not.

        gain: true ones. felt: in units of the range, as they seem.
        """
        drawn = torch.rand(3, len(gain), generator=self.rng, dtype=torch.float64)
        equal = (drawn[0] < self.equal_probability(felt.abs())) | (gain == 0)
        wrong = drawn[1] < self.mistake_probability(felt.abs())
        slipped = drawn[2] < self.slip_probability(torch.arange(len(gain)))
        says_better = (felt > 0) ^ wrong ^ slipped
        self.decided += int((~equal).sum())
        self.mistaken += int((~equal & (says_better != (gain > 0))).sum())
        return equal, says_better

    def equal_probability(self, difference: Tensor) -> Tensor:
        """Return the probability of "equal" at differences (n,) from 0 in units of the range."""
        if self.edge == 0:
            return (difference < self.band).double()
        return torch.sigmoid((self.band - difference) / self.edge)

    def mistake_probability(self, difference: Tensor) -> Tensor:
        """Return the probability of preferring the one that seems worse, at differences (n,)."""
        return self.mistake * ((self.sure - difference) / (self.sure - self.band)).clamp(0, 1)

    def slip_probability(self, before: Tensor) -> Tensor:
        """Return the probability of turning an answer round after so many (n,) in the session."""
        return (self.slip + self.fatigue * before / 100).clamp(max=0.5)

    def metrics(self) -> dict[str, float]:
        """Return the share of comparisons so far, "equal" aside, that prefer the worse: a matter of what is asked."""
        return {"feedback/mistaken": self.mistaken / self.decided if self.decided else math.nan}

    def _range(self, asked: Tensor, steps: int) -> float:
        if self.return_range is not None:
            return self.return_range
        seen = [whole_windows(reward.astype(np.float64), steps).sum(1) for reward in self.rewards]
        returns = np.concatenate([asked.numpy(), *seen])
        return float(np.ptp(returns)) or 1.0  # equal returns have no range, and are ties

    def state_dict(self) -> dict[str, Any]:
        return {"rewards": list(self.rewards), "decided": self.decided, "mistaken": self.mistaken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rewards = deque(state["rewards"], maxlen=self.rewards.maxlen)
        self.decided, self.mistaken = int(state["decided"]), int(state["mistaken"])
