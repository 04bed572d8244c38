"""The teacher of HERON: factors in order of importance, compared one after the other."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.data.episodes import Episode
from pbrl.errors import UserError
from pbrl.teachers.factor_values import segment_values, windows_of
from pbrl.teachers.levels import columns_of, read_levels
from pbrl.teachers.teacher import Teacher
from pbrl.types import Answers, Segments


class HierarchyTeacher(Teacher):
    """Compares segments by the first factor in which they differ enough (Bukharin et al. 2023, HERON, algorithm 1).

    A pair that no level decides is skipped, so nothing is learned from it; one that is exactly equal in all levels is a
    tie. Margins in standard deviations make the answers blind to the scale of every factor.

    Args:
        levels: most important first, each with the keys of `Level`.
        window: the standard deviation is that of segments in so many of the last episodes.
        rng: not used, as nothing here is drawn.
    """

    reads = "factors"

    def __init__(self, *, levels: Sequence[Mapping[str, Any]] | None, window: int, rng: torch.Generator) -> None:
        if not isinstance(window, int) or window < 1:
            raise UserError(f"window={window}: expected a whole number of at least 1")
        self.levels = read_levels(levels)
        self.columns: list[int] = []
        self.episodes: deque[np.ndarray] = deque(maxlen=window)
        self.decided = np.zeros(len(self.levels), np.int64)
        self.undecided = 0

    def use_factors(self, names: Sequence[str]) -> None:
        """Take the names of the columns of Segments.factors."""
        self.columns = columns_of([level.factor for level in self.levels], names, "levels")

    def observe(self, episodes: Sequence[Episode]) -> None:
        self.episodes.extend(e.factors for e in episodes if e.factors is not None)

    def answer(self, left: Segments, right: Segments) -> Answers:
        level, prefers_right = self.decide(left, right)
        self.decided += torch.bincount(level[level >= 0], minlength=len(self.levels)).numpy()
        self.undecided += int((level < 0).sum())
        asked = [i for i, level in enumerate(self.levels) if level.margin < math.inf]
        tie = (self.values(left) == self.values(right))[:, asked].all(1)
        return Answers(prefers_right, (level >= 0) | tie)

    def decide(self, left: Segments, right: Segments) -> tuple[Tensor, Tensor]:
        """Return the level (n,) that decides each pair, -1 if none does, and prefers_right (n,), 0.5 there."""
        gains = self.values(right) - self.values(left)  # (n, levels), positive where right is better
        clear = gains.abs() > self.margins(left.steps)
        level = torch.where(clear.any(1), clear.int().argmax(1), -1)
        chosen = gains.gather(1, level.clamp(min=0)[:, None]).squeeze(1)
        return level, torch.where(level >= 0, (chosen > 0).float(), 0.5)

    def values(self, segments: Segments) -> Tensor:
        """Return each level's factor (N, levels) float64 over the segment, with its sign so that more is better."""
        if segments.factors is None:
            raise ValueError("teacher=hierarchy was given segments without factors")
        columns = [
            level.sign * segment_values(segments.factors[..., column], segments.mask, level.over)
            for level, column in zip(self.levels, self.columns, strict=True)
        ]
        return torch.stack(columns, dim=1)

    def margins(self, steps: int) -> Tensor:
        """Return the margins (levels,) float64 in the factors' own units, for segments of this length."""
        return torch.tensor([self._margin(i, steps) for i in range(len(self.levels))], dtype=torch.float64)

    def metrics(self) -> dict[str, float]:
        """Return the share of all pairs so far that each level decided, and that none did; NaN before the first."""
        total = int(self.decided.sum()) + self.undecided
        names = [f"level_{i + 1}_{level.factor}" for i, level in enumerate(self.levels)]
        counts = zip([*names, "undecided"], [*self.decided.tolist(), self.undecided], strict=True)
        return {f"feedback/{name}": count / total if total else math.nan for name, count in counts}

    def _margin(self, i: int, steps: int) -> float:
        level = self.levels[i]
        if level.unit == "absolute" or level.margin in (0, math.inf):
            return level.margin
        if not self.episodes:
            raise ValueError("teacher=hierarchy was asked before it saw an episode")
        windows = zip(*(windows_of(e[:, self.columns[i]], steps) for e in self.episodes), strict=True)
        factor, mask = (torch.cat(parts) for parts in windows)
        return level.margin * float(segment_values(factor, mask, level.over).std(unbiased=False))

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": list(self.episodes), "decided": self.decided, "undecided": self.undecided}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.episodes = deque(state["episodes"], maxlen=self.episodes.maxlen)
        self.decided, self.undecided = state["decided"].copy(), int(state["undecided"])
