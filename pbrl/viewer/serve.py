"""One viewer process: the server, the renderer beside it, and the address to open."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pbrl.config import load_config
from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.viewer.settings import desk_settings, instructions, viewer_section

ADDRESS_FILE = "viewer.json"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
START_S = 30.0


def serve(run_dir: Path, overrides: dict[str, str]) -> int:
    """Runs until Ctrl-C. Prints one line with the address."""
    config = load_config(run_dir / "config.yaml")
    section = viewer_section(config, overrides)
    config.viewer = section
    listener = _listen(run_dir, section)
    port = listener.getsockname()[1]
    token = _known(run_dir).get("token") or secrets.token_urlsafe(24)
    host = "127.0.0.1" if section.host in LOOPBACK else section.host
    url = f"http://{host}:{port}/#token={token}"

    import uvicorn

    from pbrl.viewer.clips import ClipStyle
    from pbrl.viewer.gallery import Gallery
    from pbrl.viewer.renderer import Renderer
    from pbrl.viewer.server import ViewerConfig, make_app

    viewer = ViewerConfig(
        run_dir=run_dir,
        env=config.env.name,
        mode=config.teacher.mode if config.teacher.get("name") == "human" else "labels only",
        instructions=instructions(section),
        question=section.question,
        desk=desk_settings(config),
        hold_s=section.hold_s,
        token=token,
        port=port,
        hosts=_hosts(section, port),
    )
    style = ClipStyle(width=section.width, height=section.height, max_fps=section.max_fps)
    desk = viewer.desk
    renderer = Renderer(run_dir, style, ahead=section.ahead, overlap=desk.overlap, scripts_count=desk.scripts_count)
    with Gallery(run_dir, config, style, renderer, section.ahead) as gallery:
        server = uvicorn.Server(
            uvicorn.Config(make_app(viewer, gallery), log_level="warning", access_log=False, ws="none", lifespan="on")
        )
        _remember(run_dir, {"token": token, "port": port, "url": url, "pid": os.getpid()})
        print(f"label at: {url}", flush=True)
        if section.open_browser and _has_browser():
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return 0


def start_viewer(run_dir: Path) -> subprocess.Popen[bytes] | None:
    """A viewer beside the training; None if one is open already. Says the address in one line."""
    known = _known(run_dir)
    if _answers(known):
        print(f"label at: {known['url']}", flush=True)
        return None
    before = time.time()
    log = (run_dir / "viewer.log").open("ab")
    command = [sys.executable, "-m", "pbrl", "label", f"run={run_dir}"]
    viewer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    while time.time() - before < START_S and viewer.poll() is None:
        known = _known(run_dir)
        if known.get("pid") == viewer.pid:
            print(f"label at: {known['url']}", flush=True)
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


def _listen(run_dir: Path, section: DictConfig) -> socket.socket:
    """A socket on the port that is asked for; else on the one of last time, so that open pages go on; else on any."""
    if section.host not in LOOPBACK and not section.allow_remote:
        raise UserError(
            f"viewer.host={section.host} lets other machines in; valid are {', '.join(LOOPBACK)}, "
            "or add allow_remote=true"
        )
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
    raise UserError(f"viewer.port={section.port} on {section.host}: {problem.strerror}; valid is another, or 0 for any")


def _hosts(section: DictConfig, port: int) -> frozenset[str] | None:
    if section.host in LOOPBACK:
        return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
    return None  # by whatever name other machines know this one; the token still keeps strangers out


def _known(run_dir: Path) -> dict[str, Any]:
    try:
        found = json.loads((run_dir / ADDRESS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(run_dir: Path, address: dict[str, Any]) -> None:
    """Readable by this user alone: the token lets one answer."""
    with replacing(run_dir / ADDRESS_FILE) as partial:
        partial.touch(mode=0o600)
        partial.chmod(0o600)
        partial.write_text(json.dumps(address, indent=2) + "\n")


def _answers(known: dict[str, Any]) -> bool:
    """A viewer of this run is open at that address."""
    import urllib.request

    if not {"url", "port", "token"} <= known.keys():
        return False
    head = known["url"].split("#")[0]
    request = urllib.request.Request(
        head + "api/session",
        data=json.dumps({"token": known["token"]}).encode(),
        headers={"content-type": "application/json", "x-pbrl": "1"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=2) as response:
            return response.status == 204
    except OSError:
        return False


def _has_browser() -> bool:
    """A graphical one: a browser in the terminal would sit on top of the training."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
