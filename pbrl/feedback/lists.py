"""Answered lists, held ready for training: what `PreferenceDataset` is for pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pbrl.data.lists import Lists
from pbrl.feedback.desk import Desk
from pbrl.feedback.preferences import bootstrap_rows
from pbrl.questions import Question
from pbrl.types import Comparisons, Segments


class ListDataset:
    """All answered lists, a share of which is held out.

    kind: of the questions. read: their answers as lists.
    """

    def __init__(
        self, heldout: float, rng: torch.Generator, kind: type[Question], read: Callable[[Any, Tensor], Lists]
    ) -> None:
        self.heldout_share, self.rng, self.kind, self._read = heldout, rng, kind, read
        self._lists: Lists | None = None
        self._heldout = torch.zeros(0, dtype=torch.bool)
        self._ids: list[int] = []  # of the answers, as their desk numbers them

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def segments(self) -> list[Segments]:
        return [self._lists.segments] if self._lists is not None else []

    @property
    def train_rows(self) -> Tensor:
        return torch.nonzero(~self._heldout).flatten()

    @property
    def heldout(self) -> Comparisons | None:
        """The pairs that follow from what is held out."""
        rows = torch.nonzero(self._heldout).flatten()
        pairs = self._lists[rows].pairs() if self._lists is not None and len(rows) else None
        return pairs if pairs is not None and len(pairs) else None

    def why_nothing(self) -> str | None:
        """Say why nothing can be learned from the answers; None: something can, or there are none."""
        if self._lists is None or not (rows := self._lists[self.train_rows]).all_alike:
            return None
        return f"{len(rows)} answers, all alike, {len(self) - len(rows)} held out"

    def follow(self, desk: Desk) -> None:
        """Takes over what stands at the desk: new answers, and none that was taken back."""
        standing = desk.answers(self.kind)
        ids = standing.ids.tolist()
        there, known = set(ids), set(self._ids)
        if self._lists is not None and not known <= there:
            kept = torch.tensor([row for row, answer in enumerate(self._ids) if answer in there], dtype=torch.long)
            self._lists, self._heldout = self._lists[kept], self._heldout[kept]
            self._ids = [self._ids[row] for row in kept.tolist()]
        if new := [row for row, answer in enumerate(ids) if answer not in known]:
            values = torch.from_numpy(standing.values[new])
            part = self._read(desk.questions(standing.questions[new].tolist()), values)
            part = dataclasses.replace(part, segments=dataclasses.replace(part.segments, factors=None))
            self._lists = part if self._lists is None else Lists.cat([self._lists, part])
            drawn = torch.rand(len(new), generator=self.rng) < self.heldout_share
            self._heldout = torch.cat([self._heldout, drawn])
            self._ids += [ids[row] for row in new]

    def batches(self, batch_size: int, members: int, bootstrap: bool, rng: torch.Generator) -> Iterator[Lists]:
        """Yield the batches of one epoch, see `PreferenceDataset.batches`."""
        if self._lists is None or len(rows := self.train_rows) == 0:
            return
        drawn = rows.expand(members, -1)
        if bootstrap:
            drawn = torch.stack([rows[bootstrap_rows(self.rng.initial_seed(), len(rows), m)] for m in range(members)])
        order = torch.stack([torch.randperm(len(rows), generator=rng) for _ in range(members)])
        for batch in drawn.gather(1, order).split(batch_size, dim=1):
            yield self._lists[batch.flatten()]

    def state_dict(self) -> dict[str, np.ndarray]:
        state: dict[str, np.ndarray] = {"ids": np.array(self._ids, np.int64), "heldout": self._heldout.numpy()}
        if (lists := self._lists) is not None:
            state |= {"told": lists.told.numpy(), "k": np.array(lists.k)}
            state |= {f"segments/{k}": v.numpy() for k, v in vars(lists.segments).items() if v is not None}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._ids, self._heldout = state["ids"].tolist(), torch.from_numpy(state["heldout"])
        self._lists = None
        if "told" in state:
            columns = {k.removeprefix("segments/"): v for k, v in state.items() if k.startswith("segments/")}
            segments = Segments(**{k: torch.from_numpy(v) for k, v in columns.items()})
            self._lists = Lists(segments, torch.from_numpy(state["told"]), int(state["k"]))
