"""The viewer's HTTP side: one static page, a small JSON API over the desk, and the clips. docs/viewer.md lists it."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pbrl.errors import StorageError, UserError, choices
from pbrl.feedback.status import read_learned, read_status
from pbrl.labels.questions import run_id, signal
from pbrl.labels.rows import Query, StandingAnswer
from pbrl.labels.store import LabelStore
from pbrl.labels.views import View
from pbrl.viewer.desk import Card, Desk, Given, in_segment_order
from pbrl.viewer.fields import flag, json_body, number, person, text, whole
from pbrl.viewer.gallery import Gallery
from pbrl.viewer.keeper import Keeper
from pbrl.viewer.overview import overview
from pbrl.viewer.security import Guard, refusal, same
from pbrl.viewer.settings import ViewerConfig

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
FILES = {file.name: file for file in STATIC.iterdir() if file.suffix in TYPES}
MAX_ID = 2**53  # larger numbers are not whole in JavaScript
WEEK = 7 * 24 * 3600


class Viewer:
    """The routes. Each works on the store in one go, so that a fault of it leaves nothing half done."""

    def __init__(self, config: ViewerConfig, gallery: Gallery) -> None:
        self.config, self.gallery = config, gallery
        self.keeper = Keeper(config.run_dir, self._opened)
        self.desk: Desk  # of the store that is open

    def _opened(self, store: LabelStore) -> None:
        self.gallery.open(store)
        self.desk = Desk(store, self.config.desk, self.gallery.ready)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self.keeper.close()

    async def page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def static(self, request: Request) -> Response:
        file = FILES.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404, "there is no such file")
        return FileResponse(file, media_type=TYPES[file.suffix], headers={"cache-control": "no-cache"})

    async def clip(self, request: Request) -> Response:
        name = request.path_params["name"]
        file = self.gallery.path(name) if re.fullmatch(r"[0-9a-f]{32}", name) else None
        if file is None or not file.is_file():
            raise HTTPException(404, "there is no such clip, or not yet")
        return FileResponse(
            file, media_type="video/mp4", headers={"cache-control": f"private, max-age={WEEK}, immutable"}
        )

    async def session(self, request: Request) -> Response:
        body = await json_body(request)
        given = body.get("token")
        known = request.cookies.get(self.config.cookie) if given is None else given
        if not same(known, self.config.token):
            return refusal(401, "the token is missing or wrong: open the address that pbrl printed")
        response = Response(status_code=204)
        cookie: dict[str, Any] = {"httponly": True, "samesite": "strict", "secure": self.config.encrypted, "path": "/"}
        response.set_cookie(self.config.cookie, self.config.token, **cookie)
        return response

    async def status(self, request: Request) -> Response:
        annotator = person(request.query_params.get("annotator", ""))
        return await self._told(lambda _: overview(self.config, self.desk, self.gallery, annotator))

    async def next(self, request: Request) -> Response:
        body = await json_body(request)
        annotator, n = person(body.get("annotator")), whole(body, "n", 0, 20)
        holding = body.get("holding", [])
        if not isinstance(holding, list) or len(holding) > 100:
            raise UserError("holding: expected a list of at most 100 query ids")
        held = [whole({"holding": q}, "holding", 1, MAX_ID) for q in holding]

        def deal(_: LabelStore) -> dict[str, Any]:
            cards, gone = self.desk.next(annotator, n, held)
            return {"pairs": [self._pair(card) for card in cards], "gone": gone}

        return await self._changed(body, deal)

    async def answer(self, request: Request) -> Response:
        body = await json_body(request)
        given = Given(
            id=text(body, "id", 64),
            query=whole(body, "query", 1, MAX_ID),
            annotator=person(body.get("annotator")),
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
        )

        def take(store: LabelStore) -> dict[str, Any]:
            self.desk.answer(given)
            return {"mine": self.desk.counts(given.annotator), "labels": store.counts()["answers"]}

        return await self._changed(body, take)

    async def undo(self, request: Request) -> Response:
        body = await json_body(request)
        client_id, annotator = text(body, "id", 64), person(body.get("annotator"))

        def undo(_: LabelStore) -> dict[str, Any]:
            card = self.desk.undo(client_id, annotator)
            return {"pair": None if card is None else self._pair(card)}

        return await self._changed(body, undo)

    async def history(self, request: Request) -> Response:
        annotator = person(request.query_params.get("annotator", ""))
        n = request.query_params.get("n", "50")
        if not re.fullmatch("[0-9]{1,4}", n) or not 1 <= int(n) <= 1000:
            raise UserError(f"n={n[:20]}: expected a whole number from 1 to 1000")

        def find(store: LabelStore) -> dict[str, Any]:
            return {"answers": [self._told_again(store, *found) for found in self.desk.history(annotator, int(n))]}

        return await self._told(find)

    async def camera(self, request: Request) -> Response:
        body = await json_body(request)
        number, camera = whole(body, "query", 1, MAX_ID), text(body, "camera", 100)

        def choose(store: LabelStore) -> dict[str, Any]:
            (query,) = store.queries([number])
            if camera not in self.gallery.cameras:
                raise UserError(f"camera={camera!r}: {choices(camera, self.gallery.cameras)}")
            ready = self.gallery.ready(query, camera)
            if not ready:
                self.gallery.request(query.id, camera)
            left, right = self.gallery.clips(query, camera)
            return {"ready": ready, "left": left._asdict(), "right": right._asdict()}

        return await self._changed(body, choose)

    async def go_on(self, request: Request) -> Response:
        def go_on(store: LabelStore) -> None:
            if read_status(self.config.run_dir)["state"] != "waiting":
                raise UserError("training is not waiting, so there is nothing to go on without")
            with store.transaction():
                signal(store.db, "continue")

        return await self._changed(await json_body(request), go_on)

    async def learned(self, request: Request) -> Response:
        """Clips the reward likes most and least. Its scores are the model's own; no true reward is in them."""

        def find(store: LabelStore) -> dict[str, Any] | None:
            found = read_learned(self.config.run_dir)
            if found is not None:
                known = {q.id: q for q in store.queries()}
                for end in ("best", "worst"):
                    found[end] = [self._ranked(known[c["query"]], c) for c in found[end] if c["query"] in known]
            return found

        return await self._told(find)

    async def not_now(self, _: Request, error: Exception) -> Response:
        """A fault of the disk or of the label store: what was asked is right, and may be asked again."""
        problem = self.keeper.problem(error).replace(f"{self.config.run_dir}{os.sep}", "")  # where it is, is nobody's
        return refusal(503, problem)

    async def _told(self, find: Callable[[LabelStore], Any]) -> Response:
        return JSONResponse(await self.keeper.use(find))

    async def _changed(self, body: dict[str, Any], act: Callable[[LabelStore], Any]) -> Response:
        """Does what is meant for this run: an answer to a question of another one must not land here."""

        def for_this_run(store: LabelStore) -> Any:
            if body.get("run") != run_id(store.db):
                raise HTTPException(409, "this address serves another run now: open the one that pbrl printed")
            return act(store)

        done = await self.keeper.use(for_this_run)
        return Response(status_code=204) if done is None else JSONResponse(done)

    def _told_again(self, store: LabelStore, answer: StandingAnswer, view: View, client_id: str) -> dict[str, Any]:
        """An answer, and its pair as it was shown."""
        (query,) = store.queries([answer.query])
        return {
            "id": client_id,
            "query": answer.query,
            "choice": in_segment_order(view.choice, view.swapped),
            "strength": view.strength,
            "answered_at": answer.created_at,
            "pair": self._pair(Card(query, view.swapped, None)),
        }

    def _ranked(self, query: Query, ranked: dict[str, Any]) -> dict[str, Any]:
        clip = self.gallery.clips(query)[ranked["side"] == "right"]
        if not self.gallery.path(clip.clip).is_file():
            self.gallery.request(query.id, "default")
        return {**clip._asdict(), "score": ranked["score"]}

    def _pair(self, card: Card) -> dict[str, Any]:
        """In the order of the screen."""
        left, right = (clip._asdict() for clip in self.gallery.clips(card.query))
        if card.swapped:
            left, right = right, left
        common = {"query": card.query.id, "repeat": card.repeat, "swapped": card.swapped, "fps": self.gallery.fps}
        return common | {"left": left, "right": right}


def make_app(config: ViewerConfig, gallery: Gallery) -> Any:
    """The ASGI application, guarded."""
    v = Viewer(config, gallery)
    routes: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/", v.page, "GET"),
        ("/static/{name}", v.static, "GET"),
        ("/clips/{name}.mp4", v.clip, "GET"),
        ("/api/session", v.session, "POST"),
        ("/api/status", v.status, "GET"),
        ("/api/next", v.next, "POST"),
        ("/api/answer", v.answer, "POST"),
        ("/api/undo", v.undo, "POST"),
        ("/api/history", v.history, "GET"),
        ("/api/camera", v.camera, "POST"),
        ("/api/continue", v.go_on, "POST"),
        ("/api/learned", v.learned, "GET"),
    ]
    app = Starlette(
        routes=[Route(path, handler, methods=[method]) for path, handler, method in routes],
        exception_handlers={
            UserError: _malformed,
            HTTPException: _refused,
            StorageError: v.not_now,
            OSError: v.not_now,
        },
        lifespan=v.lifespan,
    )
    return Guard(app, config.token, config.cookie, config.hosts)


async def _malformed(_: Request, error: Exception) -> Response:
    return refusal(400, str(error))


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, error.detail)
