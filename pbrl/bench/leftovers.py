"""What a killed bench leaves behind, settled before its jobs go on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from filelock import FileLock, Timeout

from pbrl.bench.jobs import Job

POLL_S = 0.2


def settle(job: Job, stopped: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Waits for a run whose bench has died to save and end, and clears a folder that did not become a run yet.

    stopped: asked while waiting; true ends it.
    """
    lock = job.folder / ".lock"
    told = False
    while lock.exists() and not stopped():
        try:
            with FileLock(lock, timeout=0):
                break
        except Timeout:
            if not told:
                say(f"{job.name}: waiting for the process that still trains it to save and end")
            told = True
            time.sleep(POLL_S)
    if job.folder.is_dir() and not (job.folder / "config.yaml").exists():
        shutil.rmtree(job.folder)
