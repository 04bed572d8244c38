"""The scripted teacher of B-Pref: five numbers that turn true rewards into human-like answers."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.data.episodes import Episode
from pbrl.question_kinds import Choice, ChoiceAnswers, EpisodePair, Rating, RatingAnswers, SegmentPair
from pbrl.questions import Question
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Segments


class ScriptedTeacher(Teacher):
    """Compares segments by their true rewards (Lee et al. 2021, B-Pref, section 3).

    In this order: a pair of which neither is good enough is skipped; the better discounted sum is preferred (surely,
    or with Boltzmann probability); the answer is flipped by mistake; a pair too close in undiscounted sum is a tie.
    Exactly equal discounted sums are a tie too, whatever the numbers below: there is nothing to prefer or to mistake.
    The thresholds are eps * (mean true return per step of the last 10 episodes) * segment length; they act only where
    that is positive, since they make no sense for tasks of negative reward.

    Args:
        beta: rationality; P(right) = sigmoid(beta * (R_right - R_left)). None is infinite: always the better one.
        gamma: weight gamma^(H-1-t) of step t: below 1 the teacher looks at the end (myopic).
        mistake: probability of a flipped answer.
        skip: eps of the skip threshold.
        equal: eps of the tie threshold.
        scale_beta: divide returns by the standard deviation of segment returns in the last 10 episodes, so that one
            beta means the same in every task. B-Pref has no such scale.
        bpref_compat: after the first session use eps^2 instead of eps, as the released PEBBLE code does by multiplying
            twice; published skip and equal results of that family were made so. And decide between exactly equal
            sums, by a coin: in B-Pref equal = 0 never ties.
        rng: where Boltzmann answers and mistakes are drawn.
    """

    EPISODES = 10
    kinds = (SegmentPair, EpisodePair, Choice, Rating)

    def __init__(
        self,
        *,
        beta: float | None,
        gamma: float,
        mistake: float,
        skip: float,
        equal: float,
        scale_beta: bool,
        bpref_compat: bool,
        rng: torch.Generator,
    ) -> None:
        for name, value, low, high in (
            ("gamma", gamma, 0, 1),
            ("mistake", mistake, 0, 1),
            ("skip", skip, 0, 10),
            ("equal", equal, 0, 10),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, expected a number in [{low}, {high}]")
        if beta is not None and not (isinstance(beta, (int, float)) and beta >= 0):
            raise ValueError(f"beta is {beta}, expected a number >= 0, or null for an exact teacher")
        self.beta, self.gamma, self.mistake, self.skip, self.equal = beta, gamma, mistake, skip, equal
        self.scale_beta, self.bpref_compat, self.rng = scale_beta, bpref_compat, rng
        self.rewards: deque[np.ndarray] = deque(maxlen=self.EPISODES)
        self.sessions = 0
        self.warned = False

    def observe(self, episodes: Sequence[Episode]) -> None:
        """Remember the true rewards of the last episodes, so that thresholds follow the agent."""
        self.rewards.extend(e.true_reward for e in episodes)

    def answer(self, left: Segments, right: Segments) -> Answers:
        steps = left.steps
        sums = [s.true_reward.sum(1) for s in (left, right)]
        # Sum in double precision: the same rewards in another order then have the same sum, and are a tie.
        values = [discounted_from_end(s.true_reward.double(), self.gamma) for s in (left, right)]
        answered = torch.maximum(*sums) > self.threshold(self.skip, steps)
        tie = (sums[1] - sums[0]).abs() < self.threshold(self.equal, steps)
        gain = values[1] - values[0]
        if not self.bpref_compat:
            tie |= gain == 0
        prefers_right = self._choose(gain, steps)
        flip = torch.rand(prefers_right.shape, generator=self.rng) < self.mistake
        prefers_right = torch.where(flip, 1 - prefers_right, prefers_right)
        self.sessions += 1
        return Answers(torch.where(tie, 0.5, prefers_right), answered)

    def judge(self, questions: Question) -> Any:
        """Judge rankings by the same values, and thumbs: up above the median return of recent segments."""
        told = self._rank(questions) if questions.kind == Choice.kind else self._rate(questions)
        self.sessions += 1
        return told

    def _rank(self, questions: Any) -> ChoiceAnswers:
        """Rank from best to worst, the Boltzmann way by Plackett-Luce; a mistake swaps two neighbours."""
        steps = questions.items[0].steps
        value = torch.stack([discounted_from_end(s.true_reward.double(), self.gamma) for s in questions.items], 1)
        if self.beta is not None:
            noise = -torch.log(-torch.log(torch.rand(value.shape, generator=self.rng, dtype=torch.double)))
            value = self.beta * value / self._scale(steps) + noise
        order = value.argsort(dim=1, descending=True, stable=True)
        n, k = order.shape
        wrong = torch.nonzero(torch.rand(n, generator=self.rng) < self.mistake).flatten()
        place = torch.randint(k - 1, (len(wrong),), generator=self.rng)
        order[wrong, place], order[wrong, place + 1] = order[wrong, place + 1], order[wrong, place]
        best = torch.stack([s.true_reward.sum(1) for s in questions.items], 1).amax(1)
        return ChoiceAnswers(named(order, questions.wanted), best > self.threshold(self.skip, steps))

    def _rate(self, questions: Any) -> RatingAnswers:
        steps, (shown,) = questions.items[0].steps, questions.items
        gain = discounted_from_end(shown.true_reward.double(), self.gamma) - median_return(self.rewards, steps)
        good = self._choose(gain, steps)
        good = torch.where(torch.rand(good.shape, generator=self.rng) < self.mistake, 1 - good, good)
        good = torch.where(gain.abs() < self.threshold(self.equal, steps), 0.5, good)
        rating = questions.low + good * (questions.high - questions.low)
        return RatingAnswers(rating, shown.true_reward.sum(1) > self.threshold(self.skip, steps))

    def threshold(self, eps: float, steps: int) -> float:
        """Return the return below which eps acts, or -inf where it does not act."""
        if eps == 0 or not self.rewards:
            return -np.inf
        factor = eps**2 if self.bpref_compat and self.sessions > 0 else eps
        value = factor * float(np.concatenate(self.rewards).mean()) * steps
        if value <= 0 and not self.warned:
            self.warned = True
            print("pbrl: rewards are negative on average: teacher.skip and teacher.equal do not act", file=sys.stderr)
        return value if value > 0 else -np.inf

    def _choose(self, gain: Tensor, steps: int) -> Tensor:
        """Return 1 or 0 for each difference (n,) of right and left; a coin toss where it is 0, favouring no side."""
        if self.beta is None:
            probability = 0.5 + 0.5 * gain.sign()
        else:
            probability = torch.sigmoid(self.beta * gain / self._scale(steps))
        return (torch.rand(gain.shape, generator=self.rng) < probability).float()

    def _scale(self, steps: int) -> float:
        if not self.scale_beta:
            return 1.0
        returns = [whole_windows(reward, steps).sum(1) for reward in self.rewards] or [np.zeros(1)]
        return float(np.concatenate(returns).std()) or 1.0  # equal returns have no scale

    def state_dict(self) -> dict[str, Any]:
        return {"rewards": [r.tolist() for r in self.rewards], "sessions": self.sessions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rewards = deque((np.array(r, np.float32) for r in state["rewards"]), maxlen=self.EPISODES)
        self.sessions = state["sessions"]


def named(order: Tensor, wanted: str) -> Tensor:
    """Return what is told of (n, k) places from best to worst, see `Choice.wanted`."""
    ends = {"best": [0], "worst": [-1], "best_and_worst": [0, -1]}
    return order[:, ends[wanted]] if wanted in ends else order


def median_return(rewards: Sequence[np.ndarray], steps: int) -> float:
    """Return the median return of all segments of these episodes; 0 where there are none."""
    returns = [whole_windows(reward.astype(np.float64), steps).sum(1) for reward in rewards] or [np.zeros(1)]
    return float(np.median(np.concatenate(returns)))


def whole_windows(reward: np.ndarray, steps: int) -> np.ndarray:
    """Cut (T,) into whole windows (n, steps); an episode shorter than one is padded, as its segments are."""
    if len(reward) < steps:
        return np.pad(reward, (0, steps - len(reward)))[None]
    return reward[: len(reward) // steps * steps].reshape(-1, steps)


def discounted_from_end(reward: Tensor, gamma: float) -> Tensor:
    """Return sum_t gamma^(T-1-t) r_t over (N, T) -> (N,): the last step counts fully."""
    if gamma == 1:
        return reward.sum(1)
    steps = reward.shape[1]
    return reward @ gamma ** torch.arange(steps - 1, -1, -1, dtype=reward.dtype)
