"""A server with the viewer's API and none of its parts behind it: for looking at the page and for its tests.

    python tests/viewer/fake_server.py [PORT]      # then open the address it prints

Its clips say which frame is on show: the middle of the picture has a grey level of `grey_of(frame)`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).resolve().parents[2] / "pbrl" / "viewer" / "static"
FPS = 20
SIZE = 128
TOKEN = "test-token"
OURS = {"x-pbrl": "1"}  # on every response
RUN = "0123456789abcdef" * 2
CSP = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "frame-ancestors 'none'"
)


def grey_of(frame: int) -> int:
    return 20 + 5 * frame  # up to 40 frames


@functools.cache
def draw_clip(number: int, frames: int) -> bytes:
    """An MP4 of a square that moves, around a field whose grey level is the frame's number."""
    rng = np.random.default_rng(number)
    colour, row = rng.integers(60, 256, 3), int(rng.integers(4, 20))
    video = np.full((frames, SIZE, SIZE, 3), 235, np.uint8)
    for i, picture in enumerate(video):
        picture[32:96, 32:96] = grey_of(i)
        column = (number * 11 + 3 * i) % (SIZE - 20)
        picture[row : row + 10, column : column + 20] = colour
        picture[-row - 14 : -row - 4, SIZE - 20 - column : SIZE - column] = colour
    file = io.BytesIO()
    iio.imwrite(file, video, extension=".mp4", plugin="pyav", codec="libx264", fps=FPS, out_pixel_format="yuv420p")
    return file.getvalue()


class Fake:
    """What the server says; a test sets the attributes. Not thread-safe beyond what the tests need."""

    def __init__(self, clips: int = 10, frames: tuple[int, ...] = (16, 16, 16, 11)) -> None:
        self.clips: dict[str, bytes] = {}
        self.frames: dict[str, int] = {}
        self.names: list[str] = []
        for number in range(clips):
            data = draw_clip(number, frames[number % len(frames)])
            name = hashlib.sha256(data).hexdigest()[:24]
            self.clips[name], self.frames[name] = data, frames[number % len(frames)]
            self.names.append(name)
        self.pairs_left = 1000  # questions that exist; those with clips are `drawn`
        self.drawn: int | None = None
        self.signed_in = True
        self.clip_delay_s = 0.0
        self.gone: set[int] = set()  # questions that others have answered
        self.refuses: tuple[int, str] | None = None  # status and reason for every answer
        self.stranger: int | None = None  # the status of another program that sits on the port
        self.status: dict[str, Any] = {
            "run": RUN, "name": "runs/point_reach/seed_0", "env": "point_reach",
            "instructions": "Prefer the clip in which the point gets to the goal sooner.\nBumping into walls is bad.",
            "question": "Which clip is better?", "mode": "async", "trainer": "training", "env_steps": 12_400,
            "steps": 50_000, "next_questions_at": 15_000, "budget": 100, "spent": 40, "labels": 0,
            "can_continue": False, "waiting_s": None, "timeout_s": None, "return_mean": None,
            "renderer": {"state": "ok", "message": None}, "learned": None, "cameras": ["default", "track"],
            "slight": True, "repeats": 0.05, "hold_s": 0.15, "person": None, "owner": False, "elsewhere": False,
        }  # fmt: skip
        self.answers: dict[str, dict[str, Any]] = {}  # by id, in order
        self.deliveries: list[str] = []  # ids as they arrived, twice if sent twice
        self.undone: list[str] = []
        self.asked: list[tuple[int, list[int]]] = []  # (n, holding) of each call for pairs
        self.continued = 0
        self.released: list[int] = []
        self.learned: dict[str, Any] | None = None

    # what a test looks at

    @property
    def standing(self) -> list[dict[str, Any]]:
        return [a for a in self.answers.values() if a["id"] not in self.undone]

    # the pairs: question q shows clips q and q + 3, sides swapped where q is odd

    def pair(self, query: int) -> dict[str, Any]:
        left, right = (self.names[i % len(self.names)] for i in (query, query + 3))
        if query % 2:
            left, right = right, left
        sides = {s: {"clip": c, "frames": self.frames[c]} for s, c in (("left", left), ("right", right))}
        return {"query": query, "repeat": None, "swapped": bool(query % 2), "fps": FPS, **sides}

    def open(self) -> list[int]:
        answered = {a["query"] for a in self.standing} | self.gone
        return [q for q in range(1, self.pairs_left + 1) if q not in answered]

    def ready(self) -> list[int]:
        questions = self.open()
        return questions if self.drawn is None else questions[: self.drawn]

    def mine(self) -> dict[str, int]:
        choices = [a["choice"] for a in self.standing]
        return {"answers": len(choices), "equal": choices.count("equal"), "skipped": choices.count("skip")}

    def labels(self) -> int:
        return self.status["labels"] + sum(a["choice"] != "skip" for a in self.standing)

    def app(self) -> Starlette:
        routes = [
            Route("/", lambda request: FileResponse(STATIC / "index.html")),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/clips/{name}.mp4", self.get_clip),
            Route("/api/session", self.session, methods=["POST"]),
            Route("/api/status", self.get_status),
            Route("/api/next", self.next, methods=["POST"]),
            Route("/api/answer", self.answer, methods=["POST"]),
            Route("/api/release", self.release, methods=["POST"]),
            Route("/api/undo", self.undo, methods=["POST"]),
            Route("/api/history", self.history),
            Route("/api/camera", self.camera, methods=["POST"]),
            Route("/api/continue", self.go_on, methods=["POST"]),
            Route("/api/learned", lambda request: JSONResponse(self.learned)),
        ]
        handlers: dict[Any, Any] = {HTTPException: lambda _, e: JSONResponse({"error": e.detail}, e.status_code)}
        return Starlette(routes=routes, middleware=[Middleware(Guard, fake=self)], exception_handlers=handlers)

    async def body(self, request: Request) -> dict[str, Any]:
        """What was sent, if it is for this run."""
        body = await request.json()
        if body.get("run") != self.status["run"]:
            raise HTTPException(409, "another run is served here")
        return body

    async def session(self, request: Request) -> Response:
        token = (await request.json())["token"]
        if not self.signed_in or (token != TOKEN and request.cookies.get("pbrl") != TOKEN):
            return JSONResponse({"error": "no session"}, 401)
        response = Response(status_code=204)
        response.set_cookie("pbrl", TOKEN, httponly=True, samesite="strict")
        return response

    def get_status(self, request: Request) -> Response:
        budget, spent = self.status["budget"], self.status["spent"]
        counts = {"labels": self.labels(), "open": len(self.open()), "ready": len(self.ready()), "mine": self.mine()}
        counts |= {"done": budget is not None and (spent or 0) >= budget}
        return JSONResponse(self.status | counts)

    async def next(self, request: Request) -> Response:
        body = await self.body(request)
        n, holding = body["n"], body["holding"]
        if not 0 <= n <= 20 or not body["annotator"]:
            raise HTTPException(400, f"n: {n}, annotator: {body['annotator']}")
        self.asked.append((n, holding))
        free = [q for q in self.ready() if q not in holding]
        return JSONResponse({"pairs": [self.pair(q) for q in free[:n]], "gone": [q for q in holding if q in self.gone]})

    async def answer(self, request: Request) -> Response:
        body = await self.body(request)
        self.deliveries.append(body["id"])
        if self.refuses is not None:
            raise HTTPException(*self.refuses)
        self.answers.setdefault(body["id"], body | {"answered_at": time.time()})
        return JSONResponse({"mine": self.mine(), "labels": self.labels()})

    async def release(self, request: Request) -> Response:
        self.released += (await self.body(request))["holding"]
        return Response(status_code=204)

    async def undo(self, request: Request) -> Response:
        body = await self.body(request)
        answer = self.answers.get(body["id"])
        if answer is None or answer["annotator"] != body["annotator"]:
            return JSONResponse({"pair": None})
        if body["id"] not in self.undone:
            self.undone.append(body["id"])
        return JSONResponse({"pair": self.pair(answer["query"])})

    def history(self, request: Request) -> Response:
        keys = ("id", "query", "choice", "strength", "answered_at")
        rows = [{k: a[k] for k in keys} | {"pair": self.pair(a["query"])} for a in reversed(self.standing)]
        return JSONResponse({"answers": rows[: int(request.query_params["n"])]})

    async def camera(self, request: Request) -> Response:
        pair = self.pair((await self.body(request))["query"])
        clips = [self.names[(self.names.index(pair[s]["clip"]) + 5) % len(self.names)] for s in ("left", "right")]
        left, right = reversed(clips) if pair["swapped"] else clips
        sides = {s: {"clip": c, "frames": self.frames[c]} for s, c in (("left", left), ("right", right))}
        return JSONResponse({"ready": True, **sides})

    async def go_on(self, request: Request) -> Response:
        await self.body(request)
        self.continued += 1
        self.status["trainer"], self.status["can_continue"] = "training", False
        return Response(status_code=204)

    def get_clip(self, request: Request) -> Response:
        time.sleep(self.clip_delay_s)  # in a thread of Starlette's
        data = self.clips.get(request.path_params["name"])
        if data is None:
            return JSONResponse({"error": "no such clip"}, 404)
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(data, media_type="video/mp4", headers=headers)


class Guard:
    """The real server's headers, and its refusal of what has no session."""

    def __init__(self, app: Any, fake: Fake) -> None:
        self.app, self.fake = app, fake

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if self.fake.stranger is not None:
            return await Response("<h1>something else</h1>", self.fake.stranger)(scope, receive, send)
        request = Request(scope)
        is_open = request.url.path == "/" or request.url.path.startswith("/static/")
        is_open = is_open or request.url.path == "/api/session"
        if not is_open and (not self.fake.signed_in or request.cookies.get("pbrl") != TOKEN):
            return await JSONResponse({"error": "no session"}, 401, OURS)(scope, receive, send)
        if request.method == "POST" and request.headers.get("x-pbrl") != "1":
            return await JSONResponse({"error": "X-Pbrl is missing"}, 403, OURS)(scope, receive, send)

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (b"content-security-policy", CSP.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    *((name.encode(), value.encode()) for name, value in OURS.items()),
                ]
            await send(message)

        return await self.app(scope, receive, with_headers)


class Running:
    """A Fake behind a port; `stop` and `start` make a real outage of it."""

    def __init__(self, fake: Fake, port: int = 0) -> None:
        self.fake = fake
        if port == 0:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}/#token={TOKEN}"
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(self.fake.app(), host="127.0.0.1", port=self.port, log_level="warning", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + 30
        while not self.server.started:
            if not self.thread.is_alive() or time.monotonic() > end:
                raise RuntimeError(f"no server on port {self.port}")
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(5)


if __name__ == "__main__":
    running = Running(Fake(frames=(40, 40, 40, 25)), int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(running.url, flush=True)
    running.thread.join()
