"""A reward from comparisons, then IQL on it: two phases, so that the reward stands still while the policy learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.iql import IQL, Batch
from pbrl.checks import one_of, positive, required, share, whole
from pbrl.data.offline import Transitions
from pbrl.methods.method import Metrics, Run
from pbrl.methods.offline import OfflineMethod, share_of
from pbrl.nets.devices import move
from pbrl.rewards.calibration import fit_temperature
from pbrl.rewards.objective import USUAL
from pbrl.types import Episode, Segments

CONTROLS = ("true", "zero", "random", "negated")
SCHEDULES = ("constant", "warmup_cosine")
WARMUP_SHARE = 0.1  # of the reward's updates (csmile-1006/PreferenceTransformer)


class RewardThenIQL(OfflineMethod):
    """P-IQL with clean phases.

    Args:
        model: makes the reward model from obs_size, action_size and rng.
        reward_share: share of the run that fits the reward.
        reward_schedule: "constant", or "warmup_cosine": its rate rises from a tenth over the first 10 % of the phase
            and falls back along a cosine, as Preference Transformer's.
        pairs: comparisons per update of the reward, for each member.
        batch_size: steps per update of IQL.
        scale: divide rewards by (best - worst episode sum) / mean episode length, as Preference Transformer does up to
            its constant; else they stay as they are.
        iql: makes the critics, see `IQL`.
    """

    accelerated = True
    stages = ("reward_updates",)
    fits, learns_lists = tuple(USUAL), True
    chooses = True

    def __init__(
        self,
        *,
        model: Callable[..., Any] | None,
        reward_share: float,
        reward_schedule: str,
        pairs: int,
        batch_size: int,
        scale: bool,
        iql: Callable[..., IQL],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        required(iql=iql)
        share(reward_share=reward_share)
        whole(1, pairs=pairs, batch_size=batch_size)
        one_of(SCHEDULES, reward_schedule=reward_schedule)
        self.pairs, self.batch_size, self.scale = pairs, batch_size, scale
        self.reward_share, self.reward_schedule = reward_share, reward_schedule
        self._make_model, self._make_iql = model, iql
        if self.reads_labels:
            required(model=model)
        if model is not None:
            positive(reward_share=reward_share)

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.reward_updates = share_of(self.steps, self.reward_share)
        if self._make_model is not None:
            self.reward_updates = max(self.reward_updates, 1)  # a share of a short run may round to none
        policy_steps = max(self.steps - self.reward_updates, 1)
        self.iql = move(self._make_iql(policy=self.actor, policy_steps=policy_steps, rng=self.rng), run.device)
        self.optimizers["iql"] = self.iql.optimizer
        if self._make_model is not None:
            self.model = self.make_model(self.require_vectors(), self.action_size, self.rng)
            self._answers = self.learn_answers()
            self.model.observe(self.data.observations)
            self.optimizers["reward"] = self.model.optimizer
            self.reward_lr = self.model.optimizer.param_groups[0]["lr"]
            with torch.no_grad():
                self.model.score(self.data.segments[:1])  # too long a segment fails here, not in the run
        self._transitions: Transitions = self.data.transitions()
        self._rewards: Tensor | None = None  # (M,) computed when the second phase starts

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.iql.policy_steps = max(self.steps - self.reward_updates, 1)

    def update(self) -> Metrics:
        if self.model is not None and self.updates < self.reward_updates:
            for group in self.model.optimizer.param_groups:
                group["lr"] = self.reward_lr * self._rate_factor()
            comparisons = self.objective.draw(self._answers, self.model.members * self.pairs, self.rng)
            metrics = self.objective.update(self.model, comparisons) | self.objective.facts()
            return {f"reward/{k}": v for k, v in metrics.items()}
        if self._rewards is None:
            if self.model is not None:
                self.objective.settle(self.model, [self.data.segments])
            self._rewards = self._all_rewards()
        rows = torch.randint(len(self._rewards), (self.batch_size,), generator=self.rng)
        batch = Batch(*(column[rows] for column in self._transitions))
        return self.iql.update(self.actor, batch, self._rewards[rows])

    def _rate_factor(self) -> float:
        if self.reward_schedule == "constant":
            return 1.0
        done, warmup = self.updates + 1, max(round(WARMUP_SHARE * self.reward_updates), 1)
        if done <= warmup:
            return 0.1 + 0.9 * done / warmup
        return 0.55 + 0.45 * math.cos(math.pi * (done - warmup) / max(self.reward_updates - warmup, 1))

    def _all_rewards(self) -> Tensor:
        """Compute the rewards (M,) of all transitions from model and data alone; a resumed run finds the same."""
        # A generator of its own gives the same numbers whenever a run is resumed.
        rng = np.random.default_rng(self.rng.initial_seed())
        self._temperature = self.temperature()
        each = [self.episode_reward(e, rng) for e in self.data.episodes]
        if self.scale:
            sums = [float(r.sum()) for r in each]
            spread = (max(sums) - min(sums)) / (sum(map(len, each)) / len(each))
            each = [r / spread for r in each] if spread > 0 else each
        return self.data.per_transition(each)

    def episode_reward(self, episode: Episode, rng: np.random.Generator) -> np.ndarray:
        """Return unscaled rewards (L,); rng: of rewards that are drawn."""
        self.model.eval()
        rewards: np.ndarray = self.model.episode_reward(episode) / self._temperature
        return rewards

    def temperature(self) -> float:
        """Return what rewards are divided by: that of the held-out answers, where `fit.calibrate` says so."""
        if not self.objective.calibrate or self.data.validation is None:
            return 1.0
        self.model.eval()
        held = self.data.validation
        return fit_temperature(self.objective.gain(self.model, held), held.prefers_right)

    def about_reward(self) -> dict[str, str]:
        return {"scale": str(1 / self.temperature())} if self.objective.calibrate else {}

    @torch.no_grad()
    def score(self, segments: Segments) -> Tensor | None:
        if self.model is None:
            return None
        self.model.eval()
        return self.objective.scores(self.model.score(segments), segments).mean(0)


class IQLOnControl(RewardThenIQL):
    """Plain IQL on a reward that no answer has any part in.

    A task on which zero does as well as true says nothing about rewards (Shin et al. 2023).

    Args:
        control: "true" reward of the data, "zero", "random" (uniform per step) or "negated" true reward.
        others: as for `RewardThenIQL`.
    """

    accelerated = True
    reads_labels = False
    fits = ()

    def __init__(self, *, control: str, **common: Any) -> None:
        nothing: dict[str, Any] = {"model": None, "reward_share": 0.0, "reward_schedule": SCHEDULES[0], "pairs": 1}
        super().__init__(**nothing, **common)
        one_of(CONTROLS, control=control)
        self.control = control

    def begin(self, run: Run) -> None:
        rewards = [e.true_reward for e in run.data.episodes]
        if self.control in ("true", "negated") and not all(np.isfinite(r).all() for r in rewards):
            raise ValueError(f"control={self.control} needs true rewards, which this data does not have")
        super().begin(run)

    def episode_reward(self, episode: Episode, rng: np.random.Generator) -> np.ndarray:
        if self.control == "random":
            return rng.uniform(-1, 1, len(episode)).astype(np.float32)
        if self.control == "zero":
            return np.zeros(len(episode), np.float32)
        return episode.true_reward if self.control == "true" else -episode.true_reward
