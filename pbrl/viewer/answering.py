"""The routes by which a person gets questions and answers them, and looks back at their own answers."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pbrl.errors import UserError
from pbrl.labels.store import LabelStore
from pbrl.labels.views import in_segment_order
from pbrl.viewer.cards import Given
from pbrl.viewer.fields import flag, json_body, number, text, whole
from pbrl.viewer.overview import count_labels
from pbrl.viewer.past import Past
from pbrl.viewer.site import Site

MAX_ID = 2**53  # larger numbers are not whole in JavaScript
MOST_HELD, MOST_ITEMS = 100, 20


class Answering:
    """Answers requests of whoever `Site.who` says it is, never the page alone."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def next(self, request: Request) -> Response:
        body = await json_body(request)
        annotator, n, held = self.site.who(request, body.get("annotator")), whole(body, "n", 0, 20), _held(body)

        def deal(_: LabelStore) -> dict[str, Any]:
            cards, gone = self.site.desk.next(annotator, n, held)
            return {"pairs": [self.site.pair(card) for card in cards], "gone": gone}

        return await self.site.changed(body, deal)

    async def answer(self, request: Request) -> Response:
        body = await json_body(request)
        given = Given(
            id=text(body, "id", 64),
            query=whole(body, "query", 1, MAX_ID),
            annotator=self.site.who(request, body.get("annotator")),
            choice=text(body, "choice", 20),
            swapped=flag(body, "swapped"),
            shown_at=number(body, "shown_at", 0, 1e12),
            response_s=number(body, "response_ms", 0, 1e12) / 1000,
            repeat=None if body.get("repeat") is None else text(body, "repeat", 64),
            strength=text(body, "strength", 20),
            played_at=None if body.get("played_at") is None else number(body, "played_at", 0, 1e12),
            plays_left=whole(body, "plays_left", 0, 10**6),
            plays_right=whole(body, "plays_right", 0, 10**6),
            client=request.headers.get("user-agent", "")[:200],
            tags=self._tags(body),
            value=_numbers(body, "value"),
            places=tuple(map(int, _numbers(body, "places"))),
        )

        def take(_: LabelStore) -> dict[str, Any]:
            desk = self.site.desk
            desk.answer(given)
            labels = count_labels(desk) if "budget" in self.site.config.show else None
            return {"mine": desk.counts(given.annotator), "labels": labels, **desk.tell(given.annotator, given)}

        return await self.site.changed(body, take)

    async def undo(self, request: Request) -> Response:
        body = await json_body(request)
        client_id, annotator = text(body, "id", 64), self.site.who(request, body.get("annotator"))

        def undo(_: LabelStore) -> dict[str, Any]:
            card = self.site.desk.undo(client_id, annotator)
            return {"pair": None if card is None else self.site.pair(card)}

        return await self.site.changed(body, undo)

    async def history(self, request: Request) -> Response:
        annotator = self.site.who(request, request.query_params.get("annotator", ""))
        n = request.query_params.get("n", "50")
        if not re.fullmatch("[0-9]{1,4}", n) or not 1 <= int(n) <= 1000:
            raise UserError(f"n={n[:20]}: expected a whole number from 1 to 1000")

        def find(_: LabelStore) -> dict[str, Any]:
            return {"answers": [self._told(past) for past in self.site.desk.history(annotator, int(n))]}

        return await self.site.told(find)

    async def release(self, request: Request) -> Response:
        """Give back what a page that closes has."""
        body = await json_body(request)
        annotator, held = self.site.who(request, body.get("annotator")), _held(body)
        return await self.site.changed(body, lambda _: self.site.desk.release(annotator, held))

    async def study(self, request: Request) -> Response:
        """Note that a person has agreed to take part, has read the instructions, or has rested."""
        body = await json_body(request)
        annotator, step = self.site.who(request, body.get("annotator")), text(body, "step", 20)
        client = request.headers.get("user-agent", "")[:200]
        return await self.site.changed(body, lambda _: self.site.desk.take_step(annotator, step, client))

    def _told(self, past: Past) -> dict[str, Any]:
        """Describe an answer, and its pair as it was shown."""
        return {
            "id": past.client_id,
            "query": past.card.query.id,
            "choice": in_segment_order(past.choice, past.card.swapped),
            "strength": past.strength,
            "value": past.value,
            "answered_at": past.answered_at,
            "pair": self.site.pair(past.card),
        }

    def _tags(self, body: dict[str, Any]) -> tuple[str, ...]:
        """Return reasons, of those that the page offers."""
        given, offered = body.get("tags", []), self.site.config.tags
        if not isinstance(given, list) or any(tag not in offered for tag in given):
            raise UserError(f"tags: expected a list of {', '.join(offered) or 'nothing, as none are offered'}")
        return tuple(given)


def _numbers(body: dict[str, Any], key: str) -> tuple[float, ...]:
    """Read numbers; whole ones stay whole."""
    given = body.get(key, [])
    if not isinstance(given, list) or len(given) > MOST_ITEMS:
        raise UserError(f"{key}: expected a list of at most {MOST_ITEMS} numbers")
    numbers = [number({key: x}, key, -1e9, 1e9) for x in given]
    return tuple(int(x) if x == int(x) else x for x in numbers)


def _held(body: dict[str, Any]) -> list[int]:
    """Return the queries that a page has."""
    held = body.get("holding", [])
    if not isinstance(held, list) or len(held) > MOST_HELD:
        raise UserError(f"holding: expected a list of at most {MOST_HELD} query ids")
    return [whole({"holding": query}, "holding", 1, MAX_ID) for query in held]
