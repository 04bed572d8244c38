"""The server itself, with limits for who has shown no token yet: time, connections, and what they make it log."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD = 16 * 1024  # bytes of a request's first line and headers
MANY_FILES = 4096  # descriptors to ask for: a connection takes one


@dataclass(frozen=True)
class Limits:
    """Seconds and numbers. A page of ours sends a request within milliseconds and has six connections."""

    head_s: float = 10.0  # until the headers of a request are complete
    body_s: float = 10.0  # and its body after them
    response_s: float = 60.0  # until all of the answer has been taken
    idle_s: float = 20.0  # between two requests of a connection
    handshake_s: float = 10.0  # of TLS
    connections: int = 512
    per_address: int = 128  # several people may come through one tunnel


def make_server(app: Any, cert: Path | None = None, key: Path | None = None, limits: Limits | None = None) -> Server:
    """Make a uvicorn server that is not started yet."""
    limits = limits or Limits()
    config = uvicorn.Config(
        app,
        http=limited_protocol(limits),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=max(1, round(limits.idle_s)),
        h11_max_incomplete_event_size=MAX_HEAD,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    server = Server(config)
    server.handshake_s = limits.handshake_s
    return server


class Server(uvicorn.Server):
    handshake_s = 60.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop: Any = asyncio.get_running_loop()
        if self.config.is_ssl:  # uvicorn has no word for it
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=self.handshake_s)
        await super().startup(sockets)


def limited_protocol(limits: Limits) -> type[H11Protocol]:
    """Make the protocol of one server's connections, which know of each other."""
    open_now: Counter[str] = Counter()

    class Limited(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _phase: tuple[str, int] | None = None
        _address = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            open_now[self._address] += 1
            if open_now[self._address] > limits.per_address or open_now.total() > limits.connections:
                transport.abort()
            else:
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            open_now[self._address] -= 1
            if open_now[self._address] <= 0:
                del open_now[self._address]
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def _watch(self) -> None:
            """Set the time for what comes next, once: bytes that drip in do not lengthen it."""
            cycle = self.cycle
            first = cycle is None
            if cycle is None or cycle.response_complete:
                phase, seconds = "head", limits.head_s if first else limits.idle_s + limits.head_s
            else:
                phase, seconds = ("body", limits.body_s) if cycle.more_body else ("response", limits.response_s)
            if (phase, id(cycle)) == self._phase or self.transport.is_closing():
                return
            self._phase = phase, id(cycle)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self.transport.abort)

    return Limited


def ask_for_descriptors() -> None:
    """Ask for as many as the system lets this process have, up to enough for all connections."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


class Bucket:
    """Lets `burst` things through at once, and one more every `every_s`."""

    def __init__(self, burst: int, every_s: float) -> None:
        self.burst, self.every_s = burst, every_s
        self._full, self._at = float(burst), time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._full = min(self.burst, self._full + (now - self._at) / self.every_s)
        self._at = now
        if self._full < 1:
            return False
        self._full -= 1
        return True


class SparingHandler(logging.StreamHandler):  # type: ignore[type-arg]  # takes one from Python 3.11 on
    """Writes few lines, whatever is sent to the server: 3,000 a day at most, a traceback only now and then."""

    def __init__(self, stream: Any = None) -> None:
        super().__init__(stream or sys.stderr)
        self.lines, self.traces, self.left_out = Bucket(50, 30.0), Bucket(5, 600.0), 0

    def emit(self, record: logging.LogRecord) -> None:
        if not self.lines.take():
            self.left_out += 1
            return
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = f"pbrl: {record.getMessage().strip()}"[:500]
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and self.traces.take():
            trace = "".join(traceback.format_exception(error)).strip().splitlines()
            text = "\n".join([text, *(line[:300] for line in trace[:1] + trace[1:][-40:])])
        elif error is not None:
            text += f": {type(error).__name__}: {error}"[:500]
        if self.left_out:
            text += f" ({self.left_out} more lines were left out before)"
            self.left_out = 0
        return text


def log_sparingly() -> None:
    """Cut what uvicorn and asyncio have to say down to few lines on standard error from here on."""
    root = logging.getLogger()
    root.handlers = [SparingHandler()]
    root.setLevel(logging.WARNING)
