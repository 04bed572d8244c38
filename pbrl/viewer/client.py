"""Labelling from a program, over HTTP as the page does: an answer is sent until it is acknowledged."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def direct_opener(cert: Path | None = None) -> urllib.request.OpenerDirector:
    """Make an opener with cookies and without proxies. cert: of a server that is trusted under whatever name it has."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if cert is not None:
        context = ssl.create_default_context(cafile=str(cert))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # this very certificate is trusted, whoever signed it
        context.check_hostname = False
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), *handlers)


class ViewerClient:
    """Labels over HTTP. What the server refuses is an `HTTPError`, an OSError, that says its reason.

    url: the address that pbrl prints, with its token; name: of the annotator; cert: for https.
    """

    def __init__(self, url: str, name: str, cert: Path | None = None) -> None:
        base, self.token = url.split("#token=")
        self.base, self.name = base.rstrip("/"), name
        self.opener = direct_opener(cert)
        self.run: str | None = None  # which run this is, known after `enter`
        self.acknowledged: dict[str, dict[str, Any]] = {}

    def enter(self) -> None:
        """Trade the token for a cookie; again after the viewer was started anew."""
        self.post("/api/session", {"token": self.token})
        self.run = self.status()["run"]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"content-type": "application/json", "x-pbrl": "1"}
        body = {"run": self.run, **body}
        return self._send(urllib.request.Request(self.base + path, json.dumps(body).encode(), headers))

    def get(self, path: str) -> Any:
        return self._send(urllib.request.Request(self.base + path))

    def fetch(self, path: str) -> bytes:
        """Fetch a file, such as a clip."""
        return self._open(urllib.request.Request(self.base + path))

    def status(self) -> dict[str, Any]:
        return self.get(f"/api/status?annotator={urllib.parse.quote(self.name)}")

    def next(self, n: int = 1) -> list[dict[str, Any]]:
        """Fetch at most n pairs, in the order of the screen."""
        return self.post("/api/next", {"annotator": self.name, "n": n, "holding": []})["pairs"]

    def answer(
        self,
        pair: dict[str, Any],
        choice: str,
        patience_s: float = 0.0,
        *,
        value: Sequence[float] = (),
        tags: Sequence[str] = (),
    ) -> str:
        """Send until the server has the answer; return its id. OSError where it has none after patience_s.

        choice: as on the screen; to other kinds of questions than pairs `answer` with its value in places of the
        screen, as [2, 0, 1] of a ranking, or `skip`. tags: why, of those that are offered.
        """
        known = {key: pair[key] for key in ("query", "repeat", "swapped")}
        body = {"id": str(uuid.uuid4()), **known, "annotator": self.name, "choice": choice, "strength": "clear"}
        body |= {"value": list(value), "places": pair.get("places", []), "tags": list(tags)}
        body |= {"shown_at": time.time(), "played_at": None, "response_ms": 900.0, "plays_left": 1, "plays_right": 1}
        until = time.monotonic() + patience_s
        while True:
            try:
                self.post("/api/answer", body)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
        self.acknowledged[body["id"]] = body
        return body["id"]

    def send_saved(self, path: Path) -> int:
        """Send what a page saved as a file after it was refused; return how many answers the server then had."""
        saved = json.loads(path.read_text(encoding="utf-8"))
        for entry in saved:
            self.post(entry["path"], entry["body"])
        return len(saved)

    def _send(self, request: urllib.request.Request) -> Any:
        text = self._open(request)
        return json.loads(text) if text else None

    def _open(self, request: urllib.request.Request) -> bytes:
        try:
            with self.opener.open(request, timeout=10) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            with suppress(OSError, ValueError, KeyError, TypeError):  # a proxy may have answered
                error.msg = json.loads(error.read())["error"]
            raise
        except http.client.HTTPException as error:  # the server died in the middle of its answer
            raise ConnectionError(str(error)) from error
