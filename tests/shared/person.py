"""A thread that stands in for a person and answers through the store, as the viewer does."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import torch

from pbrl.config import load_config
from pbrl.labels.rows import PAIRS
from pbrl.labels.store import LabelStore
from pbrl.viewer.cards import Card
from pbrl.viewer.desk import Desk, DeskSettings, Given

MIRROR = {"left": "right", "right": "left"}


class Person(threading.Thread):
    """Prefers the segments of the higher true return; waits for the store, answers until it is told to stop.

    given: what was answered to each query, about the segments.
    """

    def __init__(
        self,
        folder: Path,
        *,
        patience: int = 10**6,
        changes_mind: bool = False,
        name: str = "ann",
        slow_s: float = 0.0,
        tags: tuple[str, ...] = (),
    ) -> None:
        super().__init__(daemon=True)
        self.annotator, self.slow_s, self.tags = name, slow_s, tags
        self.folder, self.patience, self.changes_mind = folder, patience, changes_mind
        self.done = threading.Event()
        self.given: dict[int, Any] = {}
        self.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join(20)

    def __enter__(self) -> Person:
        return self

    def run(self) -> None:
        while not (self.folder / "labels.sqlite").is_file() and not self.done.is_set():
            time.sleep(0.01)
        with LabelStore(self.folder) as store:
            desk = Desk(
                store, DeskSettings(repeats=0, overlap=self.overlap()), ready=lambda query: True, rng=random.Random(0)
            )
            while not self.done.is_set():
                for card in desk.next(self.annotator, 2)[0]:
                    if len(self.given) < self.patience:
                        self._answer(store, desk, card)
                time.sleep(0.005)

    def overlap(self) -> int:
        while not (self.folder / "config.yaml").is_file():
            time.sleep(0.01)
        return load_config(self.folder / "config.yaml").viewer.overlap

    def _answer(self, store: LabelStore, desk: Desk, card: Card) -> None:
        query, number = card.query.id, len(self.given)
        items = store.questions([query]).items
        returns = torch.stack([segments.true_reward.sum() for segments in items])
        pair = card.query.form.kind in PAIRS
        said, meant = self._pair(returns, card) if pair else self._other(returns, card)
        common = {"query": query, "annotator": self.annotator, "shown_at": time.time(), "response_s": 0.5}
        common |= {"swapped": card.swapped, "places": card.places, "tags": self.tags}
        if self.changes_mind and pair and number % 3 == 0:
            wrong = MIRROR[said["choice"]]
            desk.answer(Given(id=f"{self.annotator}-wrong-{query}", choice=wrong, **common))
            time.sleep(0.05)
            desk.undo(f"{self.annotator}-wrong-{query}", self.annotator)
        time.sleep(self.slow_s)
        desk.answer(Given(id=f"{self.annotator}-answer-{query}", **said, **common))
        self.given[query] = meant

    def _pair(self, returns: torch.Tensor, card: Card) -> tuple[dict[str, Any], float]:
        better = "right" if returns[1] > returns[0] else "left"
        return {"choice": MIRROR[better] if card.swapped else better}, 1.0 if better == "right" else 0.0

    def _other(self, returns: torch.Tensor, card: Card) -> tuple[dict[str, Any], tuple[float, ...]]:
        """A ranking, or the best and the worst, in places of the screen; or thumbs up or down, in turn."""
        if card.query.form.kind == "choice":
            order = returns.argsort(descending=True).tolist()
            order = order if card.query.form.detail("wanted") == "ranking" else [order[0], order[-1]]
            return {"choice": "answer", "value": tuple(card.places.index(item) for item in order)}, tuple(order)
        thumb = (float(len(self.given) % 2),)
        return {"choice": "answer", "value": thumb}, thumb
