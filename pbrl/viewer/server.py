"""The viewer's HTTP side: one static page, a small JSON API over the desk, and the clips. docs/viewer.md lists it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pbrl.errors import StorageError, UserError, choices
from pbrl.feedback.status import read_learned, read_status
from pbrl.labels.questions import signal
from pbrl.labels.rows import Query
from pbrl.labels.store import LabelStore
from pbrl.viewer.answering import MAX_ID, Answering
from pbrl.viewer.clips import is_plain_file
from pbrl.viewer.fields import json_body, text, whole
from pbrl.viewer.gallery import Gallery
from pbrl.viewer.overview import overview
from pbrl.viewer.people import check_name
from pbrl.viewer.security import Guard, refusal
from pbrl.viewer.settings import ViewerConfig
from pbrl.viewer.site import NOBODY, Site

if TYPE_CHECKING:
    from pbrl.watching.routes import Watching

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
FILES = {file.name: file for file in STATIC.iterdir() if file.suffix in TYPES}
WEEK = 7 * 24 * 3600


class Viewer:
    """All routes but those about a person's questions and answers, which are in `Answering`."""

    def __init__(self, site: Site) -> None:
        self.site, self.config, self.gallery = site, site.config, site.gallery
        self.watching: Watching | None = None
        if site.config.watch is not None:
            from pbrl.watching.routes import Watching

            self.watching = Watching(site, site.config.watch)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        if self.watching is not None:
            self.watching.close()
        self.site.keeper.close()

    async def page(self, request: Request) -> Response:
        name = "index.html" if self.watching is None else "watch.html"
        return FileResponse(STATIC / name, headers={"cache-control": "no-cache"})

    async def static(self, request: Request) -> Response:
        file = FILES.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404, "there is no such file")
        return FileResponse(file, media_type=TYPES[file.suffix], headers={"cache-control": "no-cache"})

    async def clip(self, request: Request) -> Response:
        name = request.path_params["name"]
        file = self.gallery.path(name) if re.fullmatch(r"[0-9a-f]{32}", name) else None
        if file is None or not is_plain_file(file):
            raise HTTPException(404, "there is no such clip, or not yet")
        return FileResponse(
            file, media_type="video/mp4", headers={"cache-control": f"private, max-age={WEEK}, immutable"}
        )

    async def session(self, request: Request) -> Response:
        """Trade the token of an address for a cookie; who has one already may come without a token."""
        body = await json_body(request)
        given, wanted = body.get("token"), body.get("annotator")
        if given is None:
            seats = request.state.seats
            seat = next((s for s in seats if s.person is not None and s.person == wanted), next(iter(seats), None))
            cookie: tuple[str, str] | None = None
        else:
            entered = self.site.people.enter(given, request.cookies)
            seat, cookie = (None, None) if entered is None else (entered[0], entered[1:])
        if seat is None:
            return refusal(401, "the token is missing or wrong: open the address that pbrl printed")
        response = Response(status_code=204) if seat.person is None else JSONResponse({"person": seat.person})
        if cookie is not None:
            encrypted = self.config.encrypted
            response.set_cookie(*cookie, httponly=True, samesite="strict", secure=encrypted, path="/")
        return response

    async def status(self, request: Request) -> Response:
        given = request.query_params.get("annotator", "")
        name, seat = check_name(given), self.site.seat(request, given)
        if seat is None:
            raise HTTPException(403, f"this browser has not opened the link of {name}: open it once more")
        owner = bool(self.config.links) and seat.person is None
        name = seat.person or name
        elsewhere = name != NOBODY and not owner and self.site.people.seen(name, seat.browser)
        person = {"person": seat.person, "owner": owner, "elsewhere": elsewhere}
        return await self.site.told(lambda _: overview(self.config, self.site.desk, self.gallery, name) | person)

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
            clips = [clip._asdict() for clip in self.gallery.clips(query, camera)]
            return {"ready": ready, "items": clips, "left": clips[0], "right": clips[-1]}

        return await self.site.changed(body, choose)

    async def go_on(self, request: Request) -> Response:
        def go_on(store: LabelStore) -> None:
            if read_status(self.config.run_dir)["state"] != "waiting":
                raise UserError("training is not waiting, so there is nothing to go on without")
            with store.transaction():
                signal(store.db, "continue")

        return await self.site.changed(await json_body(request), go_on)

    async def learned(self, request: Request) -> Response:
        """Return clips the reward likes most and least. The scores are the model's own; no true reward is in them."""

        def find(store: LabelStore) -> dict[str, Any] | None:
            found = read_learned(self.config.run_dir) if "learned" in self.config.show else None
            if found is not None:
                known = {q.id: q for q in store.queries(kind=None, criterion=None)}
                for end in ("best", "worst"):
                    found[end] = [self._ranked(known[c["query"]], c) for c in found[end] if c["query"] in known]
            return found

        return await self.site.told(find)

    async def not_now(self, _: Request, error: Exception) -> Response:
        """Report a fault of the disk or of the label store: what was asked is right, and may be asked again."""
        return refusal(503, self.site.fault(error))

    def _ranked(self, query: Query, ranked: dict[str, Any]) -> dict[str, Any]:
        place = query.form.type.places(query.form.items).index(ranked["side"])
        clip = self.gallery.clips(query)[place]
        if not is_plain_file(self.gallery.path(clip.clip)):
            self.gallery.request(query.id, self.gallery.style.camera)
        return {**clip._asdict(), "score": ranked["score"]}


def make_app(config: ViewerConfig, gallery: Gallery) -> Any:
    """Make the ASGI application, guarded."""
    site = Site(config, gallery)
    v, answering = Viewer(site), Answering(site)
    routes: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/", v.page, "GET"),
        ("/static/{name}", v.static, "GET"),
        ("/clips/{name}.mp4", v.clip, "GET"),
        ("/api/session", v.session, "POST"),
        ("/api/status", v.status, "GET"),
        ("/api/next", answering.next, "POST"),
        ("/api/answer", answering.answer, "POST"),
        ("/api/release", answering.release, "POST"),
        ("/api/undo", answering.undo, "POST"),
        ("/api/history", answering.history, "GET"),
        ("/api/study", answering.study, "POST"),
        ("/api/camera", v.camera, "POST"),
        ("/api/continue", v.go_on, "POST"),
        ("/api/learned", v.learned, "GET"),
    ]
    if (w := v.watching) is not None:
        routes += [("/api/watch", w.about, "GET")]
        routes += [(f"/api/watch/{name}", getattr(w, name), "POST") for name in ("begin", "step", "end")]
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
    return Guard(app, site.people, config.hosts)


async def _malformed(_: Request, error: Exception) -> Response:
    return refusal(400, str(error))


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, error.detail)
