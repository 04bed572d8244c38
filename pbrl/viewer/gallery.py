"""The clips of a run as the server sees them: what each pair's are called, and which are drawn."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

from pbrl.errors import UserError
from pbrl.labels.rows import Query
from pbrl.labels.store import LabelStore
from pbrl.viewer.clips import Clip, ClipStyle, clip_path, frame_count, is_plain_file, item_clips
from pbrl.viewer.renderer import Renderer
from pbrl.viewer.sources import ClipSource

REPORT_S = 0.2  # how old the renderer's report may be
KEPT = 128  # files whose clips' names are remembered


class ShownClip(NamedTuple):
    clip: str  # its name
    frames: int


class Gallery:
    """Owns the renderer, which draws in a process of its own; use as a context manager around the server."""

    def __init__(self, run_dir: Path, source: ClipSource, style: ClipStyle, renderer: Renderer, ahead: int) -> None:
        self.run_dir, self.source, self.style = run_dir, source, style
        self.renderer, self.ahead = renderer, ahead
        self._store: LabelStore
        self._names: dict[tuple[str, str], dict[int, tuple[Clip, ...]]] = {}  # by file and camera, by row
        self._report: dict[str, Any] = {}
        self._reported = -1e9  # never

    def __enter__(self) -> Gallery:
        self.renderer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.renderer.stop()

    def open(self, store: LabelStore) -> None:
        """Use this store from here on, in the thread that calls this."""
        self._store = store

    @property
    def fps(self) -> float:
        return self._state()["fps"] or self.style.max_fps

    @property
    def cameras(self) -> list[str]:
        return self._state()["cameras"] or [self.style.camera]

    def state(self) -> dict[str, Any]:
        """Tell the page whether pictures can be drawn here, and if not, why."""
        state = self._state()
        return {"state": state["state"], "message": state["message"]}

    def clips(self, query: Query, camera: str | None = None) -> tuple[ShownClip, ...]:
        """Return the clips of the items, or of left and right segment, drawn or not; None: by the usual camera."""
        return tuple(ShownClip(c.name, frame_count(c.steps, self.every)) for c in self._clips(query, camera))

    @property
    def every(self) -> int:
        """The environment steps between two frames."""
        return self._state()["every"] or 1

    def ready(self, query: Query, camera: str | None = None) -> bool:
        """Return whether all clips are drawn, and what they show is known."""
        if not self._state()["every"]:
            return False
        try:
            return all(is_plain_file(self.path(clip.name)) for clip in self._clips(query, camera))
        except UserError:  # no states to draw from, which the renderer says too
            return False

    def request(self, query: int, camera: str) -> None:
        """Ask for this to be drawn before anything else."""
        self.renderer.request(query, camera)

    def path(self, name: str) -> Path:
        return clip_path(self.run_dir, name)

    def _clips(self, query: Query, camera: str | None) -> tuple[Clip, ...]:
        camera = camera or self.style.camera
        key = query.file, camera
        if key not in self._names:
            sql = "SELECT q.id, row FROM queries AS q JOIN batches AS b ON b.id = batch WHERE file = ?"
            rows = dict(self._store.db.execute(sql, (query.file,)).fetchall())
            style = dataclasses.replace(self.style, camera=camera)
            clips = item_clips(self._store.questions(list(rows)), self.source.look, style)
            self._names[key] = dict(zip(rows.values(), clips, strict=True))
        self._names[key] = self._names.pop(key)
        if len(self._names) > KEPT:
            del self._names[next(iter(self._names))]
        return self._names[key][query.row]

    def _state(self) -> dict[str, Any]:
        if time.monotonic() - self._reported > REPORT_S:
            self._report, self._reported = self.renderer.report(), time.monotonic()
        return self._report
