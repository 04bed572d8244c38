"""One viewer process: the server, the renderer beside it, and the address to open."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pbrl.config import load_config
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.labels.store import FILE_NAME, LabelStore
from pbrl.reading import find_object
from pbrl.training.interrupt import StopOnInterrupt, exit_code
from pbrl.viewer.addresses import OPEN_WARNING, reachable_names, read_certificate
from pbrl.viewer.client import direct_opener
from pbrl.viewer.settings import LOOPBACK, clip_style, desk_settings, instructions, viewer_section

ADDRESS_FILE = "viewer.json"
START_S = 30.0


def serve(run_dir: Path, overrides: dict[str, str]) -> int:
    """Runs until Ctrl-C. Prints the addresses."""
    config = load_config(run_dir / "config.yaml")
    section = viewer_section(config, overrides)
    known = _known(run_dir)
    if _answers(known):
        if overrides.keys() - {"open_browser"}:
            raise UserError(f"a viewer of {run_dir} is open at {known['url']}; end it to open one with other settings")
        _say(known, " (open already)")
        return 0
    _check_store(run_dir)
    listener = _listen(run_dir, section)
    port = listener.getsockname()[1]
    token = known.get("token") or secrets.token_urlsafe(24)
    certificate = read_certificate(section.tls)
    scheme = "http" if certificate is None else "https"
    urls = [f"{scheme}://{name}:{port}/#token={token}" for name in reachable_names(section.host, port)]

    import uvicorn

    from pbrl.viewer.gallery import Gallery
    from pbrl.viewer.renderer import Renderer
    from pbrl.viewer.server import make_app
    from pbrl.viewer.settings import ViewerConfig

    viewer = ViewerConfig(
        run_dir=run_dir,
        env=config.env.name,
        mode=config.teacher.mode if config.teacher.get("name") == "human" else "labels only",
        instructions=instructions(section),
        question=section.question,
        desk=desk_settings(config, section),
        hold_s=section.hold_s,
        token=token,
        port=port,
        hosts=_hosts(section, port),
        encrypted=certificate is not None,
    )
    style = clip_style(section)
    desk = viewer.desk
    renderer = Renderer(run_dir, style, ahead=section.ahead, overlap=desk.overlap, scripts_count=desk.scripts_count)
    with Gallery(run_dir, config, style, renderer, section.ahead) as gallery:
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(viewer, gallery),
                log_level="warning",
                access_log=False,
                ws="none",
                lifespan="on",
                ssl_certfile=certificate and certificate.cert,
                ssl_keyfile=certificate and certificate.key,
            )
        )
        known = {"token": token, "port": port, "url": urls[0], "urls": urls, "pid": os.getpid()}
        known |= {"cert": str(certificate.cert) if certificate else None, "remote": section.host not in LOOPBACK}
        _remember(run_dir, known)
        _say(known)
        if section.open_browser and _has_browser():
            webbrowser.open(_redirect(run_dir, urls[-1]))
        # uvicorn hears SIGINT and SIGTERM itself, and passes them on when it has ended.
        end = partial(setattr, server, "should_exit", True)
        with (
            contextlib.suppress(KeyboardInterrupt),
            StopOnInterrupt(end, "the viewer ends", lambda: "all answers are stored") as stop,
        ):
            server.run(sockets=[listener])
    return exit_code() if stop.stopping and exit_code() != 128 + signal.SIGINT else 0  # Ctrl-C is how it is ended


def start_viewer(run_dir: Path) -> subprocess.Popen[bytes] | None:
    """A viewer beside the training; None if one is open already. Says the addresses."""
    known = _known(run_dir)
    if _answers(known):
        _say(known)
        return None
    before = time.time()
    log = open(run_dir / "viewer.log", "ab", opener=_private)  # noqa: SIM115  the address with its token is in it
    command = [sys.executable, "-m", "pbrl", "label", f"run={run_dir}"]
    viewer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    while time.time() - before < START_S and viewer.poll() is None:
        known = _known(run_dir)
        if known.get("pid") == viewer.pid:
            _say(known)
            return viewer
        time.sleep(0.05)
    viewer.terminate()
    lines = (run_dir / "viewer.log").read_text(errors="replace").strip().splitlines()
    raise UserError(f"the viewer did not start: {lines[-1] if lines else 'no message'}; see {run_dir / 'viewer.log'}")


def stop_viewer(viewer: subprocess.Popen[bytes]) -> None:
    viewer.terminate()
    try:
        viewer.wait(10)
    except subprocess.TimeoutExpired:
        viewer.kill()


def _check_store(run_dir: Path) -> None:
    """Made if the training has not come to it yet."""
    if (run_dir / "summary.json").exists() and not (run_dir / FILE_NAME).exists():
        raise UserError(f"{run_dir} has no questions: it ended without asking any")
    LabelStore(run_dir).close()


def _say(known: dict[str, Any], more: str = "") -> None:
    """The addresses, each on a line, and what to know about them."""
    first, *others = known.get("urls", [known["url"]])
    print(f"label at: {first}{more}", flush=True)
    for url in others:
        print(f"      or: {url}{' (on this machine)' if '://127.0.0.1:' in url else ''}", flush=True)
    if known.get("remote") and not known.get("cert"):
        print(OPEN_WARNING, flush=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _redirect(run_dir: Path, url: str) -> str:
    """A page of this user alone that leads there: the address of a browser's command line can be seen by others."""
    file = run_dir.resolve() / "viewer.html"
    file.unlink(missing_ok=True)
    with open(file, "w", opener=_private) as page:
        page.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">\n')
    return file.as_uri()


def _listen(run_dir: Path, section: DictConfig) -> socket.socket:
    """A socket on the port that is asked for; else on the one of last time, so that open pages go on; else on any."""
    family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
    for port in [section.port] if section.port else [_known(run_dir).get("port", 0), 0]:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((section.host, port))
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            problem = error
    other = "another port, or 0 for any" if section.port else "another host"
    raise UserError(f"viewer.port={section.port} on {section.host}: {problem.strerror}; valid is {other}")


def _hosts(section: DictConfig, port: int) -> frozenset[str] | None:
    if section.host in LOOPBACK:
        return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
    return None  # by whatever name other machines know this one; the token still keeps strangers out


def _known(run_dir: Path) -> dict[str, Any]:
    return find_object(run_dir / ADDRESS_FILE) or {}


def _remember(run_dir: Path, address: dict[str, Any]) -> None:
    """Readable by this user alone: the token lets one answer."""
    with replacing(run_dir / ADDRESS_FILE, private=True) as partial:
        partial.write_text(json.dumps(address, indent=2) + "\n")


def _answers(known: dict[str, Any]) -> bool:
    """A viewer of this run is open at that address."""
    if not {"url", "port", "token"} <= known.keys():
        return False
    head = known["url"].split("#")[0]
    request = urllib.request.Request(
        head + "api/session",
        data=json.dumps({"token": known["token"]}).encode(),
        headers={"content-type": "application/json", "x-pbrl": "1"},
    )
    cert = known.get("cert")
    try:
        with direct_opener(None if cert is None else Path(cert)).open(request, timeout=2) as response:
            return response.status == 204
    except OSError:
        return False


def _has_browser() -> bool:
    """A graphical one: a browser in the terminal would sit on top of the training."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
