"""The state of a run in status.json: written by the trainer, read by the viewer, which is another process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pbrl.files import write_json
from pbrl.reading import find_object

FILE_NAME = "status.json"
STATES = ("starting", "collecting", "training", "waiting", "finished", "interrupted")
LEARNED_FILE = "learned.json"


def write_status(run_dir: Path, state: str, **more: Any) -> None:
    """Write status.json. state: one of STATES; `waiting` is for answers. Times are Unix seconds."""
    assert state in STATES, state
    write_json(run_dir / FILE_NAME, {"state": state, "pid": os.getpid(), "written_at": time.time(), **more})


def read_status(run_dir: Path) -> dict[str, Any]:
    """Read the last status; `stopped` if the process went without saying so, `starting` before the first one."""
    status = _read(run_dir / FILE_NAME)
    if status is None or status.get("state") not in STATES:
        return {"state": "starting"}
    if status["state"] not in ("finished", "interrupted") and not _lives(status.get("pid")):
        status["state"] = "stopped"
    return status


def read_learned(run_dir: Path) -> dict[str, Any] | None:
    """Return what the reward learned from people so far; None before the first time."""
    found = _read(run_dir / LEARNED_FILE)
    return found if found is not None and {"answers", "foreseen", "best", "worst"} <= found.keys() else None


def read_drawing_problem(run_dir: Path) -> str | None:
    """Return why the viewer of this run can draw no clips, if it cannot."""
    return (_report(run_dir) or {}).get("message") if read_drawing_state(run_dir) == "failed" else None


def read_drawing_state(run_dir: Path) -> str:
    """Read the state of the process that draws clips: starting, ok or failed."""
    return str((_report(run_dir) or {}).get("state", "starting"))


def _report(run_dir: Path) -> dict[str, Any] | None:
    return _read(run_dir / "clips" / "renderer.json")


def _read(file: Path) -> dict[str, Any] | None:
    return find_object(file)


def _lives(pid: Any) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True
