"""The routes by which a page shows a policy that acts, and what the person says goes back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pbrl.errors import UserError
from pbrl.labels.questions import HUMAN, run_id, signal
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Intervention
from pbrl.viewer.fields import flag, json_body, whole
from pbrl.viewer.site import NOBODY, Site
from pbrl.watching.live import Live, Said

MOST_PEOPLE = 4  # each has a simulator
MOST_KEYS = 2  # numbers of an action that arrow keys can say
SAMPLER = "watched"
EPISODE = "watched episode"  # of the signals, whose numbers are those of episodes


class Watching:
    """Keeps one simulator for each person who watches. make_live: from the number of its first episode.

    No two episodes of a folder have one number, and so one seed: neither those of two people, nor after a restart.
    """

    def __init__(self, site: Site, make_live: Callable[[int], Live]) -> None:
        self.site, self.make_live = site, make_live
        self.lives: dict[str, Live] = {}

    async def about(self, request: Request) -> Response:
        given = request.query_params.get("annotator", NOBODY)
        seat = self.site.seat(request, given)
        person = None if seat is None else seat.person

        def find(store: LabelStore) -> dict[str, Any]:
            return {"run": run_id(store.db), "env": self.site.config.env, "person": person}

        return await self.site.told(find)

    async def begin(self, request: Request) -> Response:
        """Begin a new episode; the one that was not kept is lost."""
        body = await json_body(request)
        name = self.site.who(request, body.get("annotator"))

        def begin(store: LabelStore) -> dict[str, Any]:
            if name not in self.lives and len(self.lives) >= MOST_PEOPLE:
                raise UserError(f"{MOST_PEOPLE} people watch already, each with a simulator; ask one to end")
            if (live := self.lives.get(name)) is None:
                self.lives[name] = live = self.make_live(signal(store.db, EPISODE))
            elif live.step > 0:
                live.begin(signal(store.db, EPISODE))
            return self._told(store, name, live)

        return await self.site.changed(body, begin)

    async def step(self, request: Request) -> Response:
        """Go on to the next picture, unless the page that asks has not seen the last one."""
        body = await json_body(request)
        name, at = self.site.who(request, body.get("annotator")), whole(body, "at", 0, 10**7)
        episode, said = whole(body, "episode", 0, 10**7), _said(body)

        def go_on(store: LabelStore) -> dict[str, Any]:
            live = self._live(name)
            if (live.number, live.step) == (episode, at):
                live.advance(said)
            if live.ended:
                return self._keep(store, name, live)
            return self._told(store, name, live)

        return await self.site.changed(body, go_on)

    async def end(self, request: Request) -> Response:
        """Keep the episode as far as it went, and begin the next one."""
        body = await json_body(request)
        name, episode = self.site.who(request, body.get("annotator")), whole(body, "episode", 0, 10**7)

        def end(store: LabelStore) -> dict[str, Any]:
            live = self._live(name)
            if live.number == episode and live.step > 0:
                return self._keep(store, name, live)
            return self._told(store, name, live)

        return await self.site.changed(body, end)

    def close(self) -> None:
        """Keep what was not kept yet, as the server ends."""
        for name, live in self.lives.items():
            if live.step > 0:
                with LabelStore(self.site.config.run_dir, create=False) as store:
                    store_episode(store, live, name)
            live.close()

    def _keep(self, store: LabelStore, name: str, live: Live) -> dict[str, Any]:
        """Store the episode before the next one begins: where that fails, the same call does it again."""
        number = signal(store.db, EPISODE)  # first: once the episode is stored, nothing may fail
        store_episode(store, live, name)
        kept = {"kept": live.step}
        live.begin(number)
        return self._told(store, name, live) | kept

    def _live(self, name: str) -> Live:
        if (live := self.lives.get(name)) is None:
            raise UserError(f"{name} watches nothing now; begin an episode")
        return live

    def _told(self, store: LabelStore, name: str, live: Live) -> dict[str, Any]:
        return {
            "episode": live.number,
            "step": live.step,
            "horizon": live.horizon,
            "picture": live.picture(),
            "frame_s": 1 / live.fps,
            "expert": live.expert is not None,
            "keys": live.action_size if live.action_size <= MOST_KEYS else 0,
            "episodes": sum(a.annotator == name for a in store.standing_answers(kind=Intervention)),
        }


def store_episode(store: LabelStore, live: Live, annotator: str) -> int:
    """Ask about the episode and answer for this person; return the query."""
    question, answers = live.taken()
    with store.transaction():
        session = store.counts(kind=Intervention)["queries"]
        (query,) = store.ask(session, 0, question, sampler=SAMPLER)
        store.answer([query], answers, annotator, kind=HUMAN, client_id=f"watched-{query}-{time.time_ns()}")
    return query


def _said(body: dict[str, Any]) -> Said:
    push = body.get("push")
    if push is None:
        return Said(flag(body, "over"), flag(body, "wrong"), None)
    able = isinstance(push, list) and 0 < len(push) <= MOST_KEYS
    if not able or not all(isinstance(x, (int, float)) and math.isfinite(x) and abs(x) <= 1 for x in push):
        raise UserError("push: expected one or two numbers from -1 to 1, or null")
    return Said(flag(body, "over"), flag(body, "wrong"), tuple(map(float, push)))
