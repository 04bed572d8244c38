"""The desk of a study: each person gets practice, checks and questions in an order of their own, up to a quota.

Where somebody is follows from what is stored, so that nothing is lost when the viewer is killed.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any

from pbrl.errors import UserError
from pbrl.labels.rows import PAIRS, Query
from pbrl.labels.store import LabelStore
from pbrl.labels.views import in_segment_order
from pbrl.study.plan import (
    BREAK,
    CONSENT,
    DONE,
    INSTRUCTIONS,
    PRACTICE,
    QUESTIONS,
    STEPS,
    draw,
    own_order,
    positions,
)
from pbrl.study.settings import KnownPair, Study
from pbrl.study.steps import add_step, find_checked, find_steps, last_answer_at
from pbrl.viewer.cards import Card, DeskSettings, Given, check_given, make_card
from pbrl.viewer.desk import CHUNK, Desk
from pbrl.viewer.leases import Leases

GOLD, ATTENTION = "gold", "attention"
ATTEND = "This is a check of attention: answer {%s} is better, whatever the clips show."
SIDES = ("left", "right")


class StudyDesk(Desk):
    """The desk of a study, one per viewer process; see `Desk`.

    study: with its pairs chosen, see `pbrl.study.open`. goes_on: whether a training may ask more.
    """

    def __init__(
        self,
        study: Study,
        store: LabelStore,
        settings: DeskSettings,
        ready: Callable[[Query], bool],
        goes_on: Callable[[], bool] = lambda: False,
        **more: Any,
    ) -> None:
        super().__init__(store, settings, ready, **more)
        self.study, self.goes_on = study, goes_on
        self._practice = {pair.query: pair for pair in study.practice.pairs}
        self._gold = {pair.query: pair for pair in study.gold.pairs}
        self._attending: dict[str, int] = {}  # over which pair the last check of attention was, by person
        self._orders: dict[str, list[int]] = {}  # of all questions, by person

    def next(self, annotator: str, n: int, holding: Collection[int] = ()) -> tuple[list[Card], list[int]]:
        with self.store.transaction():
            self.board.refresh()
            annotator = self.spelling(annotator)
            stage = self._stage(annotator)
            if stage == PRACTICE:
                return self._next_practice(annotator, n, holding), []
            mine = self.board.answered_by(annotator)
            held = [query for query in holding if query not in self.study.reserved]
            if stage == BREAK:  # whoever rests keeps what they have
                return super().next(annotator, 0, held)
            if stage != QUESTIONS:
                self.release(annotator, held)
                return [], [query for query in holding if query not in mine]
            waiting = sum(query not in mine for query in held)
            checks = self._checks(annotator, len(mine) + waiting, holding)[:n]
            room = self._left(len(mine) + waiting, n - len(checks))
            cards, gone = super().next(annotator, room, held)
            return checks + cards, gone

    def answer(self, given: Given) -> None:
        with self.store.transaction():
            self.board.refresh()
            given = given._replace(annotator=self.spelling(given.annotator))
            self._require_part(given)
            if (found := self._check_of(given)) is None:
                super().answer(given)
            else:
                check_given(given, self.store.queries([given.query])[0].form)
                self._take_check(given, *found)
            self.board.refresh()
            if self._stage(given.annotator) == DONE and not find_steps(self.store.db, given.annotator)[DONE]:
                add_step(self.store.db, given.annotator, DONE, "")

    def take_step(self, annotator: str, step: str, client: str) -> dict[str, Any]:
        """Note that this person has agreed, has read, or has rested; return what `tell` says then."""
        if step not in STEPS:
            raise UserError(f"step={step!r}; valid are {', '.join(STEPS)}")
        with self.store.transaction():
            self.board.refresh()
            annotator = self.spelling(annotator)
            if self._stage(annotator) == step:
                if step == BREAK and (rest := self._rest_s(annotator)) > 0:
                    raise UserError(f"the break lasts {rest:.0f} seconds more")
                about = hashlib.sha256((self.study.consent or "").encode()).hexdigest()
                add_step(self.store.db, annotator, step, f"{about} {client}" if step == CONSENT else client)
        return self.tell(annotator)

    def tell(self, annotator: str, given: Given | None = None) -> dict[str, Any]:
        self.board.refresh()
        annotator = self.spelling(annotator)
        stage, study = self._stage(annotator), self.study
        quota = study.quota
        told: dict[str, Any] = {"stage": stage, "done": len(self.board.answered_by(annotator)), "quota": quota}
        told |= {"full_play": study.full_play, "skip": study.skip, "prolific": study.prolific}
        if stage == CONSENT:
            told["text"] = study.consent
        elif stage == INSTRUCTIONS:
            told["text"] = study.instructions
        elif stage == BREAK:
            told["rest_s"] = round(self._rest_s(annotator), 1)
        elif stage == DONE and study.completion is not None:
            told |= {"code": study.completion.code, "url": study.completion.url}
        if given is not None and (pair := self._practice.get(given.query)) is not None:
            told["feedback"] = self._feedback(pair, given)
        return {"study": told}

    def _stage(self, annotator: str) -> str:
        study, steps = self.study, find_steps(self.store.db, annotator)
        for step, text in ((CONSENT, study.consent), (INSTRUCTIONS, study.instructions)):
            if text and not steps[step]:
                return step
        if self._to_practise(annotator):
            return PRACTICE
        done = len(self.board.answered_by(annotator))
        if done >= (study.quota or math.inf) or (done and self._all_answered(annotator)):
            return DONE
        if study.breaks is not None and done // study.breaks.every > steps[BREAK]:
            return BREAK
        return QUESTIONS

    def _left(self, answered: int, wanted: int) -> int:
        """Return how many of the questions that are wanted the quota allows."""
        return wanted if self.study.quota is None else max(min(wanted, self.study.quota - answered), 0)

    def _all_answered(self, annotator: str) -> bool:
        """Return whether nothing is left for them, and no training will ask more."""
        mine, kept = self.board.answered_by(annotator), self.study.reserved
        if any(query not in mine and query not in kept for query in self.board.ids()):
            return False
        return not self.goes_on()

    def _rest_s(self, annotator: str) -> float:
        """Return how many seconds of a break are left."""
        seconds = 0.0 if self.study.breaks is None else self.study.breaks.seconds
        return max(0.0, last_answer_at(self.store.db, annotator) + seconds - time.time())

    def _to_practise(self, annotator: str) -> list[KnownPair]:
        """Return the pairs that were not answered right yet; those answered wrong come last."""
        if not self._practice:
            return []
        tried = [c for c in find_checked(self.store.db, annotator) if c.purpose == PRACTICE]
        order = {c.query: place for place, c in enumerate(tried, 1)}
        right = {c.query for c in tried if c.right}
        left = [pair for pair in self._practice.values() if pair.query not in right]
        return sorted(left, key=lambda pair: order.get(pair.query, 0))

    def _next_practice(self, annotator: str, n: int, holding: Collection[int]) -> list[Card]:
        """Deal one pair at a time: what is said about it comes before the next one."""
        if n == 0 or any(query in self._practice for query in holding):
            return []
        (query,) = self.store.queries([self._to_practise(annotator)[0].query])
        return [self._practice_card(make_card(query, self._rng))] if self.ready(query) else []

    def _checks(self, annotator: str, at: int, holding: Collection[int]) -> list[Card]:
        """Deal the gold pairs and checks of attention that are due after so many questions."""
        study, checked = self.study, find_checked(self.store.db, annotator)
        golden = {c.query for c in checked if c.purpose == GOLD}
        order = own_order(self._gold, study.seed, annotator)
        due = zip(positions(study.gold.every, study.seed, annotator, GOLD), order, strict=False)
        wanted = [query for place, query in due if place <= at and query not in golden and query not in holding]
        cards = [make_card(query, self._rng) for query in self.store.queries(wanted) if self.ready(query)]
        if study.attention is not None:
            number = sum(c.purpose == ATTENTION for c in checked)
            places = positions(study.attention.every, study.seed, annotator, ATTENTION, first=1)
            if next(islice(places, number, None)) <= at:
                used = {c.query for c in checked if c.purpose == ATTENTION}
                cards += self._attention(annotator, holding, used)
        return cards

    def _attention(self, annotator: str, holding: Collection[int], used: Collection[int]) -> list[Card]:
        """Ask over a pair that this person has answered, so that no question is used up; one at a time."""
        if self._attending.get(annotator) in holding:
            return []
        mine = self.board.answered_by(annotator)
        able = list(islice((query for query in mine if query not in used and query not in holding), CHUNK))
        pairs = (query for query in self.store.queries(able) if query.form.kind in PAIRS and self.ready(query))
        for query in islice(pairs, 1):
            self._attending[annotator] = query.id
            return [self._attention_card(annotator, query, swapped=False)]
        return []

    def _attention_card(self, annotator: str, query: Query, swapped: bool) -> Card:
        return Card(query, swapped, ATTENTION, words=ATTEND % self._attention_side(annotator, query.id))

    def _attention_side(self, annotator: str, query: int) -> str:
        """Return the side of the screen, whichever segment is there."""
        return SIDES[draw(self.study.seed, annotator, ATTENTION, query) % 2]

    def _practice_card(self, card: Card) -> Card:
        return card._replace(practice=True)

    def _check_again(self, query: int, swapped: bool, purpose: str, annotator: str) -> Card:
        (found,) = self.store.queries([query])
        if purpose == ATTENTION:
            return self._attention_card(annotator, found, swapped)
        card = Card(found, swapped, None)
        if purpose == PRACTICE:
            return self._practice_card(card)
        return card if purpose == GOLD else super()._check_again(query, swapped, purpose, annotator)

    def _check_of(self, given: Given) -> tuple[str, str] | None:
        """Return the purpose and the right choice, where the answer is to a check of the study."""
        if given.repeat == ATTENTION:
            side = self._attention_side(given.annotator, given.query)
            return ATTENTION, in_segment_order(side, given.swapped)
        for purpose, pairs in ((PRACTICE, self._practice), (GOLD, self._gold)):
            if given.query in pairs:
                return purpose, pairs[given.query].answer
        return None

    def _require_part(self, given: Given) -> None:
        """Refuse what the page of a study does not send."""
        study, steps = self.study, find_steps(self.store.db, given.annotator)
        if study.consent and not steps[CONSENT]:
            raise UserError(f"{given.annotator} has not agreed to take part, which comes first")
        if given.choice == "skip" and not study.skip:
            raise UserError("choice='skip'; this study has no skips")
        if study.full_play and given.choice != "skip" and min(given.plays_left, given.plays_right) < 1:
            raise UserError("the clips have not played to their end; this study wants that before an answer")

    def _feedback(self, pair: KnownPair, given: Given) -> dict[str, Any]:
        """Return whether the answer was right, and which side was the better one on the screen."""
        right = in_segment_order(given.choice, given.swapped) == pair.answer
        return {"right": right, "side": in_segment_order(pair.answer, given.swapped), "text": pair.feedback}

    def _ready(self, n: int, leases: Leases, not_these: Collection[int]) -> list[Query]:
        return super()._ready(n, leases, {*not_these, *self.study.reserved})

    def _in_order(self, annotator: str) -> Iterator[Query]:
        mine, known = self.board.answered_by(annotator), self.board.known
        if len(self._orders.get(annotator, ())) != len(known):
            self._orders[annotator] = own_order(known, self.study.seed, annotator)
        able = (query for query in self._orders[annotator] if query not in mine and self.board.is_open(query))
        while chunk := list(islice(able, CHUNK)):
            yield from self.store.queries(chunk)
