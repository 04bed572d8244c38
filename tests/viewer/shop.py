"""A viewer without a renderer: a label store with random pairs, whose clips count as drawn."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbrl.labels.store import LabelStore
from pbrl.types import Segments
from pbrl.viewer.cards import DeskSettings
from pbrl.viewer.clips import ClipStyle
from pbrl.viewer.gallery import ShownClip
from pbrl.viewer.server import make_app
from pbrl.viewer.settings import ViewerConfig

TOKEN, PORT = "t" * 32, 8765
HOST = f"127.0.0.1:{PORT}"
CHANGES = {"content-type": "application/json", "x-pbrl": "1"}


class DrawnClips:
    """Stands for `Gallery`: everything is drawn, except what `missing` holds."""

    fps, cameras, ahead, style = 20.0, ["default", "side"], 12, ClipStyle()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing: set[int] = set()
        self.requests: list[tuple[int, str]] = []

    def open(self, store: LabelStore) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"state": "ok", "message": None}

    every = 1

    def clips(self, query: Any, camera: str = "default") -> tuple[ShownClip, ...]:
        return tuple(ShownClip(f"{2 * query.id + item:032x}", 11) for item in range(query.form.items))

    def ready(self, query: Any, camera: str = "default") -> bool:
        return query.id not in self.missing and camera == "default"

    def request(self, query: int, camera: str) -> None:
        self.requests.append((query, camera))

    def path(self, name: str) -> Path:
        return self.folder / "clips" / f"{name}.mp4"


def segments(n: int, seed: int = 0, steps: int = 4) -> Segments:
    rng = torch.Generator().manual_seed(seed)
    flat = torch.ones(n, steps)
    return Segments(
        obs=torch.rand(n, steps + 1, 3, generator=rng),
        actions=torch.rand(n, steps, 2, generator=rng),
        mask=flat,
        terminated=0 * flat,
        true_reward=torch.full((n, steps), 777.25),  # must never be seen outside
        ids=torch.arange(n) + 100 * seed,
    )


def fill(store: LabelStore, n: int, session: int = 0) -> list[int]:
    """Asks n random pairs."""
    left, right = segments(n, seed=2 * session), segments(n, seed=2 * session + 1)
    states = {"left_states": np.zeros((n, 5, 2)), "right_states": np.zeros((n, 5, 2))}
    return store.ask(session, 1000 * session, left, right, sampler="uniform", **states)


def config(folder: Path, **changes: Any) -> ViewerConfig:
    """Of a viewer of the run in this folder. changes: of its fields, or of its desk's settings."""
    desk = {k: v for k, v in changes.items() if k in DeskSettings.__dataclass_fields__}
    fields = {
        "run_dir": folder,
        "env": "point_reach",
        "mode": "async",
        "instructions": "<b>Look</b>",
        "question": "Which?",
        "desk": DeskSettings(**{"repeats": 0.0, **desk}),
        "hold_s": 0.3,
        "token": TOKEN,
        "port": PORT,
        "hosts": frozenset({HOST, f"localhost:{PORT}"}),
    }
    return ViewerConfig(**fields | {k: v for k, v in changes.items() if k not in desk})


def viewer(folder: Path, clips: DrawnClips, **changes: Any) -> Any:
    """The application over the run in this folder; see `config`."""
    return make_app(config(folder, **changes), clips)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
