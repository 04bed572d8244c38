"""The common part of all routes of the viewer: the store, the desk over it, the clips, the people, and their use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pbrl.labels.questions import run_id
from pbrl.labels.rows import PAIRS
from pbrl.labels.store import LabelStore
from pbrl.viewer.cards import Card
from pbrl.viewer.desk import Desk
from pbrl.viewer.gallery import Gallery
from pbrl.viewer.keeper import Keeper
from pbrl.viewer.overview import asks_more
from pbrl.viewer.people import People, Seat, check_name, name_key
from pbrl.viewer.settings import ViewerConfig
from pbrl.viewer.wording import asked

NOBODY = "-"  # the name of a page whose person has not said theirs yet


class Site:
    """Uses the store in one go each time, so that a fault of it leaves nothing half done."""

    def __init__(self, config: ViewerConfig, gallery: Gallery) -> None:
        self.config, self.gallery = config, gallery
        self.people = People(config.token, config.cookie, config.links)
        self.keeper = Keeper(config.run_dir, self._take_over)
        self.desk: Desk  # of the store that is open

    def _take_over(self, store: LabelStore) -> None:
        self.gallery.open(store)
        about: Any = {"present": lambda: self.people.present}
        if self.config.study is None:
            self.desk = Desk(store, self.config.desk, self.gallery.ready, **about)
            return
        from pbrl.study.desk import StudyDesk

        about["goes_on"] = lambda: asks_more(self.config)
        self.desk = StudyDesk(self.config.study, store, self.config.desk, self.gallery.ready, **about)

    async def told(self, find: Callable[[LabelStore], Any]) -> Response:
        return JSONResponse(await self.keeper.use(find))

    async def changed(self, body: dict[str, Any], act: Callable[[LabelStore], Any]) -> Response:
        """Do what is meant for this run: an answer to a question of another one must not land here."""

        def for_this_run(store: LabelStore) -> Any:
            if body.get("run") != run_id(store.db):
                raise HTTPException(409, "this address serves another run now: open the one that pbrl printed")
            return act(store)

        done = await self.keeper.use(for_this_run)
        return Response(status_code=204) if done is None else JSONResponse(done)

    def who(self, request: Request, given: Any) -> str:
        """Return whose request it is: where people have links, the link says it; else the name that was given."""
        name, seat = check_name(given), self.seat(request, given)
        if not self.config.links:
            return name
        if seat is None:
            raise HTTPException(403, f"this browser has not opened the link of {name}: open it once more")
        if seat.person is None:
            raise HTTPException(403, "this address is for looking; each person answers through a link of their own")
        return seat.person

    def seat(self, request: Request, given: str) -> Seat | None:
        """Return the seat of the person of this name; where none was given, the first one that the browser has."""
        seats: list[Seat] = request.state.seats
        if not self.config.links or given == NOBODY:
            return seats[0]
        mine = [seat for seat in seats if seat.person is not None and name_key(seat.person) == name_key(given)]
        owner = [seat for seat in seats if seat.person is None and len(seats) == 1]
        return next(iter(mine + owner), None)

    def pair(self, card: Card) -> dict[str, Any]:
        """Show a card in the order of the screen: `left` and `right` of a pair, `items` of other kinds of questions."""
        clips, form = [clip._asdict() for clip in self.gallery.clips(card.query)], card.query.form
        common = {"query": card.query.id, "repeat": card.repeat, "swapped": card.swapped, "fps": self.gallery.fps}
        common |= {"kind": form.kind, "question": card.words or asked(form, self.config)}
        common |= {"practice": True} if card.practice else {}
        if form.kind in PAIRS:
            left, right = reversed(clips) if card.swapped else clips
            return common | {"left": left, "right": right}
        about = json.loads(form.details) | {"places": card.places, "every": self.gallery.every}
        return common | about | {"items": [clips[item] for item in card.places]}

    def fault(self, error: Exception) -> str:
        """Return what is wrong with the disk or the store, without where they are: that is nobody's business."""
        return self.keeper.problem(error).replace(f"{self.config.run_dir}{os.sep}", "")
