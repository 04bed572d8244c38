"""The desk: hands questions to people and takes their answers. No HTTP here; a screen shows places, not segments.

A question is leased to a person for a while, so that nobody else answers it at the same time. Some pairs come a second
time with sides swapped: those answers go to the table `checks` and tell how consistent a person is.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any

import torch

from pbrl.errors import UserError
from pbrl.labels.questions import HUMAN, SCRIPTED, lease, release
from pbrl.labels.rows import ALL, PAIRS, Query, check_value
from pbrl.labels.store import LabelStore
from pbrl.labels.views import Arrangement, View, add_arrangement, add_check, add_tags, add_view, in_segment_order
from pbrl.questions import Form
from pbrl.types import Answers
from pbrl.viewer.board import Board
from pbrl.viewer.cards import (
    Card,
    DeskSettings,
    Given,
    check_given,
    in_item_order,
    make_card,
    prefers_right,
)
from pbrl.viewer.leases import Leases, end_lease
from pbrl.viewer.past import Past, find_past
from pbrl.viewer.people import name_key

MOST_HELD = 20  # questions that one person has at a time
CHUNK = 16  # questions read at once
UNREADY = 50  # open questions without clips after which no drawn one is expected
REPEAT_AFTER = 5  # answers between a pair and its repetition: nobody should remember the keys


class Desk:
    """The desk, one per viewer process. ready: whether a query's clips are drawn; present: how many people are here."""

    def __init__(
        self,
        store: LabelStore,
        settings: DeskSettings,
        ready: Callable[[Query], bool],
        rng: random.Random | None = None,
        present: Callable[[], int] = lambda: 1,
    ) -> None:
        self.store, self.settings, self.ready, self.present = store, settings, ready, present
        self.board = Board(store, settings.overlap, scripts_count=settings.scripts_count, scope=ALL)
        self._rng = rng or random.Random()

    def spelling(self, name: str) -> str:
        """Return the name as this person has it in the store already, however it is written now."""
        names = self.store.annotators().values()
        return name if name in names else next((n for n in names if name_key(n) == name_key(name)), name)

    def open_queries(self) -> list[Query]:
        self.board.refresh()
        return self.board.first(len(self.board))

    def next(self, annotator: str, n: int, holding: Collection[int] = ()) -> tuple[list[Card], list[int]]:
        """Hand out at most n more pairs, none that this person holds or has answered; renew what they hold.

        Also which of those they hold need no answer of theirs any more: others gave it or have it now, or the question
        was taken back.
        """
        s, store, board = self.settings, self.store, self.board
        with store.transaction():
            board.refresh()
            annotator = self.spelling(annotator)
            leases, mine = Leases(store.db, annotator), board.answered_by(annotator)
            kept = [q for q in holding if board.is_open(q) and q not in mine and self._mine_to_answer(q, leases)]
            free = self._free(n, leases, {*holding, *mine})
            cards = [self._repeat(annotator, holding) or make_card(q, self._rng) for q in free]
            new = [card.query.id for card in cards if card.repeat is None]
            lease(store.db, [*kept[:MOST_HELD], *new], annotator, s.lease_s)
            board.settle()
        return cards, [q for q in holding if q not in kept and q not in mine]

    def release(self, annotator: str, queries: Collection[int]) -> None:
        """Take back queries that this person does not look at any more; others may have them at once."""
        with self.store.transaction():
            for query in queries:
                end_lease(self.store.db, query, self.spelling(annotator))

    def answer(self, given: Given) -> None:
        """Store an answer before this returns; the same id again changes nothing.

        An answer to a question that was retired or answered by others meanwhile is kept too: labels are never lost. Who
        was never asked adds none to a question that has all its answers.
        """
        store = self.store
        with store.transaction():
            self.board.refresh()
            given = given._replace(annotator=self.spelling(given.annotator))
            (query,) = store.queries([given.query])
            check_given(given, query.form)
            if given.repeat is not None:
                self._take_repeat(given)
                return
            if not self._was_asked(given) and not self._mine_to_answer(given.query, Leases(store.db, given.annotator)):
                raise UserError(f"query {given.query}: others have answered it or have it now; ask for the next one")
            if self.settings.scripts_count:  # the stand-in's answer was only for want of a person's
                for a in store.standing_answers([given.query]):
                    if a.kind == SCRIPTED:
                        store.retract(a.id)
            number = self._take(given) if query.form.kind in PAIRS else self._take_other(given, query.form)
            add_tags(store.db, number, given.tags)
            release(store.db, given.query, given.annotator)

    def undo(self, client_id: str, annotator: str) -> Card | None:
        """Take the answer with this id back; return its pair, to be answered again. None if there is no such answer.

        Undoing twice changes nothing more.
        """
        db = self.store.db
        with self.store.transaction():
            self.board.refresh()
            annotator = self.spelling(annotator)
            who = "JOIN annotators AS n ON n.id = annotator WHERE client_id = ? AND name = ?"
            sql = f"SELECT c.id, query, swapped, purpose FROM checks AS c {who}"
            if (row := db.execute(sql, (client_id, annotator)).fetchone()) is not None:
                db.execute(
                    "UPDATE checks SET retracted_at = coalesce(retracted_at, ?) WHERE id = ?", (time.time(), row[0])
                )
                return self._check_again(row[1], bool(row[2]), row[3], annotator)
            sql = f"SELECT a.id FROM answers AS a {who}"
            if (row := db.execute(sql, (client_id, annotator)).fetchone()) is None:
                return None
            if not (past := find_past(self.store, [row[0]])):
                return None
            self.store.retract(row[0])
            lease(db, [past[0].card.query.id], annotator, self.settings.lease_s)
            return past[0].card

    def history(self, annotator: str, n: int) -> list[Past]:
        """Return the person's last n standing answers, newest first."""
        self.board.refresh()
        mine = self.board.answered_by(self.spelling(annotator)).values()
        newest = [answer.id for answer in islice(reversed(mine), n)]
        return find_past(self.store, newest)

    def counts(self, annotator: str) -> dict[str, int]:
        self.board.refresh()
        return self.board.totals(self.spelling(annotator))

    def tell(self, annotator: str, given: Given | None = None) -> dict[str, Any]:
        """Return what else the page of this person is to know, after the answer that they gave."""
        return {}

    def take_step(self, annotator: str, step: str, client: str) -> dict[str, Any]:
        """Note in a study that this person has agreed, read or rested; return what `tell` says then."""
        raise UserError("this is no study, so there are no steps to take")

    def _check_again(self, query: int, swapped: bool, purpose: str, annotator: str) -> Card:
        """Deal a check that was taken back, to be answered again."""
        first = self.board.answered_by(annotator).get(query)
        return Card(self.store.queries([query])[0], swapped, str(first.id) if first else None)

    def _free(self, n: int, leases: Leases, not_these: Collection[int]) -> list[Query]:
        """Choose at most n questions for this person, shared out so that nobody else who is here goes without."""
        if n == 0:
            return []
        people = max(self.present(), 1)
        found = self._ready(n if people == 1 else n * people, leases, not_these)
        held = sum(runs and self.board.is_open(query) for query, runs in leases.mine.items())
        share = n if people == 1 else math.ceil((len(found) + leases.running) / people) - held
        found = found[: min(n, max(share, 0 if held else 1))]
        if found or held or people == 1:
            return found
        for other, query in leases.spare():
            if self.board.is_open(query) and query not in not_these:
                end_lease(self.store.db, query, other)
                return self.store.queries([query])
        return []

    def _ready(self, n: int, leases: Leases, not_these: Collection[int]) -> list[Query]:
        """Return the first n open questions that are not full and whose clips are drawn."""
        found: list[Query] = []
        unready = 0
        for query in self._in_order(leases.annotator):
            if len(found) == n or unready == UNREADY:
                break
            if query.id in not_these or not self._has_room(query.id, leases):
                continue
            if self.ready(query):
                found.append(query)
            else:
                unready += 1
        return found

    def _in_order(self, annotator: str) -> Iterator[Query]:
        """Yield open questions in the order in which this person gets them, read as they are looked at."""
        for at in range(0, len(self.board), CHUNK):
            yield from self.board.first(CHUNK, at)

    def _has_room(self, query: int, leases: Leases) -> bool:
        return self.board.given(query) + leases.others[query] < self.settings.overlap

    def _mine_to_answer(self, query: int, leases: Leases) -> bool:
        """Return whether this person has it, or may."""
        return leases.mine.get(query, False) or self._has_room(query, leases)

    def _was_asked(self, given: Given) -> bool:
        """Return whether this person was ever given or answered the question; the answer then comes late at most."""
        who = "AND annotator = (SELECT id FROM annotators WHERE name = ?)"
        sql = f"SELECT 1 FROM leases WHERE query = ? {who} UNION ALL SELECT 1 FROM answers WHERE query = ? {who}"
        key = (given.query, given.annotator)
        return self.store.db.execute(sql, (*key, *key)).fetchone() is not None

    def _take_other(self, given: Given, form: Form) -> int:
        """Store an answer to another kind of question than pairs."""
        value = None if given.choice == "skip" else in_item_order(given.value, given.places, form)
        if value is not None:
            check_value(value, form, f"the answer to query {given.query}")
        answers = form.type.make_answers([value], form)
        (number,) = self.store.answer(
            [given.query], answers, given.annotator, [given.response_s], kind=HUMAN, client_id=given.id
        )
        plays = min(given.plays_left, given.plays_right)
        shown = Arrangement(number, given.places, given.shown_at, given.played_at, plays, given.client)
        add_arrangement(self.store.db, shown)
        return number

    def _take(self, given: Given) -> int:
        choice = in_segment_order(given.choice, given.swapped)
        value = prefers_right(choice, given.strength, self.settings.slight)
        answers = Answers(torch.tensor([0.5 if value is None else value]), torch.tensor([value is not None]))
        (number,) = self.store.answer(
            [given.query], answers, given.annotator, [given.response_s], kind=HUMAN, client_id=given.id
        )
        shown = {name: getattr(given, name) for name in View._fields if name in Given._fields}
        add_view(self.store.db, View(**shown | {"answer": number, "choice": choice}))
        return number

    def _take_repeat(self, given: Given) -> None:
        # Keep the check of an answer that was taken back meanwhile too: what was seen twice is worth keeping.
        sql = "SELECT 1 FROM answers WHERE query = ? AND annotator = (SELECT id FROM annotators WHERE name = ?)"
        if self.store.db.execute(sql, (given.query, given.annotator)).fetchone() is None:
            raise UserError(f"query {given.query} was never answered by {given.annotator!r}, so it cannot be repeated")
        self._take_check(given, "repeat")

    def _take_check(self, given: Given, purpose: str, expected: str | None = None) -> None:
        choice = in_segment_order(given.choice, given.swapped)
        seen = ("strength", "shown_at", "played_at", "plays_left", "plays_right")
        add_check(
            self.store.db,
            query=given.query,
            annotator=given.annotator,
            choice=choice,
            prefers_right=prefers_right(choice, given.strength, self.settings.slight),
            swapped=given.swapped,
            response_s=given.response_s,
            client_id=given.id,
            purpose=purpose,
            expected=expected,
            **{name: getattr(given, name) for name in seen},
        )

    def _repeat(self, annotator: str, holding: Collection[int]) -> Card | None:
        """Deal, now and then, a pair this person decided a while ago, with sides swapped."""
        if self._rng.random() >= self.settings.repeats:
            return None
        who = "JOIN annotators AS n ON n.id = annotator WHERE name = ?"
        sql = f"SELECT query FROM checks {who} AND purpose = 'repeat' AND retracted_at IS NULL"
        checked = {row[0] for row in self.store.db.execute(sql, (annotator,))}
        mine = list(self.board.answered_by(annotator).values())[:-REPEAT_AFTER]
        able = [a for a in mine if isinstance(a.value, float) and not a.tie and a.query not in checked]
        able = [a for a in able if a.query not in holding]
        if not able:
            return None
        past = find_past(self.store, [self._rng.choice(able).id])
        if not past or not self.ready(past[0].card.query):
            return None
        card = past[0].card
        return card._replace(swapped=not card.swapped, repeat=str(past[0].answer))
