"""PEARL (Liu et al. 2024): answers about one task, carried to another of which nobody was asked anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.checks import positive, required, whole
from pbrl.data.offline import OfflineData, Pairs
from pbrl.data.offline_sources import load_offline
from pbrl.errors import UserError
from pbrl.methods.piql import RewardThenIQL
from pbrl.rewards.label_transport import carry, contradicted, distances, told_matrix, transport_plan
from pbrl.types import Comparisons, Segments

FEWEST = 4  # segments of a task; with fewer there is nothing to match by


@dataclass(frozen=True)
class Draw:
    """The outcome of one draw of segments of both tasks."""

    pairs: Pairs  # of the target's training segments
    agreement: float  # with held-out answers about the target; NaN where there are none
    turned: bool  # what was carried was the opposite of what the anchors say


class Pearl(RewardThenIQL):
    """Carries answers by Gromov-Wasserstein transport, learns a reward of them, then IQL, as P-IQL does.

    Each draw takes some answered pairs of the source and some segments of the target, and carries the answers to all
    pairs of the latter. Of every draw a part is segments of held-out answers about the target, where its data have
    some: only to report how far what was carried agrees with them.

    Args:
        source: the folder of a label set or data set of another task, whose answers are carried.
        anchors: whether answers about the target, as many as `feedback.budget` pays for, turn round what a draw
            carried where all in all they contradict it; nothing else is learned from them.
        draws: how many.
        trajectories: segments of each task in a draw.
        standardise: distances are of observations over their spread; else as they are, so that what moves most counts
            most and what is in one unit stays so.
        epsilon, iterations: see `transport_plan`.
        others: as for `RewardThenIQL`.
    """

    accelerated = False
    chooses = False
    fits = ()

    def __init__(
        self,
        *,
        source: str | None,
        anchors: bool,
        draws: int,
        trajectories: int,
        standardise: bool,
        epsilon: float,
        iterations: int,
        **common: Any,
    ) -> None:
        self.reads_labels = anchors
        super().__init__(**common)
        required(model=self._make_model)
        whole(1, draws=draws, iterations=iterations)
        whole(FEWEST, trajectories=trajectories)
        positive(epsilon=epsilon)
        self.source, self.draws, self.trajectories = source, draws, trajectories
        self.standardise, self.epsilon, self.iterations = standardise, epsilon, iterations

    def learn_answers(self) -> OfflineData:
        """The target's data with the answers that were carried to it, whatever was said about it."""
        if self.data.scores is not None:
            raise ValueError("feedback.pairs=dense: answers come from method.source; expected pairs=fixed")
        if (n := len(self.data.segments)) < FEWEST:
            raise ValueError(f"data has {n} segments to carry answers to, expected at least {FEWEST}")
        source = self._load_source()
        self.source_sha256 = source.sha256
        # A generator of its own makes the same draws whenever a run is resumed.
        rng = np.random.default_rng(self.rng.initial_seed())
        self._draws = [self._draw(source, rng) for _ in range(self.draws)]
        columns = [[getattr(d.pairs, name) for d in self._draws] for name in ("left", "right", "prefers_right")]
        left, right, prefers_right = map(torch.cat, columns)
        return replace(self.data, pairs=Pairs(left, right, prefers_right, torch.zeros_like(left)))

    def _load_source(self) -> OfflineData:
        if self.source is None:
            raise ValueError("source=None: expected the folder of a label set or data set of another task")
        settings: dict[str, Any] = {"label": None, "budget": None, "pairs": "fixed", "heldout": 0.0, "choices": True}
        try:
            return load_offline(Path(self.source), **settings, rng=torch.Generator())
        except UserError as error:
            raise UserError(f"method.source: {str(error).removeprefix('data=')}") from error

    def _draw(self, source: OfflineData, rng: np.random.Generator) -> Draw:
        asked, told = self._draw_source(source, rng)
        rows, anchors = self._draw_target(rng)
        held = self._draw_held(rng)
        shown = [self.data.segments[torch.from_numpy(rows)], *((held.left, held.right) if held is not None else ())]
        here, there = (distances(flat(segments, self.standardise)) for segments in (asked, Segments.cat(shown)))
        plan = transport_plan(here, there, self.epsilon, self.iterations)
        carried = carry(plan, *told)
        place = {int(row): i for i, row in enumerate(rows)}
        ends = [np.array([place[int(r)] for r in side], int) for side in (anchors.left, anchors.right)]
        turned = len(anchors) > 0 and contradicted(carried, ends[0], ends[1], anchors.prefers_right.numpy())
        carried = 1 - carried if turned else carried
        i, j = np.triu_indices(len(rows), 1)
        left, right = torch.from_numpy(rows[i]), torch.from_numpy(rows[j])
        value = torch.from_numpy(carried[i, j]).float()
        pairs = Pairs(left, right, value, torch.zeros_like(left))
        return Draw(pairs, float("nan") if held is None else agreement(carried, len(rows), held), turned)

    def _draw_source(
        self, source: OfflineData, rng: np.random.Generator
    ) -> tuple[Segments, tuple[np.ndarray, np.ndarray]]:
        """Segments of some answered pairs, and what is known of any two of them."""
        left, right = source.pairs.left.numpy(), source.pairs.right.numpy()
        chosen = rng.permutation(len(left))[: self.trajectories // 2]
        rows = np.unique(np.concatenate([left[chosen], right[chosen]]))
        both = np.flatnonzero(np.isin(left, rows) & np.isin(right, rows))
        lefts, rights = (np.searchsorted(rows, side[both]) for side in (left, right))
        told = told_matrix(lefts, rights, source.pairs.prefers_right.numpy()[both], len(rows))
        return source.segments[torch.from_numpy(rows)], told

    def _draw_target(self, rng: np.random.Generator) -> tuple[np.ndarray, Pairs]:
        """Rows of training segments, and the anchors among them, which are an eighth of the draw at most."""
        known = self.data.pairs if self.reads_labels else self.data.pairs[:0]
        anchors = known[torch.from_numpy(rng.permutation(len(known))[: max(1, self.trajectories // 16)])]
        of_anchors = torch.cat([anchors.left, anchors.right]).unique().numpy()
        others = np.setdiff1d(np.arange(len(self.data.segments)), of_anchors)
        more = rng.permutation(others)[: max(2, self._room - len(of_anchors))]
        return np.concatenate([of_anchors, more]), anchors

    @property
    def _room(self) -> int:
        """Training segments in a draw."""
        return self.trajectories if self.data.test is None else self.trajectories - 2 * (self.trajectories // 4)

    def _draw_held(self, rng: np.random.Generator) -> Comparisons | None:
        """Held-out answers, whose segments are half of the draw."""
        if self.data.test is None:
            return None
        rows = rng.permutation(len(self.data.test))[: self.trajectories // 4]
        return self.data.test[torch.from_numpy(rows)]

    def facts(self) -> dict[str, Any]:
        """Return how far what was carried agrees with held-out answers, draw by draw: one draw alone may be luck."""
        known = [d.agreement for d in self._draws if not np.isnan(d.agreement)]
        return super().facts() | {
            "carried": sum(len(d.pairs) for d in self._draws),
            "agreement_draws": [round(value, 4) for value in known],
            "agreement_mean": float(np.mean(known)) if known else None,
            "agreement_sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
            "turned_draws": sum(d.turned for d in self._draws),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("source_sha256") != self.source_sha256:
            raise UserError(f"method.source={self.source} is not what this run began with; bring that back")
        super().load_state_dict(state)


def flat(segments: Segments, standardise: bool) -> np.ndarray:
    """Return the observations before each action (N, T * O); standardised: each number over its spread in these."""
    obs = segments.obs[:, :-1].flatten(2).double()
    spread = obs.std((0, 1))
    divided = obs / torch.where(spread > 0, spread, torch.ones(())) if standardise else obs
    return divided.flatten(1).numpy()


def agreement(carried: np.ndarray, first: int, held: Comparisons) -> float:
    """Share of decided answers that were carried as they are; those segments stand from row `first` on, left to right.

    NaN where none is decided.
    """
    n = len(held)
    value = carried[np.arange(first, first + n), np.arange(first + n, first + 2 * n)]
    told = held.prefers_right.numpy()
    decided = told != 0.5
    return float(((value > 0.5) == (told > 0.5))[decided].mean()) if decided.any() else float("nan")
