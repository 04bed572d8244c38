"""The loop of the renderer process: wait for the run, then draw what is asked for, and else what comes next."""

from __future__ import annotations

import json
import os
import queue
import sqlite3
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from pbrl.config import load_config
from pbrl.errors import UserError, choices, one_line
from pbrl.files import write_json
from pbrl.labels.rows import ALL
from pbrl.labels.store import FILE_NAME, LabelStore
from pbrl.viewer.board import Board
from pbrl.viewer.clips import (
    FAILED,
    FOLDER,
    STOP_S,
    UNKNOWN,
    Clip,
    ClipStyle,
    clip_path,
    is_plain_file,
    item_clips,
    report_path,
    require_encoder,
)
from pbrl.viewer.leases import Leases
from pbrl.viewer.sources import ClipSource, Drawer, clip_source

POLL_S = 0.2  # between looks at a label store that may have changed
LOOK_S = 2.0  # between looks at one that seems not to have
RETRY_S = 5.0  # after a clip could not be written


class Stopped(Exception):
    """Raised where the viewer wants the process to end, or has ended itself."""


class Missing(NamedTuple):
    query: int
    place: int  # among the items: of a pair, 0 left, 1 right
    camera: str
    clip: Clip


class Inbox:
    """The requests of the viewer, from a stream of JSON lines; the end of the stream means the end."""

    def __init__(self, lines: Iterable[str], at_end: Callable[[], None]) -> None:
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._ended = False
        threading.Thread(target=self._read, args=(lines, at_end), daemon=True).start()

    def take(self, timeout_s: float = 0.0) -> dict[str, Any] | None:
        """Return the next request, waiting for it at most this long."""
        try:
            request = self._requests.get(timeout=timeout_s) if timeout_s else self._requests.get_nowait()
        except queue.Empty:
            request = None
        if self._ended:
            raise Stopped
        return request

    def _read(self, lines: Iterable[str], at_end: Callable[[], None]) -> None:
        for line in lines:
            with suppress(ValueError):
                self._requests.put(json.loads(line))
        self._ended = True
        self._requests.put(None)  # wakes who waits
        at_end()


class Worker:
    """Draws clips of one run until the inbox ends."""

    def __init__(
        self, run_dir: Path, inbox: Inbox, *, style: ClipStyle, ahead: int, overlap: int, scripts_count: bool
    ) -> None:
        self.run_dir, self.inbox, self.style = run_dir, inbox, style
        self.ahead, self.overlap, self.scripts_count = ahead, overlap, scripts_count
        self.config: DictConfig
        self.source: ClipSource
        self.drawer: Drawer
        self.store: LabelStore
        self.board: Board
        self._wanted: deque[dict[str, Any]] = deque()
        self._clips: dict[tuple[int, str], tuple[Clip, ...]] = {}
        self._drawn: set[int] = set()  # questions whose clips were there once
        self._seen: tuple[Any, float] = (None, 0.0)  # the label store when nothing was missing, and when that was
        self._report: dict[str, Any] = {"state": "starting", "message": None, **UNKNOWN}

    def run(self) -> None:
        """Draw until Stopped, or a UserError where nothing can be drawn."""
        folder = self.run_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock(folder):
            for half in folder.glob(".*.partial.*"):  # of a process that was killed
                half.unlink()
            self._report["clips"] = sum(1 for _ in folder.glob("*.mp4"))
            self.tell()
            self._wait_for(self.run_dir / "config.yaml")
            self.config = load_config(self.run_dir / "config.yaml")
            self.source = clip_source(self.run_dir, self.config.env)
            self.drawer = self._make_drawer()
            d = self.drawer
            self.tell(state="ok", cameras=d.cameras, fps=d.fps, every=d.every)
            self._wait_for(self.run_dir / FILE_NAME)
            while True:
                self._draw_all()
                self.inbox.take(RETRY_S)

    def _draw_all(self) -> None:
        """Draw until Stopped; return where the questions cannot be read, which may be mended."""
        try:
            with LabelStore(self.run_dir, create=False) as self.store:
                self.board = Board(self.store, self.overlap, scripts_count=self.scripts_count, scope=ALL)
                while True:
                    self.turn()
        except (UserError, sqlite3.Error) as error:
            self.tell(state="failed", message=f"the questions cannot be read: {one_line(error)}")

    def turn(self) -> None:
        """Draw one clip, or wait a moment if none is missing. What was asked for goes first."""
        while (request := self.inbox.take()) is not None:
            self._wanted.append(request)
        missing = self._asked_for() or self._coming_up()
        if missing is not None:
            self._draw(missing)
            return
        self.tell(state="ok", message=None)
        if (request := self.inbox.take(POLL_S)) is not None:
            self._wanted.append(request)

    def tell(self, **news: Any) -> None:
        if news.items() <= self._report.items() and news:
            return
        self._report |= news
        with suppress(OSError):  # nobody listens any more
            print(json.dumps(self._report), flush=True)
        try:
            write_json(report_path(self.run_dir), self._report)
        except OSError as error:  # a full disk; the next report may find room
            print(f"{report_path(self.run_dir)}: {error}", file=sys.stderr)

    @contextmanager
    def _lock(self, folder: Path) -> Iterator[None]:
        """Lock the folder: two viewers of one run must not draw the same clips."""
        lock = FileLock(folder / ".lock")
        while not lock.is_locked:
            with suppress(Timeout):
                lock.acquire(timeout=0)
            self.inbox.take(0 if lock.is_locked else POLL_S)
        try:
            yield
        finally:
            lock.release()

    def _wait_for(self, path: Path) -> None:
        while not path.is_file():
            if (request := self.inbox.take(POLL_S)) is not None:
                self._wanted.append(request)

    def _make_drawer(self) -> Drawer:
        try:
            require_encoder()
            return self.source.drawer(self.style)
        except Exception as error:  # what a driver or a suite says
            said = str(error) if isinstance(error, UserError) else f"env={self.config.env.name}: {one_line(error)}"
            unset = "unset MUJOCO_GL; " if "invalid value for environment variable MUJOCO_GL" in said else ""
            raise UserError(f"clips cannot be drawn: {said}; {unset}`pbrl doctor` tries what works here") from error

    def _asked_for(self) -> Missing | None:
        """Return the first missing clip of the requests, which are forgotten when theirs are there."""
        while self._wanted:
            try:
                query, camera = int(self._wanted[0]["query"]), str(self._wanted[0]["camera"])
                if camera not in self.drawer.cameras:
                    raise UserError(f"camera={camera}: {choices(camera, self.drawer.cameras)}")
                if (missing := self._missing(query, camera)) is not None:
                    return missing
            except (UserError, LookupError, TypeError, ValueError) as error:
                print(f"request {self._wanted[0]}: {one_line(error)}", file=sys.stderr)
            self._wanted.popleft()
        return None

    def _coming_up(self) -> Missing | None:
        """Return the first missing clip of the questions that people get next."""
        now = [_stamp(self.run_dir / name) for name in (FILE_NAME, f"{FILE_NAME}-wal")]
        if self._seen[0] == now and time.monotonic() - self._seen[1] < LOOK_S:
            return None
        # Questions that somebody has, or that wait for a second answer, must not keep later ones from being drawn.
        self.board.refresh()
        taken, fresh = Leases(self.store.db, "").others, 0
        for query in self.board.ids():
            answered = self.board.given(query) > 0
            if not (answered and query in self._drawn) and (missing := self._missing(query, self.style.camera)):
                return missing
            self._drawn.add(query)
            fresh += not answered and query not in taken
            if fresh == self.ahead:
                break
        self._seen = (now, time.monotonic())
        return None

    def _missing(self, query: int, camera: str) -> Missing | None:
        if (query, camera) not in self._clips:
            style = replace(self.style, camera=camera)
            self._clips[query, camera] = item_clips(self.store.questions([query]), self.source.look, style)[0]
        for place, clip in enumerate(self._clips[query, camera]):
            if not is_plain_file(clip_path(self.run_dir, clip.name)):
                return Missing(query, place, camera, clip)
        return None

    def _draw(self, missing: Missing) -> None:
        all_states, begun = self.store.questions([missing.query]).item_states, time.monotonic()
        assert all_states is not None
        states = all_states[missing.place]
        try:
            path = clip_path(self.run_dir, missing.clip.name)
            self.drawer.draw(path, states[0, : missing.clip.steps + 1], missing.camera)
        except OSError as error:
            self.tell(
                state="failed", message=f"clips cannot be written: {error.strerror or error}; make room on the disk"
            )
            self.inbox.take(RETRY_S)
            return
        took, before = time.monotonic() - begun, self._report["s_per_clip"]
        mean = took if before is None else 0.8 * before + 0.2 * took
        self.tell(state="ok", message=None, clips=self._report["clips"] + 1, s_per_clip=round(mean, 3))


def main(run_dir: Path, settings: dict[str, Any]) -> None:
    """Draw, and end the process itself: the thread that reads standard input would keep Python from an orderly end."""
    if hasattr(os, "nice"):
        os.nice(10)
    inbox = Inbox(sys.stdin, at_end=_end_soon)
    worker = Worker(run_dir, inbox, **settings | {"style": ClipStyle(**settings["style"])})
    code = 1
    try:
        worker.run()
    except Stopped:
        code = 0
    except UserError as error:
        worker.tell(state="failed", message=str(error))
        code = FAILED
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_soon() -> None:
    """End a process that hangs in a driver."""
    time.sleep(STOP_S)
    os._exit(1)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns
