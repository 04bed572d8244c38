"""The desk: hands pairs to people and takes their answers. No HTTP here; what a screen shows is sides, not segments.

A pair is leased to a person for a while, so that nobody else answers it at the same time. Some pairs come a second time
with sides swapped: those answers go to the table `checks` and tell how consistent a person is.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from pbrl.errors import UserError
from pbrl.labels.questions import HUMAN, SCRIPTED, answers_given, lease, leased_elsewhere, release
from pbrl.labels.rows import Query, StandingAnswer
from pbrl.labels.store import LabelStore
from pbrl.labels.views import CHOICES, STRENGTHS, View, add_check, add_view
from pbrl.types import Answers
from pbrl.viewer.people import name_key

UNREADY = 50  # open pairs without clips after which no drawn one is expected
REPEAT_AFTER = 5  # answers between a pair and its repetition: nobody should remember the keys
MIRROR = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class DeskSettings:
    overlap: int = 1  # people who answer each pair
    repeats: float = 0.05  # share of pairs that are shown again
    lease_s: float = 120.0
    slight: float | None = 0.75  # prefers_right of a slight preference for the right segment; None: not offered
    scripts_count: bool = True  # whether an answer of a script closes a question

    def __post_init__(self) -> None:
        if self.overlap < 1:
            raise UserError(f"viewer.overlap={self.overlap}; valid is a whole number from 1")
        if not 0 <= self.repeats < 1:
            raise UserError(f"viewer.repeats={self.repeats}; valid is a share from 0, below 1")
        if self.slight is not None and not 0.5 < self.slight <= 1:
            raise UserError(f"viewer.slight={self.slight}; valid is above 0.5 and at most 1")
        if self.lease_s <= 0:
            raise UserError(f"viewer.lease_s={self.lease_s}; valid are seconds above 0")


class Card(NamedTuple):
    """A pair as somebody gets it."""

    query: Query
    swapped: bool  # True: the right segment is on the left of the screen
    repeat: str | None  # of which answer it is a repetition


class Given(NamedTuple):
    """An answer as it comes from the screen."""

    id: str  # unique, chosen by the page: sent twice it counts once
    query: int
    annotator: str
    choice: str  # of CHOICES, as on the screen
    swapped: bool
    shown_at: float  # Unix time
    response_s: float
    repeat: str | None = None
    strength: str = "clear"
    played_at: float | None = None
    plays_left: int = 0
    plays_right: int = 0
    client: str = ""


class Desk:
    """One per viewer process. `ready` says whether the clips of a query are drawn."""

    def __init__(
        self,
        store: LabelStore,
        settings: DeskSettings,
        ready: Callable[[Query], bool],
        rng: random.Random | None = None,
    ) -> None:
        self.store, self.settings, self.ready = store, settings, ready
        self._rng = rng or random.Random()

    def spelling(self, name: str) -> str:
        """The name as this person has it in the store already, however it is written now."""
        names = self.store.annotators().values()
        return name if name in names else next((n for n in names if name_key(n) == name_key(name)), name)

    def open_queries(self) -> list[Query]:
        return self.store.open_queries(self.settings.overlap, scripts_count=self.settings.scripts_count)

    def next(self, annotator: str, n: int, holding: Collection[int] = ()) -> tuple[list[Card], list[int]]:
        """At most n more pairs for this person, none that they hold or have answered; renews what they hold.

        Also which of those they hold need no answer any more: others gave it, or the question was taken back.
        """
        s, store, annotator = self.settings, self.store, self.spelling(annotator)
        with store.transaction():
            answered, others = answers_given(store.db), leased_elsewhere(store.db, annotator)
            mine = {a.query for a in self._mine(annotator)}
            waiting = self.open_queries()
            cards: list[Card] = []
            unready = 0
            for query in waiting:
                if len(cards) == n or unready == UNREADY:
                    break
                full = answered.get(query.id, 0) + others.get(query.id, 0) >= s.overlap
                if query.id in mine or query.id in holding or full:
                    continue
                if self.ready(query):
                    cards.append(self._repeat(annotator, holding) or Card(query, self._rng.random() < 0.5, None))
                else:
                    unready += 1
            needed = {query.id for query in waiting} - mine
            held = [*holding, *(card.query.id for card in cards if card.repeat is None)]
            lease(store.db, [q for q in held if q in needed], annotator, s.lease_s)
        return cards, [q for q in holding if q not in needed and q not in mine]

    def answer(self, given: Given) -> None:
        """Stored when this returns; the same id again changes nothing.

        An answer to a question that was retired or answered by others meanwhile is kept too: labels are never lost.
        """
        _check(given)
        given = given._replace(annotator=self.spelling(given.annotator))
        choice = in_segment_order(given.choice, given.swapped)
        value = prefers_right(choice, given.strength, self.settings.slight)
        store = self.store
        with store.transaction():
            store.queries([given.query])
            if given.repeat is not None:
                self._check_repeat(given)
                common = {"choice": choice, "prefers_right": value, "swapped": given.swapped}
                who = {"query": given.query, "annotator": given.annotator, "client_id": given.id}
                add_check(store.db, **who, **common, response_s=given.response_s)  # type: ignore[arg-type]
                return
            if self.settings.scripts_count:  # the stand-in's answer was only for want of a person's
                for a in store.standing_answers([given.query]):
                    if a.kind == SCRIPTED:
                        store.retract(a.id)
            answers = Answers(torch.tensor([0.5 if value is None else value]), torch.tensor([value is not None]))
            (number,) = store.answer(
                [given.query], answers, given.annotator, [given.response_s], kind=HUMAN, client_id=given.id
            )
            view = View(
                answer=number,
                choice=choice,
                strength=given.strength,
                swapped=given.swapped,
                shown_at=given.shown_at,
                played_at=given.played_at,
                plays_left=given.plays_left,
                plays_right=given.plays_right,
                client=given.client,
            )
            add_view(store.db, view)
            release(store.db, given.query, given.annotator)

    def undo(self, client_id: str, annotator: str) -> Card | None:
        """Takes the answer with this id back; returns its pair, to be answered again. None if there is no such answer.

        Undoing twice changes nothing more.
        """
        db, annotator = self.store.db, self.spelling(annotator)
        with self.store.transaction():
            who = "JOIN annotators AS n ON n.id = annotator WHERE client_id = ? AND name = ?"
            sql = f"SELECT c.id, query, swapped FROM checks AS c {who}"
            if (row := db.execute(sql, (client_id, annotator)).fetchone()) is not None:
                db.execute(
                    "UPDATE checks SET retracted_at = coalesce(retracted_at, ?) WHERE id = ?", (time.time(), row[0])
                )
                first = next((a for a in self._mine(annotator) if a.query == row[1]), None)
                return Card(self.store.queries([row[1]])[0], bool(row[2]), str(first.id) if first else None)
            sql = f"SELECT a.id, query, swapped FROM answers AS a JOIN views AS v ON v.answer = a.id {who}"
            if (row := db.execute(sql, (client_id, annotator)).fetchone()) is None:
                return None
            self.store.retract(row[0])
            lease(db, [row[1]], annotator, self.settings.lease_s)
            return Card(self.store.queries([row[1]])[0], bool(row[2]), None)

    def history(self, annotator: str, n: int) -> list[tuple[StandingAnswer, View, str]]:
        """The person's last n standing answers, newest first, with how they came about and the ids they were given."""
        views = {view.answer: view for view in self.store.views()}
        ids = dict(self.store.db.execute("SELECT id, client_id FROM answers WHERE client_id IS NOT NULL").fetchall())
        mine = sorted(
            (a for a in self._mine(self.spelling(annotator)) if a.id in views and a.id in ids), key=lambda a: -a.id
        )
        return [(a, views[a.id], ids[a.id]) for a in mine[:n]]

    def counts(self, annotator: str) -> dict[str, int]:
        mine = self._mine(self.spelling(annotator))
        return {
            "answers": sum(a.prefers_right is not None for a in mine),
            "equal": sum(a.prefers_right == 0.5 for a in mine),
            "skipped": sum(a.prefers_right is None for a in mine),
        }

    def _mine(self, annotator: str) -> list[StandingAnswer]:
        return [a for a in self.store.standing_answers() if a.annotator == annotator and a.kind == HUMAN]

    def _repeat(self, annotator: str, holding: Collection[int]) -> Card | None:
        """Now and then, a pair this person decided a while ago, with sides swapped."""
        if self._rng.random() >= self.settings.repeats:
            return None
        checked = {check.query for check in self.store.checks() if check.annotator == annotator}
        decided = [
            (answer, view)
            for answer, view, _ in self.history(annotator, 1000)[REPEAT_AFTER:]
            if view.choice in MIRROR and answer.query not in checked and answer.query not in holding
        ]
        if not decided:
            return None
        answer, view = self._rng.choice(decided)
        query = self.store.queries([answer.query])[0]
        return Card(query, not view.swapped, str(answer.id)) if self.ready(query) else None

    def _check_repeat(self, given: Given) -> None:
        # Also one that was taken back meanwhile: what was seen twice is worth keeping.
        if (given.query, given.annotator) not in self.store.ever_answered():
            raise UserError(f"query {given.query} was never answered by {given.annotator!r}, so it cannot be repeated")


def in_segment_order(choice: str, swapped: bool) -> str:
    """The choice between segments that a choice on the screen means, and the other way round."""
    return MIRROR.get(choice, choice) if swapped else choice


def prefers_right(choice: str, strength: str, slight: float | None) -> float | None:
    """The label of a choice between segments; None for what cannot be compared and for skips."""
    if strength == "slight" and slight is None:
        raise UserError("strength='slight' is not offered in this run; valid is clear")
    right = slight if strength == "slight" and slight is not None else 1.0
    return {"left": 1 - right, "right": right, "equal": 0.5}.get(choice)


def _check(given: Given) -> None:
    valid: Sequence[tuple[str, Any, Collection[str]]] = (
        ("choice", given.choice, CHOICES),
        ("strength", given.strength, STRENGTHS),
    )
    for name, value, choices in valid:
        if value not in choices:
            raise UserError(f"{name}={value!r}; valid are {', '.join(choices)}")
    if not 0 <= given.response_s < math.inf:
        raise UserError(f"response time {given.response_s}; valid are seconds from 0")
