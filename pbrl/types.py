"""The nouns of the library. N segments, B comparisons, T steps, O observation, A action, E ensemble members."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

RewardFn = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rewards (M,) of observations (M, O) and actions (M, A)."""


@dataclass(frozen=True)
class Episode:
    """One finished episode of L steps. Reaching a time limit is not termination."""

    obs: np.ndarray  # (L+1, O) float32
    actions: np.ndarray  # (L, A)   float32
    true_reward: np.ndarray  # (L,)     float32
    terminated: bool
    states: np.ndarray | None = None  # (L+1, D) float64, simulator states for rendering
    success: float | None = None  # max over the episode of info["success"], where the task has it
    success_at_end: float | None = None  # that of the last step
    factors: np.ndarray | None = None  # (L, F) float32, what info["factors"] named after each step
    factor_names: tuple[str, ...] = ()  # F
    tags: np.ndarray | None = None  # (L, K) what a method noted at each step, where it notes anything

    def __len__(self) -> int:
        return len(self.actions)


class Steps(NamedTuple):
    """Any M steps of an agent."""

    obs: Tensor  # (M, O)
    actions: Tensor  # (M, A) in [-1, 1]
    next_obs: Tensor | None = None  # (M, O); None where an agent does not keep it
    tags: Tensor | None = None  # (M, K) what the method noted at each step, see `Method.behave`
    given: Tensor | None = None  # (M,) what the agent got of the environment, see `Method.given`; for "sampled" alone


class RewardSource(Protocol):
    """The source of the rewards that drive an agent.

    when: "stored", computed once per step, and again for all that is stored when the source changes; "sampled", for
    each batch anew, as what changes with every step must be; "episode", for whole episodes when they end, whose
    steps are learned from only then.
    """

    when: str

    def of_steps(self, steps: Steps) -> Tensor: ...  # (M,); of "stored" and "sampled"

    def of_episode(self, episode: Episode) -> np.ndarray: ...  # (L,); of "episode"


OVERALL = "overall"  # the criterion of a question that names none


@dataclass(frozen=True)
class Segments:
    """Pieces of episodes; a piece that reaches the end of its MDP goes on in an absorbing state of reward 0.

    Padding repeats the last observation with action 0, and `mask` is 0 there. A segment never crosses an episode.
    """

    obs: Tensor  # (N, T+1, O)   obs[:, t+1] follows actions[:, t]
    actions: Tensor  # (N, T, A)     in [-1, 1]
    mask: Tensor  # (N, T)        1 on real steps, 0 on padding
    terminated: Tensor  # (N, T)        1 where the MDP ended; a time limit stays 0
    true_reward: Tensor  # (N, T)        teachers and evaluation only
    ids: Tensor  # (N,)          where it came from in the EpisodeStore
    factors: Tensor | None = None  # (N, T, F) what the task measures, 0 on padding; teachers only

    def __post_init__(self) -> None:
        if self.actions.ndim != 3:
            raise ValueError(f"Segments.actions has shape {tuple(self.actions.shape)}, expected (N, T, A)")
        n, t = self.actions.shape[:2]
        if self.obs.ndim < 3 or self.obs.shape[:2] != (n, t + 1):
            raise ValueError(f"Segments.obs has shape {tuple(self.obs.shape)}, expected ({n}, {t + 1}, O)")
        for name in ("mask", "terminated", "true_reward"):
            shape = tuple(getattr(self, name).shape)
            if shape != (n, t):
                raise ValueError(f"Segments.{name} has shape {shape}, expected ({n}, {t})")
        if tuple(self.ids.shape) != (n,):
            raise ValueError(f"Segments.ids has shape {tuple(self.ids.shape)}, expected ({n},)")
        if self.factors is not None and (self.factors.ndim != 3 or self.factors.shape[:2] != (n, t)):
            raise ValueError(f"Segments.factors has shape {tuple(self.factors.shape)}, expected ({n}, {t}, F)")

    def __len__(self) -> int:
        return self.actions.shape[0]

    def __getitem__(self, rows: Any) -> Segments:
        return _map(self, lambda x: x[rows])

    @property
    def steps(self) -> int:
        """T, the length in steps, padding included."""
        return self.actions.shape[1]

    def to(self, device: torch.device) -> Segments:
        """Return the same where a learner is; themselves if they are there already."""
        return self if self.obs.device == device else _map(self, lambda x: x.to(device))

    def crop(self, start: Tensor, length: int) -> Segments:
        """Return the `length` steps from `start` (N,) of each segment, gathered by index."""
        start = start.to(self.obs.device)
        rows = torch.arange(len(self), device=start.device)[:, None]
        nodes = start[:, None] + torch.arange(length + 1, device=start.device)
        steps = nodes[:, :-1]
        return Segments(
            obs=self.obs[rows, nodes],
            actions=self.actions[rows, steps],
            mask=self.mask[rows, steps],
            terminated=self.terminated[rows, steps],
            true_reward=self.true_reward[rows, steps],
            ids=self.ids,
            factors=self.factors[rows, steps] if self.factors is not None else None,
        )

    @staticmethod
    def cat(parts: Sequence[Segments]) -> Segments:
        """Join segments, one after another; factors only where all parts have them."""
        columns = {f.name: [getattr(p, f.name) for p in parts] for f in dataclasses.fields(Segments)}
        whole: dict[str, Any] = {k: torch.cat(c) for k, c in columns.items() if not any(v is None for v in c)}
        return Segments(**whole)


class SegmentPool(Protocol):
    """Segments of which not all need to be in memory: `Segments` are one, and so are those of an EpisodeStore by id."""

    @property
    def steps(self) -> int: ...  # T

    def __len__(self) -> int: ...  # N

    def __getitem__(self, rows: Any, /) -> Segments: ...  # a slice or a tensor of rows


@dataclass(frozen=True)
class Comparisons:
    """Pairs of segments of equal length with the probability that the right one is preferred."""

    left: Segments  # B
    right: Segments  # B
    prefers_right: Tensor  # (B,) in [0, 1]; 0.5 is a tie
    annotator: Tensor  # (B,) int
    criterion: str = OVERALL  # by which one was preferred

    def __post_init__(self) -> None:
        b = len(self.left)
        if len(self.right) != b or self.left.steps != self.right.steps:
            raise ValueError(
                f"Comparisons.right has {len(self.right)} segments of {self.right.steps} steps, "
                f"expected {b} of {self.left.steps} as on the left"
            )
        for name in ("prefers_right", "annotator"):
            shape = tuple(getattr(self, name).shape)
            if shape != (b,):
                raise ValueError(f"Comparisons.{name} has shape {shape}, expected ({b},)")
        if self.prefers_right.device.type != "cpu":  # came from there, and a look at it would wait for the device
            return
        if not ((self.prefers_right >= 0) & (self.prefers_right <= 1)).all():  # so that NaN is refused too
            raise ValueError("Comparisons.prefers_right has values outside [0, 1]")

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, rows: Any) -> Comparisons:
        value, who = self.prefers_right[rows], self.annotator[rows]
        return Comparisons(self.left[rows], self.right[rows], value, who, self.criterion)

    def to(self, device: torch.device) -> Comparisons:
        """Return the same where a learner is."""
        value, who = self.prefers_right.to(device), self.annotator.to(device)
        return Comparisons(self.left.to(device), self.right.to(device), value, who, self.criterion)

    @staticmethod
    def cat(parts: Sequence[Comparisons]) -> Comparisons:
        """Join comparisons, one after another, all by one criterion."""
        if len(criteria := {p.criterion for p in parts}) > 1:
            raise ValueError(f"comparisons by {sorted(criteria)} cannot be one batch, expected one criterion")
        return Comparisons(
            Segments.cat([p.left for p in parts]),
            Segments.cat([p.right for p in parts]),
            torch.cat([p.prefers_right for p in parts]),
            torch.cat([p.annotator for p in parts]),
            *criteria,
        )


class Answers(NamedTuple):
    prefers_right: Tensor  # (n,)
    answered: Tensor  # (n,) bool; False = skipped


class RewardModel(Protocol):
    """A reward learned from comparisons. `score` is what Bradley-Terry compares: higher = better."""

    optimizer: torch.optim.Optimizer
    obs_size: int  # O
    action_size: int  # A

    @property
    def members(self) -> int: ...  # E

    def observe(self, obs: np.ndarray) -> None: ...  # (M, O), for input statistics

    def reward(self, segments: Segments) -> Tensor: ...  # (N, T), 0 on padding

    def step_reward(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray: ...  # (M, O), (M, A) -> (M,)

    def score(self, segments: Segments) -> Tensor: ...  # (E, N)

    def update(self, comparisons: Comparisons) -> dict[str, float]: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor], /) -> Any: ...


class QuerySampler(Protocol):
    """Chooses which of the candidate pairs to ask: indices (n,) into them, most wanted first.

    There may be more candidates than fit into memory; `pbrl.blocks` goes through them.
    """

    def __call__(
        self,
        model: RewardModel,
        left: SegmentPool,
        right: SegmentPool,
        n: int,
        asked: Comparisons | None,
        rng: torch.Generator,
    ) -> Tensor: ...


def _map(segments: Segments, fn: Callable[[Tensor], Tensor]) -> Segments:
    mapped: dict[str, Any] = {name: fn(x) for name, x in vars(segments).items() if x is not None}
    return Segments(**mapped)
