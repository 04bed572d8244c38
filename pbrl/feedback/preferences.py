"""Answered comparisons, held ready for training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.append_only import AppendOnly, as_array
from pbrl.feedback.desk import Desk
from pbrl.types import Answers, Comparisons, Segments


class PreferenceDataset:
    """All answered comparisons, split into training and held-out ones so that no segment is on both sides.

    A comparison of a training segment with a held-out one belongs to neither side. Different segments of one episode
    may share steps, so held-out figures are somewhat optimistic where episodes are few.
    """

    def __init__(
        self, heldout: float, rng: torch.Generator, believe: Callable[[Comparisons], Tensor | None] = lambda _: None
    ) -> None:
        """Make an empty one. believe: (B,) what is learned from each answer; None: what was said."""
        if not 0 <= heldout < 1:
            raise ValueError(f"heldout is {heldout}, expected a share in [0, 1)")
        self.heldout_share = heldout
        self.rng, self._believe = rng, believe
        self._believed: tuple[Comparisons, Comparisons] | None = None  # what was said, and what is learned from that
        self._parts: list[Comparisons] = []
        self._first = 0  # number of the first comparison, counted over all that there ever were
        self._side: dict[int, bool] = {}  # segment id -> is held out
        self._heldout: list[bool | None] = []  # per comparison; None = neither side
        self._ids: list[int] = []  # of the answers, as their desk numbers them

    def __len__(self) -> int:
        return len(self._heldout)

    @property
    def all(self) -> Comparisons | None:
        """Return everything answered so far, in order; None if there is nothing yet."""
        if len(self._parts) > 1:
            self._parts = [Comparisons.cat(self._parts)]
        return self._parts[0] if self._parts else None

    @property
    def segments(self) -> list[Segments]:
        """Return all segments that were asked about."""
        return [] if (data := self.all) is None else [data.left, data.right]

    @property
    def train_rows(self) -> Tensor:
        return torch.tensor([i for i, h in enumerate(self._heldout) if h is False], dtype=torch.long)

    @property
    def heldout(self) -> Comparisons | None:
        rows = [i for i, h in enumerate(self._heldout) if h]
        return self.all[torch.tensor(rows)] if rows and self.all is not None else None

    def why_nothing(self) -> str | None:
        """Say why nothing can be learned from the answers; None: something can, or there are none."""
        if (data := self.all) is None or bool((told := data.prefers_right[self.train_rows] != 0.5).any()):
            return None
        return f"{len(told)} ties, {len(self) - len(told)} held out"

    def follow(self, desk: Desk) -> None:
        """Takes over what stands at the desk: new answers, and none that was taken back."""
        standing = desk.answers()
        ids = standing.ids.tolist()
        there, known = set(ids), set(self._ids)
        if len(kept := [row for row, answer in enumerate(self._ids) if answer in there]) < len(self._ids):
            self.keep(kept)
            self._ids = [self._ids[row] for row in kept]
        if new := [row for row, answer in enumerate(ids) if answer not in known]:
            left, right = desk.questions(standing.questions[new].tolist()).items
            values = torch.from_numpy(standing.prefers_right[new])
            answered = torch.ones(len(new), dtype=torch.bool)
            self.add(left, right, Answers(values, answered), torch.from_numpy(standing.annotator[new]))
            self._ids += [ids[row] for row in new]

    def add(self, left: Segments, right: Segments, answers: Answers, annotator: Tensor | int = 0) -> None:
        """Keeps the answered pairs; skipped ones are dropped here (the label store has them). annotator: (n,)."""
        rows = torch.nonzero(answers.answered).flatten()
        if len(rows) == 0:
            return
        who = torch.as_tensor(annotator).expand(len(left))[rows]
        # Answered segments need no factors any more, which are for the teacher.
        left, right = (dataclasses.replace(side[rows], factors=None) for side in (left, right))
        part = Comparisons(left, right, answers.prefers_right[rows].float(), who)
        self._parts.append(part)
        for pair in zip(part.left.ids.tolist(), part.right.ids.tolist(), strict=True):
            self._heldout.append(self._assign(pair))

    def keep(self, rows: list[int]) -> None:
        """Forgets the other comparisons, but not which segments are held out."""
        if (data := self.all) is not None:
            self._first += len(data)  # what stays has other numbers now, for whoever stores rows by them
            self._parts = [data[torch.tensor(rows, dtype=torch.long)]] if rows else []
        self._heldout = [self._heldout[row] for row in rows]

    def batches(self, batch_size: int, members: int, bootstrap: bool, rng: torch.Generator) -> Iterator[Comparisons]:
        """Yield an epoch's batches of members * b comparisons, b <= batch_size, b consecutive rows for each member.

        Every member sees the training comparisons in an order of its own; with `bootstrap`, a resample of its own
        that is the same in each epoch.
        """
        data, rows = self.believed, self.train_rows
        if data is None or len(rows) == 0:
            return
        drawn = torch.stack(
            [rows[bootstrap_rows(self.rng.initial_seed(), len(rows), m)] if bootstrap else rows for m in range(members)]
        )
        order = torch.stack([torch.randperm(len(rows), generator=rng) for _ in range(members)])
        drawn = torch.gather(drawn, 1, order)
        for batch in drawn.split(batch_size, dim=1):
            yield data[batch.flatten()]

    @property
    def believed(self) -> Comparisons | None:
        """Return all answers as they are learned from, in the same order."""
        if (data := self.all) is None:
            return None
        if self._believed is None or self._believed[0] is not data:
            told = self._believe(data)
            self._believed = data, data if told is None else dataclasses.replace(data, prefers_right=told)
        return self._believed[1]

    def _assign(self, pair: tuple[int, int]) -> bool | None:
        known = {self._side[i] for i in pair if i in self._side}
        drawn = bool(torch.rand((), generator=self.rng) < self.heldout_share)
        side = drawn if not known else (known.pop() if len(known) == 1 else None)
        if side is not None:
            self._side |= dict.fromkeys(pair, side)
        return side

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "ids": np.array(self._ids, np.int64),
            "heldout": np.array([-1 if h is None else int(h) for h in self._heldout], np.int8),
            "side_ids": np.array(list(self._side), np.int64),
            "side": np.array(list(self._side.values()), bool),
        }
        if (data := self.all) is not None:
            state |= {"prefers_right": data.prefers_right.numpy(), "annotator": data.annotator.numpy()}
            for side in ("left", "right"):
                arrays = vars(getattr(data, side)).items()
                state |= {f"{side}/{k}": AppendOnly(v.numpy(), self._first) for k, v in arrays if v is not None}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._heldout = [None if h < 0 else bool(h) for h in state["heldout"]]
        self._ids = state["ids"].tolist()
        self._side = dict(zip(state["side_ids"].tolist(), state["side"].tolist(), strict=True))
        self._parts = []
        if "prefers_right" in state:
            self._first = getattr(state["left/obs"], "first", 0)
            t = {k: torch.from_numpy(as_array(v)) for k, v in state.items()}
            left, right = (
                Segments(**{k.removeprefix(f"{s}/"): v for k, v in t.items() if k.startswith(f"{s}/")})
                for s in ("left", "right")
            )
            self._parts = [Comparisons(left, right, t["prefers_right"], t["annotator"])]


def bootstrap_rows(seed: int, n: int, member: int) -> Tensor:
    """Draw the rows (n,) that a member resamples, from these three alone: no checkpoint has to hold them."""
    (own,) = np.random.SeedSequence([seed, n, member]).generate_state(1)
    return torch.randint(n, (n,), generator=torch.Generator().manual_seed(int(own)))
