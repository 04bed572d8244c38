"""The partial-return reward model of PEBBLE and PrefPPO."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from pbrl.blocks import padded
from pbrl.checks import between, layers, lengths, whole
from pbrl.data.episodes import Episode
from pbrl.errors import choices
from pbrl.losses import preference_accuracy
from pbrl.nets.devices import array, brought, number
from pbrl.nets.networks import HEADS, RunningNorm, StackedMLP
from pbrl.nets.precision import matmul_dtype
from pbrl.rewards.objective import PLAIN, Objective
from pbrl.rewards.pessimism import Mean, Pessimism
from pbrl.types import Comparisons, Segments

BLOCK = 1024  # rows per forward pass: activations stay in the cache


class PartialReturn(torch.nn.Module):
    """An ensemble of rewards r(s, a) whose sum over a segment explains the answers (Christiano et al. 2017, eq. 1).

    A segment that reached its end goes on in an absorbing state of reward 0. That fixes the offset of the reward,
    which comparisons of whole segments leave open: where falling is disliked, steps of not falling become positive,
    so a task that can end early does not teach the agent to end it.

    Args:
        obs_size, action_size: O and A.
        members: E networks, trained together as one batched product.
        hidden: sizes of the hidden layers.
        activation: "relu", "leaky_relu" or "tanh".
        head: "tanh" bounds the reward to [-1, 1]; "linear" does not.
        normalise: standardise observations by their running statistics.
        lr: of one Adam over all members.
        smoothing: the probability that an answer is taken to be wrong.
        crop: None, or the shortest and longest length (in steps) to which both segments of a pair are cut in training.
        precision: of the products in training: float32, bfloat16, or auto (bfloat16 where the processor has it).
        rng: initial weights and crops.
    """

    def __init__(
        self,
        *,
        obs_size: int,
        action_size: int,
        members: int,
        hidden: Sequence[int],
        activation: str,
        head: str,
        normalise: bool,
        lr: float,
        smoothing: float,
        crop: Sequence[int] | None,
        precision: str,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        whole(1, members=members)
        layers(hidden=hidden)
        between(0, 1, lr=lr)
        if head not in HEADS:
            raise ValueError(f"head={head!r}: {choices(head, HEADS)}")
        if crop is not None:
            lengths(crop=crop)
        if not 0 <= smoothing < 0.5:
            raise ValueError(f"smoothing={smoothing}: expected a probability in [0, 0.5)")
        self.head, self.head_name = HEADS[head], head
        self.norm = RunningNorm(obs_size) if normalise else None
        self.net = StackedMLP(members, [obs_size + action_size, *hidden, 1], activation, rng)
        self.obs_size, self.action_size = obs_size, action_size
        self.smoothing, self.crop, self.rng = smoothing, crop, rng
        self.dtype = matmul_dtype(precision, min(hidden, default=0))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, fused=True)
        self.pessimism: Pessimism = Mean()

    @property
    def members(self) -> int:
        return self.net.members

    @property
    def is_plain(self) -> bool:
        """Whether the reward is the mean of MLPs on [obs, actions] and no more, so that any library can build it."""
        return type(self) is PartialReturn and self.pessimism.least_members == 1

    def as_module(self) -> torch.nn.Module:
        """Return a graph of the reward that drives the agent (M,), see `combine`."""
        return Combined(self)

    def observe(self, obs: np.ndarray) -> None:
        """Adds observations (M, O) to the input statistics; do it before a fit, since it moves the reward."""
        if self.norm is not None:
            self.norm.observe(torch.from_numpy(obs))

    def reset(self) -> None:
        """Begin anew with other weights; input statistics and what the optimiser remembers stay."""
        self.net.reset(self.rng)

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return rewards (E, M) on the model's device of (M, O), (M, A) or (E, M, O), (E, M, A)."""
        obs, actions = obs.to(self.device), actions.to(self.device)
        obs = self.norm(obs) if self.norm is not None else obs
        return self.head(self.net(torch.cat([obs, actions], dim=-1)).float()).squeeze(-1)

    def be_pessimistic(self, pessimism: Pessimism) -> None:
        """Let rewards become what this makes of the members'; before weights are loaded, since it may add to them."""
        self.pessimism = pessimism
        if pessimism.least_members > 1:
            self.register_buffer("levels", torch.zeros(self.members))

    def level(self, means: Tensor) -> None:
        """Give members whose mean rewards are these (E,) one mean reward, that of all of them."""
        self.levels = (means - means.mean()).to(self.device)

    def combine(self, rewards: Tensor) -> Tensor:
        """Combine members' rewards (E, M) into (M,): the mean, or what `be_pessimistic` has put in its place."""
        return self.pessimism(rewards if self.pessimism.least_members == 1 else rewards - self.levels[:, None])

    @torch.no_grad()
    def step_reward(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the reward (M,) of steps (M, O), (M, A) that drives the agent: the mean member's, see `combine`."""
        blocks = zip(torch.from_numpy(obs).split(BLOCK), torch.from_numpy(actions).split(BLOCK), strict=True)
        return array(torch.cat([self.combine(self(padded(o), padded(a))[:, : len(o)]) for o, a in blocks]))

    def episode_reward(self, episode: Episode) -> np.ndarray:
        """Return the rewards (L,) of an episode's steps."""
        return self.step_reward(episode.obs[:-1], episode.actions)

    @torch.no_grad()
    def reward(self, segments: Segments) -> Tensor:
        return self._member_rewards(segments).mean(0)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def score(self, segments: Segments) -> Tensor:
        """Return the sum of rewards over real steps (E, N), on the device of the segments, as `reward`."""
        return self._member_rewards(segments).sum(-1)

    def update(
        self, comparisons: Comparisons, gain: Tensor | None = None, objective: Objective = PLAIN
    ) -> dict[str, float]:
        """Take one gradient step. E * b comparisons are E batches of b, one for each member in turn.

        gain: (E * b,) added to right minus left, for what else the answers are thought to follow.
        objective: what is minimised.
        """
        left, right = self._crop(comparisons.to(self.device))
        peers = None
        rounding = torch.autocast(self.device.type, self.dtype) if self.dtype == torch.bfloat16 else nullcontext()
        with rounding:
            left_score, right_score = (objective.scores(self.own_score(s), s) for s in (left, right))  # (E, b)
            if objective.loss.peers:
                peers = self._peer_gain(left, right, objective)
        if gain is not None:
            right_score = right_score + gain.to(self.device).view(self.members, -1)
        target = comparisons.prefers_right.to(self.device).view(self.members, -1)
        # The loss is a sum over members, so that each is trained as if it were alone.
        loss = self.members * objective(left_score, right_score, target, self.smoothing, peers)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {
            "loss": number(loss) / self.members,
            "accuracy": number(preference_accuracy(left_score.detach(), right_score.detach(), target)),
        }

    def _member_rewards(self, segments: Segments) -> Tensor:
        n, t = segments.actions.shape[:2]
        rewards = self(segments.obs[:, :-1].flatten(0, 1), segments.actions.flatten(0, 1))
        return brought(rewards.view(-1, n, t), segments.mask.device) * segments.mask

    def own_score(self, segments: Segments) -> Tensor:
        """Return sums (E, b) of `own_rewards`."""
        return self.own_rewards(segments).sum(-1)

    @torch.no_grad()
    def _peer_gain(self, left: Segments, right: Segments, objective: Objective) -> Tensor:
        """Return what member e + 1 finds in the comparisons of member e (E, b)."""
        rows = torch.arange(len(left)).view(self.members, -1).roll(1, 0).flatten()
        scores = [objective.scores(self.own_score(side[rows]), side[rows]) for side in (left, right)]
        return (scores[1] - scores[0]).roll(-1, 0)

    def own_rewards(self, segments: Segments) -> Tensor:
        """Reward rows e*b .. (e+1)*b by member e alone: (E*b segments) -> (E, b, T), 0 on padding; on its device."""
        segments = segments.to(self.device)
        e, t = self.members, segments.steps
        obs = segments.obs[:, :-1].reshape(e, -1, segments.obs.shape[-1])
        rewards = self(obs, segments.actions.reshape(e, -1, segments.actions.shape[-1]))
        return rewards.view(e, -1, t) * segments.mask.view(e, -1, t)

    def _crop(self, comparisons: Comparisons) -> tuple[Segments, Segments]:
        """Crop to one length per batch, the same for both segments of a pair, as a longer one would win by length."""
        left, right = comparisons.left, comparisons.right
        if self.crop is None or left.steps <= self.crop[0]:
            return left, right
        longest = min(self.crop[1], left.steps)
        length = int(torch.randint(self.crop[0], longest + 1, (), generator=self.rng))
        starts = torch.randint(left.steps - length + 1, (2, len(left)), generator=self.rng)
        return left.crop(starts[0], length), right.crop(starts[1], length)


class Combined(torch.nn.Module):
    """The combination of the members' rewards."""

    def __init__(self, model: PartialReturn) -> None:
        super().__init__()
        self.model = model

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        return self.model.combine(self.model(obs, actions))
