"""A reward from comparisons, then IQL on it: two phases, so that the reward stands still while the policy learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.iql import IQL, Batch
from pbrl.data.episodes import Episode
from pbrl.data.offline import Transitions
from pbrl.errors import choices
from pbrl.methods.learner import Learner, share_of, whole_numbers
from pbrl.types import Comparisons, Segments

CONTROLS = ("true", "zero", "random", "negated")
SCHEDULES = ("constant", "warmup_cosine")
WARMUP_SHARE = 0.1  # of the reward's updates (csmile-1006/PreferenceTransformer)


class OfflineReward(Protocol):
    """What the first phase needs of a reward model; PartialReturn and PreferenceTransformer are such."""

    members: int

    def observe(self, obs: np.ndarray) -> None: ...  # (M, O)

    def update(self, comparisons: Comparisons) -> dict[str, float]: ...

    def score(self, segments: Segments) -> Tensor: ...  # (E, N)

    def episode_reward(self, episode: Episode) -> np.ndarray: ...  # (L,)


class RewardThenIQL(Learner):
    """P-IQL with clean phases; with a control instead of a reward model, plain IQL on that reward.

    Args:
        model: makes the reward model from obs_size, action_size and rng; None where `control` is given.
        control: "true" reward of the data, "zero", "random" (uniform per step) or "negated" true reward: a task on
            which zero does as well as true says nothing about rewards (Shin et al. 2023).
        reward_share: share of the run that fits the reward; this and the next two are None with a control.
        reward_schedule: "constant", or "warmup_cosine": its rate rises from a tenth over the first 10 % of the phase
            and falls back along a cosine, as Preference Transformer's.
        pairs: comparisons per update of the reward, for each member.
        batch_size: steps per update of IQL.
        scale: divide rewards by (best - worst episode sum) / mean episode length, as Preference Transformer does up to
            its constant; else they stay as they are.
        iql: makes the critics, see `IQL`.
    """

    stages = ("reward_updates",)

    def __init__(
        self,
        *,
        model: Callable[..., Any] | None,
        control: str | None,
        reward_share: float | None,
        reward_schedule: str | None,
        pairs: int | None,
        batch_size: int,
        scale: bool,
        iql: Callable[..., IQL],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if (model is None) == (control is None):
            raise ValueError("method.learner needs either a model or a control, not both")
        if control not in (None, *CONTROLS):
            raise ValueError(f"method.learner.control={control}: {choices(control, CONTROLS)}")
        if control in ("true", "negated") and not all(np.isfinite(e.true_reward).all() for e in self.data.episodes):
            raise ValueError(f"method.learner.control={control} needs true rewards, which this data does not have")
        if control is not None and (reward_share, reward_schedule, pairs) != (None, None, None):
            raise ValueError("method.learner.reward_share, reward_schedule and pairs belong to a model; expected null")
        whole_numbers(batch_size=batch_size)
        if control is None:
            whole_numbers(pairs=pairs)
            if reward_schedule not in SCHEDULES:
                raise ValueError(
                    f"method.learner.reward_schedule={reward_schedule}: {choices(reward_schedule, SCHEDULES)}"
                )
        self.control, self.pairs, self.batch_size, self.scale = control, pairs, batch_size, scale
        self.reward_schedule = reward_schedule
        self.reward_updates = share_of(self.steps, reward_share or 0.0, "reward_share")
        policy_steps = max(self.steps - self.reward_updates, 1)
        self.iql = iql(policy=self.policy, policy_steps=policy_steps, rng=self.rng)
        self.optimizers["iql"] = self.iql.optimizer
        self.model: Any = None
        if model is not None:
            self.model = model(obs_size=self.require_vectors(), action_size=self.action_size, rng=self.rng)
            self.model.observe(self.data.observations)
            self.optimizers["reward"] = self.model.optimizer
            self.reward_lr = self.model.optimizer.param_groups[0]["lr"]
            with torch.no_grad():
                self.model.score(self.data.segments[:1])  # too long a segment fails here, not in the run
        self.transitions: Transitions = self.data.transitions()
        self.rewards: Tensor | None = None  # (M,) computed when the second phase starts

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.iql.policy_steps = max(self.steps - self.reward_updates, 1)

    def _update(self) -> dict[str, float]:
        if self.model is not None and self.updates < self.reward_updates:
            for group in self.model.optimizer.param_groups:
                group["lr"] = self.reward_lr * self._rate_factor()
            comparisons = self.data.sample_pairs(self.model.members * self.pairs, self.rng)
            return {f"reward/{k}": v for k, v in self.model.update(comparisons).items()}
        if self.rewards is None:
            self.rewards = self._all_rewards()
        rows = torch.randint(len(self.rewards), (self.batch_size,), generator=self.rng)
        batch = Batch(*(column[rows] for column in self.transitions))
        return self.iql.update(self.policy, batch, self.rewards[rows])

    @property
    def reads_labels(self) -> bool:
        return self.model is not None

    def _rate_factor(self) -> float:
        if self.reward_schedule == "constant":
            return 1.0
        done, warmup = self.updates + 1, max(round(WARMUP_SHARE * self.reward_updates), 1)
        if done <= warmup:
            return 0.1 + 0.9 * done / warmup
        return 0.55 + 0.45 * math.cos(math.pi * (done - warmup) / max(self.reward_updates - warmup, 1))

    def _all_rewards(self) -> Tensor:
        """(M,) of all transitions; depends on the model and the data alone, so a resumed run finds the same."""
        # A generator of its own: the same numbers whenever a run is resumed.
        rng = np.random.default_rng(self.rng.initial_seed())
        each = [self.episode_reward(e, rng) for e in self.data.episodes]
        if self.scale:
            sums = [float(r.sum()) for r in each]
            spread = (max(sums) - min(sums)) / (sum(map(len, each)) / len(each))
            each = [r / spread for r in each] if spread > 0 else each
        return self.data.per_transition(each)

    def episode_reward(self, episode: Episode, rng: np.random.Generator) -> np.ndarray:
        """(L,) unscaled; rng: of the random control."""
        if self.model is not None:
            self.model.eval()
            return self.model.episode_reward(episode)
        if self.control == "random":
            return rng.uniform(-1, 1, len(episode)).astype(np.float32)
        if self.control == "zero":
            return np.zeros(len(episode), np.float32)
        return episode.true_reward if self.control == "true" else -episode.true_reward

    @torch.no_grad()
    def score(self, segments: Segments) -> Tensor | None:
        if self.model is None:
            return None
        self.model.eval()
        return self.model.score(segments).mean(0)
