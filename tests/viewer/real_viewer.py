"""The real server in a thread of the tests, over a label store with random pairs; only its clips are made up."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fake_server import draw_clip
from shop import TOKEN, DrawnClips, fill, free_port, viewer

from pbrl.labels.store import LabelStore
from pbrl.questions import Question
from pbrl.viewer.limits import Limits, make_server


class RealViewer:
    """changes: of the config of `shop.viewer`; without `hosts`, any name will do, as with allow_remote=true."""

    def __init__(
        self,
        folder: Path,
        pairs: int = 8,
        *,
        tls: tuple[Path, Path] | None = None,
        limits: Limits | None = None,
        questions: Sequence[Question] = (),
        **changes: Any,
    ) -> None:
        self.folder, self.tls, self.limits = folder, tls, limits
        self.port = free_port()
        with LabelStore(folder) as store:
            self.queries = fill(store, pairs) if pairs else []
            for number, question in enumerate(questions):  # the last one comes first
                self.queries += store.ask(100 + number, 0, question, sampler="test")
        (folder / "clips").mkdir(exist_ok=True)
        for name in range(2 * len(self.queries) + 10):
            (folder / "clips" / f"{name:032x}.mp4").write_bytes(draw_clip(name % 10, 11))
        self.changes = {"port": self.port, "hosts": None, "encrypted": tls is not None, **changes}
        self.start()

    def url(self, host: str = "127.0.0.1", token: str = TOKEN) -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/#token={token}"

    def start(self) -> None:
        app = viewer(self.folder, DrawnClips(self.folder), **self.changes)
        self.server = make_server(app, *(self.tls or (None, None)), self.limits)
        self.server.config.port = self.port
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

    def answers(self) -> list[Any]:
        with LabelStore(self.folder, create=False) as store:
            return store.standing_answers(kind=None, criterion=None)
