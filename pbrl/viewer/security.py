"""The guard against other pages of the browser: the address, a token, the origin of changes, and size limits.

A server on 127.0.0.1 can be reached by every page that the browser shows, and by DNS rebinding even as if it were its
own. So each request must name this server as its host; everything but the empty page needs the cookie that the token
of the printed address is traded for; what changes anything must come from this page, as JSON.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pbrl.viewer.people import People

MAX_BODY = 64 * 1024  # bytes; an answer is below 1 KiB
TOO_LARGE = f"the body is larger than {MAX_BODY} bytes"
PUBLIC = ("/static/",)
PAGE, SESSION = "/", "/api/session"
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-pbrl": "1",  # by which the page knows that it is us who answer
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware around the whole application.

    hosts: the `Host` headers that mean this server; None accepts all (other machines are let in, with the token).
    Behind it, `request.state.seats` are the seats of who asks, at least one except on public paths.
    """

    def __init__(self, app: ASGIApp, people: People, hosts: frozenset[str] | None) -> None:
        self.app, self.people, self.hosts = app, people, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, _with_headers(send))
            return
        with suppress(ClientDisconnect):  # who leaves in the middle gets no answer, and is no fault
            await self.app(scope, _limited(receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if self.hosts is not None and headers.get("host", "").lower() not in self.hosts:
            return refusal(400, "unknown host: open the address that pbrl printed")
        changes = scope["method"] not in ("GET", "HEAD")
        if changes and (refused := _cross_site(headers)) is not None:
            return refused
        public = path in (PAGE, SESSION) or path.startswith(PUBLIC)
        seats = self.people.seats(HTTPConnection(scope).cookies)
        if not public and not seats:
            return refusal(401, "no session: open the address that pbrl printed, with its token")
        scope.setdefault("state", {})["seats"] = seats
        if changes and _media_type(headers) != "application/json":
            return refusal(415, "expected Content-Type: application/json")
        if (length := headers.get("content-length")) is not None and (not length.isdigit() or int(length) > MAX_BODY):
            return refusal(413, TOO_LARGE)
        return None


def refusal(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)


def _cross_site(headers: Headers) -> Response | None:
    """Refuse a request of another page: browsers say where one comes from, and none can set our own header."""
    site, origin, host = headers.get("sec-fetch-site"), headers.get("origin"), headers.get("host", "")
    if site not in (None, "same-origin") or origin not in (None, f"http://{host}", f"https://{host}"):
        return refusal(403, "this request comes from another site")
    if headers.get("x-pbrl") != "1":
        return refusal(403, "the header X-Pbrl: 1 is missing")
    return None


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").split(";")[0].strip().lower()


def _limited(receive: Receive) -> Receive:
    """Count what comes without a Content-Length too."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return limited


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
