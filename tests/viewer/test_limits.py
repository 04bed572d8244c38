"""What those can do who have no token: connect, and little else, for a while."""

from __future__ import annotations

import io
import logging
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_viewer import RealViewer

from pbrl.viewer.client import ViewerClient
from pbrl.viewer.limits import Limits, SparingHandler
from pbrl.viewer.renderer import open_log

SHORT = Limits(head_s=0.4, body_s=0.4, response_s=0.6, idle_s=0.2, handshake_s=0.4, connections=12, per_address=8)
HEAD = b"POST /api/session HTTP/1.1\r\nHost: x\r\nX-Pbrl: 1\r\nContent-Type: application/json\r\n"
HEAD += b"Content-Length: 500\r\n\r\n"


def connect(server: RealViewer, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5, source_address=(source, 0))


def closed_after(one: socket.socket, drip: bytes = b"") -> float:
    """Seconds until the server ends the connection, while bytes go in one by one."""
    begun = time.monotonic()
    one.settimeout(0.05)
    rest = drip
    while time.monotonic() - begun < 5:
        try:
            if rest:
                one.send(rest[:1])
                rest = rest[1:]
            if one.recv(65536) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b""),
        (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200),
        (HEAD, b""),
        (HEAD, b'{"token": "' + b"y" * 200),
    ],
    ids=["silence", "slow headers", "no body", "slow body"],
)
def test_who_takes_their_time_is_let_go(real: Callable[..., RealViewer], first: bytes, drip: bytes) -> None:
    with connect(real(limits=SHORT)) as one:
        one.sendall(first)
        assert 0.2 < closed_after(one, drip) < 2


def test_a_handshake_that_never_ends_is_let_go(real: Callable[..., RealViewer], tmp_path: Path) -> None:

    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    with connect(real(limits=SHORT, tls=(cert, key))) as one:
        assert closed_after(one) < 2


def test_who_does_not_take_the_answer_is_let_go(real: Callable[..., RealViewer]) -> None:
    server = real(limits=SHORT)
    (server.folder / "clips" / f"{99:032x}.mp4").write_bytes(bytes(64 << 20))
    client = ViewerClient(server.url(), "ann")
    client.enter()
    handlers = client.opener.handlers  # type: ignore[attr-defined]
    cookie = next(f"{c.name}={c.value}" for h in handlers if hasattr(h, "cookiejar") for c in h.cookiejar)
    with connect(server) as one:
        one.sendall(f"GET /clips/{99:032x}.mp4 HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n".encode())
        time.sleep(1.5)
        got = 0
        one.settimeout(5)
        try:
            while data := one.recv(1 << 20):
                got += len(data)
        except ConnectionResetError:
            pass
        assert 0 < got < 64 << 20


def test_one_machine_does_not_take_all_connections(real: Callable[..., RealViewer]) -> None:
    server = real(limits=Limits(connections=12, per_address=8))
    crowd = [connect(server) for _ in range(12)]
    time.sleep(0.3)
    with connect(server, "127.0.0.2") as other:  # who comes from elsewhere still gets in
        other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert other.recv(20).startswith(b"HTTP/1.1 200")
    for one in crowd:
        one.close()
    time.sleep(0.3)
    ViewerClient(server.url(), "ann").enter()


def test_clients_that_leave_are_no_faults(real: Callable[..., RealViewer], caplog: Any) -> None:
    server = real()
    for rest in (b'{"token"', b"", b'{"token": 1}'):
        for _ in range(10):
            with connect(server) as one:
                one.sendall(HEAD + rest)
    for _ in range(10):
        with connect(server) as one:
            one.sendall(b"GET /static/app.js HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.5)
    assert [record for record in caplog.records if record.exc_info] == []
    ViewerClient(server.url(), "ann").enter()


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01" * 20, b"GET\r\n\r\n", b"X" * 40_000, b"\x00" * 100])
def test_garbage_is_answered_and_forgotten(real: Callable[..., RealViewer], garbage: bytes) -> None:
    server = real(limits=SHORT)
    with connect(server) as one:
        one.sendall(garbage)
        assert closed_after(one) < 2
    ViewerClient(server.url(), "ann").enter()


def raised(error: Exception) -> Exception:
    """With a traceback."""
    try:
        raise error
    except ValueError as caught:
        return caught


def test_a_log_of_a_million_faults_is_short() -> None:
    text = io.StringIO()
    logger = logging.Logger("flood")
    logger.addHandler(SparingHandler(text))
    fault = raised(ValueError("x" * 10_000))
    for number in range(20_000):
        logger.error("Exception in ASGI application %d", number, exc_info=fault)
    assert len(text.getvalue()) < 100_000
    assert text.getvalue().count("Traceback") == 5


def test_what_was_left_out_is_counted() -> None:
    text = io.StringIO()
    handler = SparingHandler(text)
    logger = logging.Logger("flood")
    logger.addHandler(handler)
    for _ in range(60):
        logger.warning("Invalid HTTP request received.")
    handler.lines.every_s = 1e-9
    logger.warning("again")
    assert text.getvalue().splitlines()[-1] == "pbrl: again (10 more lines were left out before)"


def test_a_log_that_became_long_moves_aside(tmp_path: Path) -> None:
    log = tmp_path / "viewer.log"
    log.write_bytes(bytes(2 << 20))
    with open_log(log) as file:
        file.write(b"new\n")
    assert (log.read_bytes(), (tmp_path / "viewer.log.old").stat().st_size) == (b"new\n", 2 << 20)
    assert oct(log.stat().st_mode)[-3:] == "600"
