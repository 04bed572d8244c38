"""The data of an offline learner: labelled pairs of segments, all segments, and the episodes they come from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pbrl.data.draw import distinct_pairs
from pbrl.data.episodes import Episode
from pbrl.data.lists import Lists
from pbrl.errors import UserError
from pbrl.types import OVERALL, Comparisons, Segments


@dataclass(frozen=True)
class Pairs:
    """Labelled pairs of segments, as rows into an array of segments."""

    left: Tensor  # (C,) long
    right: Tensor  # (C,) long
    prefers_right: Tensor  # (C,) float in [0, 1]; 0.5 is a tie
    annotator: Tensor  # (C,) long, who answered
    criterion: str = OVERALL  # by which one was preferred

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, rows: Tensor | slice) -> Pairs:
        return Pairs(self.left[rows], self.right[rows], self.prefers_right[rows], self.annotator[rows], self.criterion)

    @classmethod
    def none(cls) -> Pairs:
        """Return no pairs."""
        empty = torch.zeros(0, dtype=torch.long)
        return cls(empty, empty, torch.zeros(0), empty)

    @classmethod
    def by_score(cls, left: Tensor, right: Tensor, scores: Tensor) -> Pairs:
        """Return the pairs of these rows (C,), of which the one with the higher score is preferred. scores: (N,)."""
        gain = scores[right] - scores[left]
        prefers_right = torch.where(gain == 0, 0.5, (gain > 0).double()).float()
        return cls(left, right, prefers_right, torch.zeros_like(left))

    def comparisons(self, segments: Segments) -> Comparisons:
        left, right = segments[self.left], segments[self.right]
        return Comparisons(left, right, self.prefers_right, self.annotator, self.criterion)

    def hold_out(self, segments: Segments, share: float, rng: torch.Generator) -> tuple[Pairs, Comparisons | None]:
        """Put a random share aside; a segment may be on both sides, so it is for stopping, not for reporting."""
        n = round(share * len(self))
        if n == 0:
            return self, None
        if n == len(self):
            raise UserError(f"feedback.heldout={share} leaves none of {len(self)} comparisons for training")
        order = torch.randperm(len(self), generator=rng)
        return self[order[n:].sort().values], self[order[:n]].comparisons(segments)


class Transitions(NamedTuple):
    """Steps of episodes, in order. M of them."""

    obs: Tensor  # (M, O)
    actions: Tensor  # (M, A)
    next_obs: Tensor  # (M, O)
    terminated: Tensor  # (M,) 1 where the MDP ended; a time limit stays 0


@dataclass(frozen=True)
class OfflineData:
    """The training side of a data set under a budget of labels, and what is held out to judge by.

    Unlabelled segments and episodes are free: `segments` and `episodes` are all of the training split, `pairs` only
    what was paid for.
    """

    # The score that the labels follow: "return", "regret_mc", ...; "human", "mixed" or "unknown" in label sets; behind
    # it ", shuffled" where answers were given to other pairs.
    label: str
    sha256: str  # of the files
    segments: Segments  # N
    episodes: list[Episode]
    pairs: Pairs  # to train on; rows of `segments`
    last_obs: bool  # False: the last observation of each episode is unknown and stands there as a copy
    annotators: tuple[str, ...]  # names, by the numbers in `pairs` and `validation`
    validation: Comparisons | None = None  # from the same budget, for early stopping
    test: Comparisons | None = None  # beyond the budget, for reporting alone
    ceiling: float | None = None  # accuracy on `test` of the scores that the labels were drawn from
    scores: Tensor | None = None  # (S,) of the first S segments where all their pairs count as labelled (dense)
    model_ceiling: float | None = None  # accuracy on `test` of the likelihood of an expert's actions, where known
    test_episodes: tuple[Episode, ...] = ()  # of the test split, from which nothing is learned
    lists: Lists | None = None  # rankings or judgements to train on, where there are these instead of pairs
    choices: int | None = None  # n where an action is one of n: (A,) is then 1 at what was chosen, and 0 elsewhere

    @property
    def criterion(self) -> str:
        """The name of what the answers are about."""
        return self.pairs.criterion

    @property
    def labels(self) -> int:
        """The number of labels that were paid for: comparisons, or scored segments where all pairs of them count."""
        if self.scores is not None:
            return len(self.scores)
        if self.lists is not None:
            return len(self.lists)
        return len(self.pairs) + (len(self.validation) if self.validation is not None else 0)

    @property
    def ties(self) -> int:
        """The number of labels that prefer nothing: all scores or judgements where they are alike."""
        if self.scores is not None:
            return len(self.scores) if bool((self.scores == self.scores[0]).all()) else 0
        if self.lists is not None:
            return len(self.lists) if self.lists.all_alike else 0
        values = [self.pairs.prefers_right, *([self.validation.prefers_right] if self.validation is not None else [])]
        return sum(int((told == 0.5).sum()) for told in values)

    @property
    def observations(self) -> np.ndarray:
        """All training observations (M, O), for input statistics."""
        return np.concatenate([e.obs[:-1] for e in self.episodes])

    def to(self, device: torch.device) -> OfflineData:
        """Return the same with tensors, but for `lists`, on a device, so that batches are gathered where one learns."""
        pairs = {name: getattr(self.pairs, name).to(device) for name in ("left", "right", "prefers_right", "annotator")}
        return replace(
            self,
            segments=self.segments.to(device),
            pairs=replace(self.pairs, **pairs),
            validation=self.validation and self.validation.to(device),
            test=self.test and self.test.to(device),
            scores=None if self.scores is None else self.scores.to(device),
        )

    def shuffled(self, rng: torch.Generator) -> OfflineData:
        """Return the data with what was paid for, answers or scores, given to other pairs or segments; same test."""

        def dealt(told: Tensor) -> Tensor:
            return told[torch.randperm(len(told), generator=rng)]

        validation = self.validation
        return replace(
            self,
            label=f"{self.label}, shuffled",
            pairs=replace(self.pairs, prefers_right=dealt(self.pairs.prefers_right)),
            validation=validation and replace(validation, prefers_right=dealt(validation.prefers_right)),
            scores=None if self.scores is None else dealt(self.scores),
        )

    def sample_lists(self, n: int, k: int, rng: torch.Generator) -> Lists:
        """Draw n answered lists with replacement; of scored segments, n random rankings of k different ones."""
        if self.lists is not None:
            return self.lists[torch.randint(len(self.lists), (n,), generator=rng)]
        assert self.scores is not None
        rows = torch.rand(n, len(self.scores), generator=rng).argsort(1)[:, :k]
        ranked = rows.gather(1, self.scores[rows].argsort(1, descending=True))
        return Lists(self.segments[ranked.flatten()], torch.ones(n), k)

    def sample_pairs(self, n: int, rng: torch.Generator) -> Comparisons:
        """Draw n labelled comparisons with replacement; of scored segments, n random pairs of different ones."""
        if self.scores is None:
            return self.pairs[torch.randint(len(self.pairs), (n,), generator=rng)].comparisons(self.segments)
        left, right = distinct_pairs(len(self.scores), n, rng)
        return Pairs.by_score(left, right, self.scores).comparisons(self.segments)

    def sample_scored(self, n: int, rng: torch.Generator) -> tuple[Segments, Tensor]:
        """Draw n scored segments without replacement (all if there are fewer) and return their scores (n,) too."""
        assert self.scores is not None
        rows = torch.randperm(len(self.scores), generator=rng)[:n]
        return self.segments[rows], self.scores[rows]

    def sample_segments(self, n: int, rng: torch.Generator) -> Segments:
        """Draw n segments with replacement, labelled or not."""
        return self.segments[torch.randint(len(self.segments), (n,), generator=rng)]

    def known_next(self, segments: Segments) -> Tensor:
        """Return the mask (N, T) of real steps whose next observation is known."""
        if self.last_obs:
            return segments.mask
        after = torch.cat([segments.mask[:, 1:], torch.zeros_like(segments.mask[:, :1])], 1)
        return segments.mask * after  # less the last real step of each, wherever its padding begins

    def transitions(self) -> Transitions:
        """All training steps whose next observation is known."""
        cut = None if self.last_obs else -1
        terminated = [_ends(e)[:cut] for e in self.episodes]
        obs, actions, next_obs = (
            self._on_device(np.concatenate(parts))
            for parts in (
                [e.obs[:-1][:cut] for e in self.episodes],
                [e.actions[:cut] for e in self.episodes],
                [e.obs[1:][:cut] for e in self.episodes],
            )
        )
        return Transitions(obs, actions, next_obs, self._on_device(np.concatenate(terminated)))

    def per_transition(self, values: list[np.ndarray]) -> Tensor:
        """Values (L,) of each episode's steps as one (M,) in the order of `transitions`."""
        cut = None if self.last_obs else -1
        return self._on_device(np.concatenate([v[:cut] for v in values]).astype(np.float32))

    def _on_device(self, rows: np.ndarray) -> Tensor:
        """Return rows as a tensor where the segments are."""
        return torch.from_numpy(rows).to(self.segments.obs.device)


def _ends(episode: Episode) -> np.ndarray:
    ends = np.zeros(len(episode), np.float32)
    ends[-1] = episode.terminated
    return ends


def hash_of_all(meta: dict[str, Any]) -> str:
    """Return one hash of all files of a data set or label set."""
    return hashlib.sha256(json.dumps(meta["sha256"], sort_keys=True).encode()).hexdigest()


def require_answers(n: int, path: Path) -> None:
    """Refuse a set without answers. n: how many there are to learn from."""
    if n == 0:
        raise UserError(f"{path} has no answered comparison among those asked for")
