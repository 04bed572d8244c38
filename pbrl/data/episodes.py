"""Finished episodes, from which segments are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pbrl.append_only import AppendOnly, as_array
from pbrl.data.draw import distinct_pairs
from pbrl.question_kinds import SegmentPair
from pbrl.types import Episode as Episode
from pbrl.types import Segments


def whole_episodes(episodes: Sequence[Episode], ids: Sequence[int], steps: int | None = None) -> Segments:
    """Episodes as segments (N, T); `mask` tells how long each is.

    ids: (N,), one for each. steps: T; None: as many as the longest has.
    """
    steps = max(map(len, episodes)) if steps is None else steps

    def stacked(columns: Sequence[np.ndarray], rows: int, mode: str) -> torch.Tensor:
        widths = [((0, rows - len(c)), *((0, 0),) * (c.ndim - 1)) for c in columns]
        return torch.from_numpy(np.stack([np.pad(c, w, mode=mode) for c, w in zip(columns, widths, strict=True)]))  # type: ignore[call-overload]

    ends = [np.arange(len(e)) == len(e) - 1 for e in episodes]
    return Segments(
        obs=stacked([e.obs for e in episodes], steps + 1, "edge"),
        actions=stacked([e.actions for e in episodes], steps, "constant"),
        mask=stacked([np.ones(len(e), np.float32) for e in episodes], steps, "constant"),
        terminated=stacked(
            [(end & e.terminated).astype(np.float32) for end, e in zip(ends, episodes, strict=True)], steps, "constant"
        ),
        true_reward=stacked([e.true_reward for e in episodes], steps, "constant"),
        ids=torch.tensor(list(ids), dtype=torch.int64),
    )


def episode_items(
    episodes: Sequence[Episode], first_rows: np.ndarray, rows: torch.Tensor
) -> tuple[tuple[Segments, ...], tuple[np.ndarray, ...]]:
    """Return each column of `rows` (n, k), numbers of episodes, as the items of questions about them, and their states.

    All are as long as the longest of the episodes, so that all questions fit together. first_rows: their ids. All
    episodes have states: without, there is nothing to show.
    """
    longest = max(map(len, episodes))

    def states(episode: Episode) -> np.ndarray:
        assert episode.states is not None
        return np.pad(episode.states, ((0, longest - len(episode)), (0, 0)), mode="edge")

    columns = rows.T.tolist()
    items = (whole_episodes([episodes[k] for k in c], first_rows[c].tolist(), steps=longest) for c in columns)
    return tuple(items), tuple(np.stack([states(episodes[k]) for k in c]) for c in columns)


@dataclass(frozen=True)
class StoredSegments:
    """Segments of an EpisodeStore by their ids, gathered when they are asked for; a `SegmentPool`."""

    store: EpisodeStore
    ids: torch.Tensor  # (N,)
    steps: int

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Any) -> Segments:
        return self.store.gather(self.ids[rows].numpy(), self.steps)


class EpisodeStore:
    """The last `max_episodes` episodes in flat arrays; an episode of L steps takes L+1 consecutive rows.

    The id of a segment is the number of its first row, counted over all rows ever added, so ids stay valid as long
    as their episode is kept and never name two different segments.
    """

    def __init__(self, max_episodes: int) -> None:
        if max_episodes < 1:
            raise ValueError(f"EpisodeStore: max_episodes is {max_episodes}, expected at least 1")
        self.max_episodes = max_episodes
        self._rows: dict[str, np.ndarray] = {}
        self._dropped = 0  # rows evicted so far: array row i has number _dropped + i
        self._used = 0
        self._first = np.zeros(0, np.int64)  # row number of each kept episode's first observation
        self._length = np.zeros(0, np.int64)
        self._terminated = np.zeros(0, bool)

    def __len__(self) -> int:
        return len(self._first)

    @property
    def any_terminated(self) -> bool:
        return bool(self._terminated.any())

    @property
    def lengths(self) -> np.ndarray:
        return self._length.copy()

    def add(self, episodes: Sequence[Episode]) -> None:
        for episode in episodes:
            self._append(episode)

    def count_starts(self, length: int, last: int) -> np.ndarray:
        """Return how many segments of `length` steps start in each of the last episodes.

        An episode that terminated may fill up to half a segment with its absorbing state: that is how a comparison
        can say that ending is bad (or good). An episode cut by a time limit fills nothing.
        """
        lengths, terminated = self._length[-last:], self._terminated[-last:]
        whole = np.maximum(lengths - length + 1, 0)
        padded = np.maximum(lengths - (length + 1) // 2 + 1, 1)
        return np.where(terminated, padded, whole)

    def sample(self, n: int, length: int, rng: torch.Generator, last: int | None = None) -> Segments:
        """Draw n segments, each start in the last episodes equally likely."""
        starts = self._starts(length, last)
        return self.gather(starts[torch.randint(len(starts), (n,), generator=rng).numpy()], length)

    def draw(self, n: int, length: int, rng: torch.Generator, last: int | None = None) -> StoredSegments:
        """Draw n different segments of the last episodes, or all where there are fewer, without gathering them yet."""
        starts = torch.from_numpy(self._starts(length, last))
        return StoredSegments(self, starts[torch.randperm(len(starts), generator=rng)[:n]], length)

    def sample_pairs(
        self, n: int, length: int, rng: torch.Generator, last: int | None = None
    ) -> tuple[Segments, Segments]:
        """Draw n segments and n others to compare them with; each pair of different starts is equally likely."""
        left, right = self.draw_pairs(n, length, rng, last)
        return left[:], right[:]

    def sample_lists(
        self, n: int, k: int, length: int, rng: torch.Generator, last: int | None = None
    ) -> tuple[Segments, ...]:
        """Draw k times n segments: of each k that belong together all starts differ."""
        starts = self._starts(length, last)
        drawn = np.stack([starts[torch.randperm(len(starts), generator=rng)[:k].numpy()] for _ in range(n)])
        return tuple(self.gather(column, length) for column in drawn.T)

    def draw_pairs(
        self, n: int, length: int, rng: torch.Generator, last: int | None = None
    ) -> tuple[StoredSegments, StoredSegments]:
        """Draw the pairs of `sample_pairs`, without gathering them yet."""
        starts = torch.from_numpy(self._starts(length, last))
        left, right = distinct_pairs(len(starts), n, rng)
        return StoredSegments(self, starts[left], length), StoredSegments(self, starts[right], length)

    def gather(self, ids: np.ndarray, length: int) -> Segments:
        """Gather the segments with these ids, by one fancy index per array."""
        rows, mask, last_real = self._locate(ids, length)
        steps = rows[:, :-1]
        factors = self._rows.get("factors")
        ends = (np.arange(length) == last_real[:, None]) & self._terminated[self._episode_of(ids)][:, None]
        as_tensor = torch.from_numpy
        return Segments(
            obs=as_tensor(self._rows["obs"][rows]),
            actions=as_tensor(self._rows["actions"][steps] * mask[..., None]),
            mask=as_tensor(mask),
            terminated=as_tensor(ends.astype(np.float32)),
            true_reward=as_tensor(np.where(mask > 0, self._rows["true_reward"][steps], 0).astype(np.float32)),
            ids=as_tensor(np.asarray(ids, np.int64)),
            factors=as_tensor(factors[steps] * mask[..., None]) if factors is not None else None,
        )

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return these rows (...) of an array, by their numbers: obs, actions, true_reward, states, ..."""
        return self._rows[name][rows - self._dropped]

    def states(self, ids: np.ndarray, length: int) -> np.ndarray | None:
        """Simulator states (n, length+1, D) of segments, or None where the environment has none."""
        if "states" not in self._rows:
            return None
        return self._rows["states"][self._locate(ids, length)[0]]

    @property
    def all_states(self) -> np.ndarray | None:
        """Return the states (M, D) of all episodes that are kept, as `states` of segments."""
        begin = self._first[0] - self._dropped if len(self) else self._used
        return self._rows["states"][begin : self._used] if "states" in self._rows else None

    def as_question(self, left: Segments, right: Segments) -> SegmentPair:
        """Ask which of these is better, with the states of the simulator that clips are drawn from."""
        return SegmentPair(left, right, *(self.states(side.ids.numpy(), side.steps) for side in (left, right)))

    def recent_steps(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observations, actions and true rewards of the most recent steps, at most n, in order."""
        if not self._rows:
            raise ValueError("the EpisodeStore is empty")
        is_step = np.ones(self._used, bool)
        is_step[self._first + self._length - self._dropped] = False
        is_step[: self._first[0] - self._dropped] = False
        rows = np.flatnonzero(is_step)[-n:]
        return self._rows["obs"][rows], self._rows["actions"][rows], self._rows["true_reward"][rows]

    def state_dict(self) -> dict[str, Any]:
        begin = self._first[0] - self._dropped if len(self) else self._used
        first = int(self._dropped + begin)
        rows = {f"rows/{k}": AppendOnly(v[begin : self._used], first) for k, v in self._rows.items()}
        index = {"first": self._first, "length": self._length, "terminated": self._terminated}
        return rows | index | {"dropped": np.int64(first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rows = {k.removeprefix("rows/"): as_array(v) for k, v in state.items() if k.startswith("rows/")}
        self._used = len(next(iter(self._rows.values()))) if self._rows else 0
        self._first, self._length, self._terminated = state["first"], state["length"], state["terminated"]
        self._dropped = int(state["dropped"])

    def _starts(self, length: int, last: int | None) -> np.ndarray:
        """Ids of all segments of `length` steps in the last episodes."""
        last = min(last or len(self), len(self))
        counts = self.count_starts(length, last) if last else np.zeros(0, np.int64)
        if not counts.any():
            lengths = self._length[len(self) - last :]
            raise ValueError(f"no segment of {length} steps in the last {last} episodes (lengths {lengths})")
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(self._first[-last:], counts) + within

    def _append(self, episode: Episode) -> None:
        n = len(episode)
        arrays = {"obs": episode.obs, "actions": episode.actions, "true_reward": episode.true_reward}
        if episode.states is not None:
            arrays["states"] = episode.states
        if episode.factors is not None:
            arrays["factors"] = episode.factors
        if not self._rows:
            self._rows = {k: np.zeros((4 * (n + 1), *v.shape[1:]), v.dtype) for k, v in arrays.items()}
        self._evict()
        self._reserve(n + 1)
        for name, value in arrays.items():
            self._rows[name][self._used : self._used + len(value)] = value
            self._rows[name][self._used + len(value) : self._used + n + 1] = 0
        self._first = np.append(self._first, self._dropped + self._used)
        self._length = np.append(self._length, n)
        self._terminated = np.append(self._terminated, episode.terminated)
        self._used += n + 1

    def _evict(self) -> None:
        keep = slice(max(len(self) + 1 - self.max_episodes, 0), None)
        self._first, self._length, self._terminated = self._first[keep], self._length[keep], self._terminated[keep]

    def _reserve(self, n: int) -> None:
        """Make room for n more rows: first by moving the kept ones to the front, then by doubling."""
        capacity = len(self._rows["obs"])
        if self._used + n <= capacity:
            return
        begin = self._first[0] - self._dropped if len(self) else self._used
        kept = self._used - begin
        # Moving costs a copy of what is kept, so it must free at least as much, or the arrays grow.
        size = capacity if kept + n <= capacity // 2 else 2 * (kept + n)
        for name, old in self._rows.items():
            new = old if size == capacity else np.zeros((size, *old.shape[1:]), old.dtype)
            new[:kept] = old[begin : self._used].copy()
            self._rows[name] = new
        self._dropped += begin
        self._used = kept

    def _episode_of(self, ids: np.ndarray) -> np.ndarray:
        ids = np.asarray(ids)
        if len(self) == 0 or (len(ids) and ids.min() < self._first[0]):
            raise ValueError("a segment's episode is no longer in the EpisodeStore")
        return np.searchsorted(self._first, ids, side="right") - 1

    def _locate(self, ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Array rows (n, length+1) of segments, their mask (n, length), and the last real step (n,) in each."""
        ids = np.asarray(ids)
        episode = self._episode_of(ids)
        final = self._first[episode] + self._length[episode]  # row number of the last observation
        rows = np.minimum(ids[:, None] + np.arange(length + 1), final[:, None]) - self._dropped
        mask = (ids[:, None] + np.arange(length) < final[:, None]).astype(np.float32)
        return rows, mask, final - 1 - ids
