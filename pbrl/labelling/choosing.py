"""Choice of what people are asked about recorded data: pairs of segments, or whole episodes, never the same twice."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pbrl.data.datasets import Dataset
from pbrl.data.episodes import StoredSegments, episode_items
from pbrl.errors import UserError
from pbrl.feedback.fit import Fit
from pbrl.feedback.preferences import PreferenceDataset
from pbrl.feedback.samplers import needs_model, uniform
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice, EpisodePair, SegmentPair, Triplet
from pbrl.questions import Question
from pbrl.seeds import small_seed
from pbrl.types import Answers, Comparisons, QuerySampler, RewardModel

CANDIDATES = 10  # sets per question, of which a sampler picks
LISTED = 100_000  # sets that are written out; of more, random ones are hardly ever the same
RANKING = "ranking"
KINDS = (SegmentPair.kind, EpisodePair.kind, Triplet.kind, RANKING)


class Chooser(Protocol):
    name: str  # of the sampler, which is noted beside its questions
    possible: int  # different questions

    def choose(self, n: int, session: int, store: LabelStore) -> Question:
        """Choose n questions that are not in the store yet."""
        ...


class SegmentChooser:
    """Pairs of segments of one length, by a sampler; where that asks a reward, it is fitted to all answers so far.

    Everything follows from the seed, the session and the answers, so a project that was stopped goes on as if it had
    not been.

    Args:
        name: of the sampler.
        make_model, fit: of the reward.
    """

    def __init__(
        self,
        data: Dataset,
        length: int,
        sampler: QuerySampler,
        *,
        name: str,
        make_model: Callable[..., RewardModel],
        fit: Fit,
        criterion: str,
        seed: int,
    ) -> None:
        self._data, self._length, self._sampler, self.name = data, length, sampler, name
        self._make_model, self._fit, self._criterion, self._seed = make_model, fit, criterion, seed
        counts = data.store.count_starts(length, len(data.episodes))
        first = data.first_rows
        within = [np.arange(n) for n in counts]
        self._starts = np.concatenate([start + rows for start, rows in zip(first, within, strict=True)])
        self.possible = math.comb(len(self._starts), 2)
        shape = data.segments.obs.shape[2:]
        if len(shape) != 1 and sampler is not uniform:
            raise UserError(f"queries={name} reads numbers, and {data.path} observes pictures; valid is uniform")

    def choose(self, n: int, session: int, store: LabelStore) -> SegmentPair:
        rng = session_rng(self._seed, session)
        asked = asked_items(store)
        taken = {frozenset(np.searchsorted(self._starts, ids).tolist()) for ids in asked}
        rows = new_sets(len(self._starts), 2, n * CANDIDATES, taken, rng)
        left, right = (StoredSegments(self._data.store, torch.from_numpy(self._starts[side]), self._length)
                       for side in rows.T.numpy())  # fmt: skip
        chosen = self._pick(left, right, n, store, rng)
        pairs = self._data.store.as_question(left[chosen], right[chosen])
        return dataclasses.replace(pairs, criterion=self._criterion)

    def _pick(
        self, left: StoredSegments, right: StoredSegments, n: int, store: LabelStore, rng: torch.Generator
    ) -> Tensor:
        if self._sampler is uniform:
            return uniform(None, left, right, n, None, rng)  # type: ignore[arg-type]
        model: Any = None
        if needs_model(self._sampler):
            answered = store.comparisons(criterion=self._criterion)
            if answered is None:  # a reward that has learned nothing would choose by its noise
                return uniform(None, left, right, n, None, rng)  # type: ignore[arg-type]
            model = self._learn(answered, rng)
        return self._sampler(model, left, right, n, self._asked(store), rng)

    def _learn(self, answered: Comparisons, rng: torch.Generator) -> RewardModel:
        sizes = {"obs_size": answered.left.obs.shape[-1], "action_size": answered.left.actions.shape[-1]}
        model = self._make_model(**sizes, rng=rng)
        model.observe(np.concatenate([e.obs[:-1] for e in self._data.episodes]))
        preferences = PreferenceDataset(0.0, rng)
        told = Answers(answered.prefers_right, torch.ones(len(answered), dtype=torch.bool))
        preferences.add(answered.left, answered.right, told)
        self._fit(model, preferences, rng)
        return model

    def _asked(self, store: LabelStore) -> Comparisons | None:
        """All that was asked, answered or not, as samplers look at it: without answers."""
        queries = [q.id for q in store.queries(criterion=self._criterion)]
        if not queries:
            return None
        left, right = store.segments(queries)
        return Comparisons(left, right, torch.full((len(left),), 0.5), torch.zeros(len(left), dtype=torch.long))


class EpisodeChooser:
    """Whole episodes, drawn at random: two, three (which of two is closer to the first), or several to be ranked."""

    name = "uniform"

    def __init__(self, data: Dataset, kind: str, items: int, *, criterion: str, seed: int) -> None:
        self._data, self._kind, self._criterion, self._seed = data, kind, criterion, seed
        self._items = {EpisodePair.kind: 2, Triplet.kind: 3}.get(kind, items)
        self._first = data.first_rows
        self.possible = math.comb(len(data.episodes), self._items)

    def choose(self, n: int, session: int, store: LabelStore) -> Question:
        taken = {frozenset(np.searchsorted(self._first, ids).tolist()) for ids in asked_items(store)}
        rows = new_sets(len(self._first), self._items, n, taken, session_rng(self._seed, session))
        items, states = episode_items(self._data.episodes, self._first, rows)
        about = {"criterion": self._criterion}
        if self._kind == RANKING:
            return Choice.of(items, states, wanted=RANKING, **about)
        of: Any = {EpisodePair.kind: EpisodePair, Triplet.kind: Triplet}[self._kind]
        question: Question = of.of(items, states, **about)
        return question


def session_rng(seed: int, session: int) -> torch.Generator:
    """Return the random stream of a session, so that nothing of it has to be saved."""
    return torch.Generator().manual_seed(small_seed(np.random.SeedSequence([seed, session])))


def asked_items(store: LabelStore) -> list[list[int]]:
    """The ids of the items of every question; file by file, since questions hold what was shown."""
    queries = [query for query in store.queries(kind=None, criterion=None) if query.session >= 0]
    found: list[list[int]] = []
    for _, same in itertools.groupby(sorted(queries, key=lambda q: q.file), key=lambda q: q.file):
        items = store.questions([query.id for query in same]).items
        found += torch.stack([segments.ids for segments in items], 1).tolist()
    return found


def new_sets(things: int, size: int, n: int, taken: set[frozenset[int]], rng: torch.Generator) -> Tensor:
    """Draw at most n random sets of `size` things, none twice and none that is taken: (m, size), in any order."""
    # List all sets where most are wanted or taken, since random ones would hardly ever be free.
    if math.comb(things, size) <= max(LISTED, 2 * (n + len(taken))):
        free = [rows for rows in itertools.combinations(range(things), size) if frozenset(rows) not in taken]
        drawn = [free[i] for i in torch.randperm(len(free), generator=rng)[:n].tolist()]
        found = torch.tensor(drawn, dtype=torch.long).reshape(-1, size)
        order = torch.rand(found.shape, generator=rng).argsort(1)
        return found.gather(1, order)
    chosen: dict[frozenset[int], list[int]] = {}
    while len(chosen) < n:
        rows = torch.randint(things, (size,), generator=rng).tolist()
        if len(key := frozenset(rows)) == size and key not in taken:
            chosen.setdefault(key, rows)
    return torch.tensor(list(chosen.values()), dtype=torch.long)
