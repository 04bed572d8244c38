"""VPL (Poddar et al. 2024): a reward and a policy for each user, from a few of their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pbrl.agents.iql import IQL, Batch
from pbrl.checks import positive, required, share, whole
from pbrl.data.offline import Pairs, Transitions
from pbrl.errors import UserError, choices
from pbrl.labels.sets import load_answers
from pbrl.losses import bradley_terry_loss, preference_accuracy
from pbrl.methods.maxmin import GroupWeights
from pbrl.methods.method import Act, Learned, Metrics, Run, of_part
from pbrl.methods.offline import OfflineMethod, share_of
from pbrl.nets.policies import Policy
from pbrl.question_kinds import SegmentPair
from pbrl.rewards.latent_user import Answered, LatentUser
from pbrl.types import Comparisons


class OfUser:
    """The policy of a taste z: that of all, with z behind the observation."""

    def __init__(self, policy: Policy, z: Tensor) -> None:
        self.policy, self.z = policy, z

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions (M, A) of observations (M, O)."""
        return self.policy.act(np.concatenate([obs, self.z.expand(len(obs), -1).numpy()], 1))

    def as_module(self) -> torch.nn.Module:
        """The same on tensors."""
        return _PolicyOfUser(self.policy.eval(), self.z)


class RewardOfUser:
    """The reward of a taste z."""

    def __init__(self, model: LatentUser, z: Tensor) -> None:
        self.model, self.z = model, z

    @torch.no_grad()
    def __call__(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Rewards (M,) of observations (M, O) and actions (M, A)."""
        seen, acted = torch.from_numpy(np.float32(obs)), torch.from_numpy(np.float32(actions))
        return self.model.step_reward(seen, acted, self.z.expand(len(obs), -1)).numpy()

    def as_module(self) -> torch.nn.Module:
        """The same on tensors."""
        return _RewardOfUser(self.model.eval(), self.z)


class _PolicyOfUser(torch.nn.Module):
    z: Tensor

    def __init__(self, policy: Policy, z: Tensor) -> None:
        super().__init__()
        self.policy = policy
        self.register_buffer("z", z)

    def forward(self, obs: Tensor) -> Tensor:
        action: Tensor = self.policy(torch.cat([obs, self.z.expand(obs.shape[0], -1)], 1))
        return action


class _RewardOfUser(torch.nn.Module):
    z: Tensor

    def __init__(self, model: LatentUser, z: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("z", z)

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        return self.model.step_reward(obs, actions, self.z.expand(obs.shape[0], -1))


class Vpl(OfflineMethod):
    """Learns the latent-variable reward from each annotator's answers, then IQL on rewards of many tastes at once.

    In a batch of IQL each step is seen with the taste of one of a few users, inferred from answers drawn anew, and its
    reward is divided by the spread of that taste's rewards in the batch: how much a user cares has no say in it.

    Args:
        model: makes the reward, a `LatentUser`, from obs_size, action_size, latent and rng.
        latent: Z.
        answers: of a user, that a taste is inferred from; at most so many are asked of a new one.
        users, pairs: in a batch of the reward, and answers of each, of which the first `answers` are the known ones.
        reward_share: of the run in which the reward is learned.
        batch_size: steps in a batch of IQL.
        iql: makes the critics, see `IQL`.
        maxmin: None: a policy for each user. Else one for all, that serves the worst served user best, and how sharply
            the weights of users lean to that one, see `GroupWeights`. A user's utility is the mean reward of the
            policy's actions less that of recorded ones, in units of the spread of the latter.
    """

    groups: GroupWeights | None = None  # of users, where there is one policy for all
    stages = ("reward_updates",)
    exports: ClassVar[Mapping[str, str]] = {"policy": "actor", "model": "model", "users": "users"}

    def __init__(
        self,
        *,
        model: Callable[..., LatentUser],
        latent: int,
        answers: int,
        users: int,
        pairs: int,
        reward_share: float,
        batch_size: int,
        iql: Callable[..., IQL],
        maxmin: float | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        required(model=model, iql=iql)
        if maxmin is not None:
            positive(maxmin=maxmin)
        whole(1, latent=latent, answers=answers, users=users, pairs=pairs, batch_size=batch_size)
        positive(reward_share=reward_share)
        share(reward_share=reward_share)
        self.latent, self.answers, self.users_drawn, self.pairs = latent, answers, users, pairs
        self.reward_share, self.batch_size = reward_share, batch_size
        self._make_model, self._make_iql, self.maxmin = model, iql, maxmin

    def begin(self, run: Run) -> None:
        super().begin(run)
        self.require_vectors()
        if run.data.scores is not None:
            raise ValueError("feedback.pairs=dense: no user answered these; method=vpl learns from listed comparisons")
        self.reward_updates = share_of(self.steps, self.reward_share)
        steps = max(self.steps - self.reward_updates, 1)
        self.iql = self._make_iql(policy=self.actor, policy_steps=steps, rng=self.rng)
        self.model = self._reward(self.rng)
        self.model.observe(self.data.observations)
        self.optimizers |= {"iql": self.iql.optimizer, "reward": self.model.optimizer}
        self.users: dict[str, Tensor] = {}  # the taste (Z,) of each, once there is a reward
        pairs = self.data.pairs
        self._own = {name: torch.nonzero(pairs.annotator == i)[:, 0] for i, name in enumerate(self.data.annotators)}
        self._own = {name: rows for name, rows in self._own.items() if len(rows)}
        if self.maxmin is None:
            self.contexts = tuple(self._own)
        else:
            self.groups = GroupWeights(len(self._own), self.maxmin)
        self._transitions: Transitions = self.data.transitions()

    def policy_inputs(self) -> np.ndarray:
        """Return the policy's inputs with tastes as they are before anything is known of a user."""
        obs = self.data.observations
        z = torch.randn(len(obs), self.latent, generator=self.rng).numpy()
        return np.concatenate([obs, z], 1)

    def make_policy(self, rng: torch.Generator) -> Policy:
        return self._make_policy(obs_shape=(self.obs_shape[0] + self.latent,), action_size=self.action_size, rng=rng)

    def _reward(self, rng: torch.Generator) -> LatentUser:
        sizes = {"obs_size": self.obs_shape[0], "action_size": self.action_size, "latent": self.latent}
        model: LatentUser = self._make_model(**sizes, rng=rng)
        return model

    def update(self) -> Metrics:
        if self.updates < self.reward_updates:
            progress = self.updates / self.reward_updates
            measured = self.model.update(self._draw(self.pairs), min(self.answers, self.pairs), progress, self.rng)
            return {f"reward/{name}": value for name, value in measured.items()}
        if not self.users:
            self.users = {name: self._taste_of(self.data.pairs[rows]) for name, rows in self._own.items()}
        if self.groups is not None:
            return self._update_for_all(self.groups, *self._draw_steps())
        with torch.no_grad():
            tastes = self.model.encode(self._draw(self.answers)).mean  # (users, Z)
        obs, actions, next_obs, terminated = self._draw_steps()
        whose = torch.arange(self.batch_size) % len(tastes)
        z = tastes[whose]
        batch = Batch(torch.cat([obs, z], 1), actions, torch.cat([next_obs, z], 1), terminated)
        return self.iql.update(self.actor, batch, self._rewards(obs, actions, tastes, whose))

    def _update_for_all(
        self, groups: GroupWeights, obs: Tensor, actions: Tensor, next_obs: Tensor, terminated: Tensor
    ) -> Metrics:
        """IQL on the rewards of all users, weighed so that the worst served one counts most; nobody's taste is seen."""
        nobody = torch.zeros(len(obs), self.latent)
        batch = Batch(torch.cat([obs, nobody], 1), actions, torch.cat([next_obs, nobody], 1), terminated)
        acted = torch.from_numpy(self.actor.act(batch.obs.numpy()))
        with torch.no_grad():
            recorded, own = (
                torch.stack([self.model.step_reward(obs, a, z.expand(len(obs), -1)) for z in self.users.values()])
                for a in (actions, acted)
            )  # (U, B)
        mean, spread = recorded.mean(1, keepdim=True), recorded.std(1, keepdim=True).clamp(min=1e-6)
        utilities = ((own - mean) / spread).mean(1)
        groups.lean(utilities)
        reward = groups.weights @ ((recorded - mean) / spread)
        return self.iql.update(self.actor, batch, reward) | {"train/least_utility": float(utilities.min())}

    @torch.no_grad()
    def _rewards(self, obs: Tensor, actions: Tensor, tastes: Tensor, whose: Tensor) -> Tensor:
        """Return the rewards (B,) of each step's own taste, over the spread of that taste's rewards of all steps."""
        by_taste = torch.stack([self.model.step_reward(obs, actions, z.expand(len(obs), -1)) for z in tastes])
        return (by_taste / by_taste.std(1, keepdim=True).clamp(min=1e-6))[whose, torch.arange(len(obs))]

    def _draw_steps(self) -> Transitions:
        rows = torch.randint(len(self._transitions.obs), (self.batch_size,), generator=self.rng)
        return Transitions(*(column[rows] for column in self._transitions))

    def _draw(self, answers: int) -> Answered:
        """Draw so many answers, with replacement, of each of some users, with replacement too."""
        names = list(self._own)
        chosen = torch.randint(len(names), (self.users_drawn,), generator=self.rng).tolist()
        own = [self._own[names[i]] for i in chosen]
        rows = torch.cat([rows[torch.randint(len(rows), (answers,), generator=self.rng)] for rows in own])
        return answered(self.data.pairs[rows].comparisons(self.data.segments), self.users_drawn)

    @torch.no_grad()
    def _taste_of(self, pairs: Pairs) -> Tensor:
        """Infer a taste (Z,) from the first answers of one user."""
        return self.model.encode(answered(pairs[: self.answers].comparisons(self.data.segments), 1)).mean[0]

    def policy(self, context: Any = None) -> Act:
        return OfUser(self.actor, self._seen(self.users.get(context, torch.zeros(self.latent)))).act

    def _seen(self, z: Tensor) -> Tensor:
        """Return the taste that the policy sees of a user's; nobody's where there is one policy for all."""
        return z if self.maxmin is None else torch.zeros(self.latent)

    def metrics(self) -> Metrics:
        """Loss and accuracy on answers that were not learned from, with the taste of who gave them."""
        found: Metrics = {}
        for name, held in (("validation", self.data.validation), ("test", self.data.test)):
            if held is not None and (sides := self._score_both(held)) is not None:
                left, right, target = sides
                found[f"{name}/loss"] = float(bradley_terry_loss(left[None], right[None], target))
                found[f"{name}/accuracy"] = float(preference_accuracy(left, right, target))
        return found

    @torch.no_grad()
    def _score_both(self, held: Comparisons) -> tuple[Tensor, Tensor, Tensor] | None:
        """Score both sides of answers (n,), of the users that there are training answers of."""
        parts: list[tuple[Tensor, ...]] = []
        for i, name in enumerate(self.data.annotators):
            if name in self._own and (rows := torch.nonzero(held.annotator == i)[:, 0]).numel():
                z, of_user = self._taste_of(self.data.pairs[self._own[name]]), held[rows]
                scores = (self.model.score(side, z) for side in (of_user.left, of_user.right))
                parts.append((*scores, of_user.prefers_right))
        left, right, target = map(torch.cat, zip(*parts, strict=True)) if parts else (None, None, None)
        return None if left is None or right is None or target is None else (left, right, target)

    def facts(self) -> dict[str, Any]:
        found = super().facts() | {"users": list(self._own)}
        if self.groups is not None:
            found["user_weights"] = dict(zip(self._own, self.groups.weights.tolist(), strict=True))
        return found

    def of_weights(self, weights: Mapping[str, Tensor], obs_shape: tuple[int, ...], action_size: int) -> Learned:
        """Return the policy of the only user, or of nobody in particular; `personal` gives those of users."""
        self.obs_shape, self.action_size = obs_shape, action_size
        self.actor, self.model = self.make_policy(torch.Generator()), self._reward(torch.Generator())
        self.actor.load_state_dict(of_part(weights, "policy"))
        self.model.load_state_dict(of_part(weights, "model"))
        self.users = of_part(weights, "users")
        return self._learned(*self.users.values() if len(self.users) == 1 else [torch.zeros(self.latent)])

    def personal(self, user: str) -> Learned:
        if user in self.users:
            return self._learned(self.users[user])
        if not Path(user).is_dir():
            here = f"{choices(user, self.users)}, or the folder of pbrl label, or of a label set"
            raise UserError(f"user={user}: {here}")
        labels = load_answers(Path(user))
        if labels.questions.kind != SegmentPair.kind or not labels.answered.any():
            raise UserError(f"user={user} has no answers about pairs of segments")
        told = labels.comparisons
        if len(who := told.annotator.unique().tolist()) > 1:
            names = ", ".join(labels.meta["annotators"][i] for i in who)
            raise UserError(f"user={user} has answers of {names}; expected those of one person")
        if (seen := (told.left.obs.shape[2:], told.left.actions.shape[-1])) != (self.obs_shape, self.action_size):
            raise UserError(f"user={user} has observations and actions of {seen}, expected those of the run")
        with torch.no_grad():
            return self._learned(self.model.encode(answered(told[: self.answers], 1)).mean[0])

    def _learned(self, z: Tensor) -> Learned:
        seen = self._seen(z)
        return Learned(policy=OfUser(self.actor, seen), reward=RewardOfUser(self.model, z))  # type: ignore[arg-type]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.iql.policy_steps = max(self.steps - self.reward_updates, 1)


def answered(comparisons: Comparisons, users: int) -> Answered:
    """Comparisons, those of one user after those of another, as many of each."""
    return Answered(comparisons.left, comparisons.right, comparisons.prefers_right.view(users, -1))
