"""One viewer process: the server, the renderer beside it, and the address to open."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from omegaconf import DictConfig

from pbrl.config import load_config
from pbrl.errors import UserError, ViewerError
from pbrl.feedback.status import read_drawing_problem, read_drawing_state
from pbrl.labels.store import FILE_NAME, LabelStore
from pbrl.teachers.make import asks_people
from pbrl.training.interrupt import StopOnInterrupt, exit_code
from pbrl.viewer.addresses import Certificate, reachable_names, read_certificate
from pbrl.viewer.clips import report_path
from pbrl.viewer.opened import Opened, find_opened, make_opened
from pbrl.viewer.renderer import open_log
from pbrl.viewer.settings import (
    LOOPBACK,
    ViewerConfig,
    clip_style,
    desk_settings,
    instructions,
    listed,
    study_viewer,
    viewer_section,
)

if TYPE_CHECKING:
    from pbrl.study.settings import Study
    from pbrl.viewer.gallery import Gallery
    from pbrl.viewer.renderer import Renderer
    from pbrl.watching.live import Live

EVERYTHING = 10**9  # clips drawn ahead
START_S = 60.0  # that a viewer takes at most to start, on a busy machine
DRAW_S = 90.0  # and what draws its clips


class Beside(Protocol):
    """A thing that runs as long as a viewer does, in the same process."""

    def __call__(self, renderer: Renderer) -> AbstractContextManager[object]: ...


def serve(
    run_dir: Path,
    overrides: dict[str, str],
    beside: Beside | None = None,
    *,
    study: Study | None = None,
    study_file: Path | None = None,
    watch: Callable[[int], Live] | None = None,
) -> int:
    """Run a viewer until Ctrl-C, and print its addresses, or those of one that is open already; return the exit code.

    beside: begins once clips are being drawn, and before anybody is let in. study: that people come through, of this
    file. watch: makes a simulator for each person, from the number of its first episode; they watch a policy there
    instead of comparing clips.
    """
    config = load_config(run_dir / "config.yaml")
    if study is not None:
        config.viewer = study_viewer(config, study)
    overrides = dict(overrides)
    renew = listed(overrides.pop("renew", None))
    section, before = viewer_section(config, overrides), find_opened(run_dir)
    if before is not None and before.answers():
        others = renew or overrides.keys() - {"open_browser"} or before.study != _name(study_file)
        return _say_it_is_open(run_dir, before, bool(others))
    certificate = read_certificate(section.tls)
    _check_store(run_dir)
    listener = _listen(run_dir, section)
    port = listener.getsockname()[1]
    opened = make_opened(
        before,
        renew,
        people=listed(section.people),
        names=reachable_names(section.host, port),
        port=port,
        certificate=certificate,
        remote=section.host not in LOOPBACK,
        study=_name(study_file),
    )
    viewer = replace(_viewer_config(run_dir, config, section, opened, study), watch=watch)

    renderer, gallery = _clips(viewer, config, section)
    with (
        gallery if watch is None else nullcontext(),  # which starts the process that draws
        nullcontext() if beside is None else beside(renderer),
    ):

        def announce() -> None:
            opened.remember(run_dir)
            opened.say()
            if section.open_browser and _has_browser():
                webbrowser.open(opened.redirect(run_dir))

        return _run(viewer, gallery, listener, certificate, announce)


def _say_it_is_open(run_dir: Path, before: Opened, others: bool) -> int:
    """Say the addresses of the viewer that answers already. others: it was asked to open with other settings."""
    if others:
        raise UserError(f"a viewer of {run_dir} is open at {before.url}; end it to open one with other settings")
    before.say(" (open already)")
    return 0


def _clips(viewer: ViewerConfig, config: DictConfig, section: DictConfig) -> tuple[Renderer, Gallery]:
    """Return what draws the clips of a run, ahead of the people, and what hands them out."""
    from pbrl.viewer.gallery import Gallery
    from pbrl.viewer.renderer import Renderer
    from pbrl.viewer.sources import clip_source

    source, desk = clip_source(viewer.run_dir, config.env), viewer.desk
    style = source.styled(clip_style(section))
    ahead = section.ahead if viewer.study is None else EVERYTHING  # each person has an order of their own
    renderer = Renderer(viewer.run_dir, style, ahead=ahead, overlap=desk.overlap, scripts_count=desk.scripts_count)
    return renderer, Gallery(viewer.run_dir, source, style, renderer, section.ahead)


def start_viewer(run_dir: Path) -> subprocess.Popen[bytes] | None:
    """Start a viewer beside the training, and say the addresses; None if one is open already."""
    opened = find_opened(run_dir)
    if opened is not None and opened.answers():
        opened.say()
        return None
    before = time.time()
    log = open_log(run_dir / "viewer.log")  # the address with its token is in it
    command = [sys.executable, "-m", "pbrl", "label", f"run={run_dir}"]
    viewer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    while time.time() - before < START_S and viewer.poll() is None:
        opened = find_opened(run_dir)
        if opened is not None and opened.pid == viewer.pid:
            if (problem := wait_for_drawing(run_dir, before)) is not None:
                stop_viewer(viewer)
                raise ViewerError(f"nobody could answer: {problem}")
            opened.say()
            return viewer
        time.sleep(0.05)
    viewer.terminate()
    lines = (run_dir / "viewer.log").read_text(errors="replace").strip().splitlines()
    raise ViewerError(f"the viewer did not start: {lines[-1] if lines else 'no message'}; see {run_dir / 'viewer.log'}")


def wait_for_drawing(run_dir: Path, since: float) -> str | None:
    """Wait until the viewer's process that draws has started; return why it cannot draw, None otherwise."""
    report = report_path(run_dir)
    while time.time() - since < DRAW_S:
        if report.exists() and report.stat().st_mtime >= since and read_drawing_state(run_dir) != "starting":
            return read_drawing_problem(run_dir)
        time.sleep(0.05)
    return None


def stop_viewer(viewer: subprocess.Popen[bytes]) -> None:
    viewer.terminate()
    try:
        viewer.wait(10)
    except subprocess.TimeoutExpired:
        viewer.kill()


def _name(file: Path | None) -> str | None:
    return None if file is None else str(file.resolve())


def _viewer_config(
    run_dir: Path, config: DictConfig, section: DictConfig, opened: Opened, study: Study | None
) -> ViewerConfig:
    return ViewerConfig(
        run_dir=run_dir,
        env=config.env.name,
        mode=config.teacher.mode if asks_people(config.teacher) else "labels only",
        instructions=instructions(section),
        question=section.question,
        desk=desk_settings(config, section),
        hold_s=section.hold_s,
        token=opened.token,
        port=opened.port,
        hosts=_hosts(section, opened.port),
        encrypted=opened.cert is not None,
        show=frozenset(listed(section.show)),
        tags=tuple(map(str, listed(section.tags))),
        criteria={str(name): str(text) for name, text in section.criteria.items()},
        links={person: opened.links[person] for person in opened.people},
        study=study,
    )


def _run(
    viewer: ViewerConfig,
    gallery: Gallery,
    listener: socket.socket,
    certificate: Certificate | None,
    announce: Callable[[], None],
) -> int:
    """Serve until it is told to end, which it can be as soon as the address is known."""
    from pbrl.viewer.limits import ask_for_descriptors, log_sparingly, make_server
    from pbrl.viewer.server import make_app

    ask_for_descriptors()
    log_sparingly()
    server = make_server(make_app(viewer, gallery), *(certificate or ()))
    # uvicorn hears SIGINT and SIGTERM itself, and passes them on when it has ended.
    end = partial(setattr, server, "should_exit", True)
    with (
        contextlib.suppress(KeyboardInterrupt),
        StopOnInterrupt(end, "the viewer ends", lambda: "all answers are stored") as stop,
    ):
        announce()
        server.run(sockets=[listener])
    return exit_code() if stop.stopping and exit_code() != 128 + signal.SIGINT else 0  # Ctrl-C is how it is ended


def _check_store(run_dir: Path) -> None:
    """Make the store if the training has not come to it yet; what people answered and saw is for the owner alone."""
    if (run_dir / "summary.json").exists() and not (run_dir / FILE_NAME).exists():
        raise UserError(f"{run_dir} has no questions: it ended without asking any")
    LabelStore(run_dir).close()
    for path in (*run_dir.glob(f"{FILE_NAME}*"), *(run_dir / name for name in ("episodes", "clips", "viewer.log"))):
        with contextlib.suppress(OSError):  # another user's, or not there yet
            path.chmod(path.stat().st_mode & 0o700)


def _listen(run_dir: Path, section: DictConfig) -> socket.socket:
    """Listen on the port that is asked for; else on the one of last time, so that open pages go on; else on any."""
    family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
    before = find_opened(run_dir)
    for port in [section.port] if section.port else [0 if before is None else before.port, 0]:
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


def _has_browser() -> bool:
    """Return whether there is a graphical browser: one in the terminal would sit on top of the training."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
