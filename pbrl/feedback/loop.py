"""One feedback session: choose questions, ask them, learn from the answers."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from pbrl.agents.reward_source import StoredReward
from pbrl.blocks import PartOf, score_in_blocks
from pbrl.data.episodes import Episode, EpisodeStore
from pbrl.errors import UserError
from pbrl.feedback.fit import fit_reward
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.feedback.samplers import preference_probability, uniform
from pbrl.feedback.schedule import session_size
from pbrl.finite import REWARD_MODEL, require_finite
from pbrl.labels.segment_files import SegmentPairs
from pbrl.labels.store import LabelStore
from pbrl.losses import preference_accuracy
from pbrl.types import Answers, QuerySampler, RewardModel, Segments, Teacher

ACCURACY_PAIRS, CORRELATION_STEPS, DISAGREEMENT_PAIRS = 256, 5000, 1000


@dataclass
class Counts:
    """What was asked so far and how it was answered."""

    asked: int = 0
    decisive: int = 0
    equal: int = 0
    skipped: int = 0

    @property
    def labels(self) -> int:
        return self.decisive + self.equal


class FeedbackLoop:
    """Everything between episodes and a better reward model.

    Accounting: `counts: asked` charges each question to the budget, also one that is skipped (as B-Pref does);
    `counts: answered` charges only answers, `counts: decisive` only those that are not "equal".
    """

    waiting: Sequence[int] = ()  # queries that this session still waits for: scripts answer at once
    needed = 2  # segments of the pool before a session: the two sides of a question are never the same one

    def __init__(
        self,
        config: DictConfig,
        fit: dict[str, Any],
        steps: int,
        model: RewardModel,
        teacher: Teacher,
        annotator: str,
        sampler: QuerySampler,
        sampler_name: str,
        labels: LabelStore,
        rngs: dict[str, torch.Generator],
        reward_std: float | None = None,
    ) -> None:
        self.config, self.fit, self.steps = config, fit, steps
        self.model, self.teacher, self.annotator = model, teacher, annotator
        self.sampler, self.sampler_name = sampler, sampler_name
        self.labels, self.rngs = labels, rngs
        self.preferences = PreferenceDataset(config.heldout, rngs["preferences"])
        self.counts = Counts()
        self.reward = StoredReward(self.step_reward)
        self.sessions, self.updates = 0, 0
        self.fitted = False  # a fit of the model has begun
        self.imported = 0  # the last imported query that was taken
        self.warned = False  # that sessions wait
        self.stopped: Callable[[], bool] = lambda: False  # the run is to end, so nothing may wait longer
        self.reward_std, self.scale = reward_std, 1.0
        self.observed: list[np.ndarray] = []  # observations since the last session, for the input statistics

    @property
    def spent(self) -> int:
        """What the budget was charged so far, by `feedback.counts`."""
        return {"asked": self.counts.asked, "answered": self.counts.labels, "decisive": self.counts.decisive}[
            self.config.counts
        ]

    @property
    def every(self) -> int:
        """Environment steps between sessions."""
        return self.config.every

    @property
    def exhausted(self) -> bool:
        return self.spent >= self.config.budget

    @property
    def has_reward(self) -> bool:
        """Something was learned: before the first answer the model is noise, and nothing may follow it."""
        return self.updates > 0

    def can_ask(self, episodes: EpisodeStore) -> bool:
        """There is budget left, and there are segments to ask about; if not, the session waits for them."""
        if self.exhausted or len(episodes) == 0:
            return False
        starts = int(episodes.count_starts(self.segment_length, self.config.pool_episodes).sum())
        if starts >= self.needed:
            return True
        if self.sessions == 0 and not episodes.any_terminated:  # time limits alone: later episodes are no longer
            self._check_pool(episodes, starts)
        if starts and not self.warned:
            self.warned = True
            print("pbrl: questions wait for a second segment: one alone cannot be compared", file=sys.stderr)
        return False

    def _check_pool(self, episodes: EpisodeStore, starts: int) -> None:
        """Raises UserError where episodes like these never give two segments."""
        longest, pool = int(episodes.lengths.max()), self.config.pool_episodes
        if not starts:
            valid = f"valid are 1 to {longest} steps" if longest > 1 else "valid is 1 step"
            raise UserError(f"feedback.segment_length={self.segment_length}: no episode is that long; {valid}")
        if pool == 1:
            raise UserError(
                f"feedback.pool_episodes=1: {longest} steps have one segment of {self.segment_length}, and a question "
                "compares two; give feedback.pool_episodes=2 or more, or a shorter feedback.segment_length"
            )

    @property
    def segment_length(self) -> int:
        return self.config.segment_length

    def session(self, episodes: EpisodeStore, env_steps: int) -> dict[str, float]:
        """Asks and learns; returns `reward/*` and `feedback/*` figures."""
        self._learn_scales()
        self._take_imported()
        pairs, disagreement = self._questions(episodes, env_steps)
        queries = self._ask(pairs, env_steps)
        answers = self.teacher.answer(pairs.left, pairs.right)
        self.labels.answer(queries, answers, self.annotator)
        fresh = self._fresh_accuracy(pairs.left, pairs.right, answers.prefers_right, answers.answered)
        self.preferences.add(pairs.left, pairs.right, answers)
        self._count(answers.prefers_right, answers.answered)
        return self._learn(episodes, {"fresh_accuracy": fresh, "disagreement": disagreement})

    def step_reward(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """What drives the agent: the model's reward (M,), with `reward_std` scaled to it over recent steps.

        Only scaled, not shifted: what an end is worth hangs on the offset.
        """
        return require_finite(self.scale * self.model.step_reward(obs, actions), REWARD_MODEL, "a reward")

    def observe(self, finished: list[Episode]) -> None:
        """New episodes: the teacher's thresholds and the model's input statistics follow them."""
        self.teacher.observe(finished)
        if not self.exhausted:
            self.observed.extend(e.obs[:-1] for e in finished)

    def metrics(self) -> dict[str, float]:
        c = self.counts
        return {
            "feedback/labels": c.labels,
            "feedback/decisive": c.decisive,
            "feedback/equal": c.equal,
            "feedback/skipped": c.skipped,
        } | {name: value for name, value in self.teacher.metrics().items() if not math.isnan(value)}  # none asked yet

    @torch.no_grad()
    def quality(self, episodes: EpisodeStore) -> dict[str, float]:
        """How well the reward agrees with the true one on recent episodes; evaluation only, nothing learns from it."""
        learned, true = self._recent_rewards(episodes)
        return {"true_accuracy": self._true_accuracy(episodes), "corr_true": correlation(learned, true)}

    def _recent_rewards(self, episodes: EpisodeStore) -> tuple[np.ndarray, np.ndarray]:
        """Of the model and of the environment, on recent steps; NotFinite where the model's is not."""
        obs, actions, true = episodes.recent_steps(CORRELATION_STEPS)
        return require_finite(self.model.step_reward(obs, actions), REWARD_MODEL, "a reward"), true

    def _true_accuracy(self, episodes: EpisodeStore) -> float:
        """Of random pairs whose true returns differ; NaN where recent episodes have no two segments."""
        length, pool = self.segment_length, self.config.pool_episodes
        if episodes.count_starts(length, pool).sum() < 2:
            return math.nan
        rng = torch.Generator().manual_seed(self.sessions)
        left, right = episodes.sample_pairs(ACCURACY_PAIRS, length, rng, pool)
        true = [s.true_reward.double().sum(1) for s in (left, right)]
        better = torch.where(true[0] == true[1], 0.5, (true[1] > true[0]).double()).float()
        return float(preference_accuracy(*self._mean_scores(left, right), better))

    def tell(self, state: str, env_steps: int, next_at: int | None) -> None:
        """What the run does now, and when it asks next, for those who answer; a script does not look."""

    def _learn_scales(self) -> None:
        """Input statistics from all observations since the last session."""
        if self.observed:
            self.model.observe(np.concatenate(self.observed))
            self.observed.clear()

    def _ask(self, pairs: SegmentPairs, env_steps: int) -> list[int]:
        queries = self.labels.ask(self.sessions, env_steps, pairs, sampler=self.sampler_name)
        self.sessions += 1
        return queries

    def _learn(self, episodes: EpisodeStore, metrics: dict[str, float]) -> dict[str, float]:
        """Fits the reward to all answers; returns what was measured before, by the fit and after it."""
        if not self.has_reward:
            self._recent_rewards(episodes)  # what is not finite now, no fit has spoilt
        self.fitted = True
        fit = fit_reward(self.model, self.preferences, members=self.model.members, rng=self.rngs["fit"], **self.fit)
        self.updates += int(fit.pop("updates"))
        if self.reward_std is not None:
            self.scale = self.reward_std / max(float(self._recent_rewards(episodes)[0].std()), 1e-6)
        metrics = metrics | {"updates": self.updates} | fit | self.quality(episodes)
        return {f"reward/{k}": v for k, v in metrics.items()} | self.metrics()

    def _take_imported(self) -> None:
        """Answers that `pbrl labels import` brought since the last session; they cost no budget."""
        queries = [q.id for q in self.labels.queries() if q.session < 0 and q.id > self.imported]
        found = self.labels.comparisons(queries) if queries else None
        if found is not None:
            self._check_shape(found.left, f"imported labels in {self.labels.path}")
            answered = torch.ones(len(found), dtype=torch.bool)
            self.preferences.add(found.left, found.right, Answers(found.prefers_right, answered))
        self.imported = max(queries, default=self.imported)

    def _check_shape(self, given: Segments, where: str) -> None:
        """Segments from elsewhere must be like those of this run."""
        expected = (self.segment_length, self.model.obs_size, self.model.action_size)
        found = (given.steps, given.obs.shape[-1], given.actions.shape[-1])
        if found != expected:
            said, wanted = ("{} steps, {} observations and {} actions".format(*sizes) for sizes in (found, expected))
            raise UserError(f"{where} have segments of {said}; those of this run have {wanted}")

    def _questions(self, episodes: EpisodeStore, env_steps: int) -> tuple[SegmentPairs, float]:
        """The pairs of this session, and the members' disagreement on candidates as they were chosen from."""
        n = session_size(self.config.schedule, self.config.per_session, env_steps, self.steps)
        return self._choose(episodes, min(n, self.config.budget - self.spent))

    def _choose(self, episodes: EpisodeStore, n: int) -> tuple[SegmentPairs, float]:
        c, rng = self.config, self.rngs["queries"]
        # Candidates are gathered in blocks, and only what is asked with the states of the simulator.
        left, right = episodes.draw_pairs(c.candidates * n, c.segment_length, rng, c.pool_episodes)
        # Before the first answer the model knows nothing: any choice by it would be noise with a bias.
        choose = self.sampler if self.has_reward else uniform
        rows = choose(self.model, left, right, n, self.preferences.all, rng)
        some = torch.arange(min(len(left), DISAGREEMENT_PAIRS))  # candidates come in no order
        measured = PartOf(left, some), PartOf(right, some)
        disagreement = preference_probability(self.model, *measured).std(0, unbiased=False).mean()
        asked = left[rows], right[rows]
        states = [episodes.states(side.ids.numpy(), c.segment_length) for side in asked]
        return SegmentPairs(*asked, *states), float(disagreement)

    @torch.no_grad()
    def _fresh_accuracy(
        self, left: Segments, right: Segments, prefers_right: torch.Tensor, answered: torch.Tensor
    ) -> float:
        """How many of the new answers the model foresaw; the sampler chose hard ones, so it is a lower bound."""
        if not answered.any():
            return math.nan
        scores = self._mean_scores(left[answered], right[answered])
        return float(preference_accuracy(*scores, prefers_right[answered]))

    def _mean_scores(self, left: Segments, right: Segments) -> tuple[torch.Tensor, torch.Tensor]:
        return score_in_blocks(self.model.score, left).mean(0), score_in_blocks(self.model.score, right).mean(0)

    def _count(self, prefers_right: torch.Tensor, answered: torch.Tensor) -> None:
        equal = int(((prefers_right == 0.5) & answered).sum())
        self.counts.asked += len(answered)
        self.counts.equal += equal
        self.counts.decisive += int(answered.sum()) - equal
        self.counts.skipped += int((~answered).sum())

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.model.optimizer.state_dict(),
            "teacher": self.teacher.state_dict(),
            "preferences": self.preferences.state_dict(),
            "counts": vars(self.counts).copy(),
            "sessions": self.sessions,
            "updates": self.updates,
            "imported": self.imported,
            "scale": self.scale,
            "observed": self.observed,
            "rngs": {k: g.get_state() for k, g in self.rngs.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.model.optimizer.load_state_dict(state["optimizer"])
        self.teacher.load_state_dict(state["teacher"])
        self.preferences.load_state_dict(state["preferences"])
        self.counts = Counts(**state["counts"])
        self.sessions, self.updates, self.imported = state["sessions"], state["updates"], state["imported"]
        self.observed, self.scale = list(state["observed"]), float(state["scale"])
        for name, generator_state in state["rngs"].items():
            self.rngs[name].set_state(generator_state)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; NaN where one side is constant."""
    if a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
