"""The process that draws clips ahead of the people who look at them, and the viewer's handle on it.

`python -m pbrl.viewer.renderer RUN_DIR SETTINGS` reads requests as JSON lines from its standard input, ends when that
ends, and says how it is as JSON lines on its standard output, and RUN_DIR/clips/renderer.json where there is room.
Graphics drivers crash: then it is started again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from pbrl.errors import UserError
from pbrl.reading import read_object
from pbrl.viewer.clips import FAILED, FOLDER, STOP_S, UNKNOWN, ClipStyle, report_path

LOG = "renderer.log"
LONGEST_LOG = 1 << 20  # bytes
RESTARTS = 3  # in a row
HEALTHY_S = 60.0  # who lives for so long did not die of its start
LOOK_S = 0.1  # between looks at whether it lives
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
DRAW_IN_PLACE = {"LP_NUM_THREADS": "0"}  # of Mesa's software renderer, which else takes all cores


class Renderer:
    """Draws the clips of the first `ahead` open questions that nobody answered yet, as long as it is started."""

    def __init__(
        self, run_dir: Path, style: ClipStyle, *, ahead: int, overlap: int = 1, scripts_count: bool = True
    ) -> None:
        self.run_dir, self.style = Path(run_dir), style
        settings = {"style": asdict(style), "ahead": ahead, "overlap": overlap, "scripts_count": scripts_count}
        self._command = [sys.executable, "-m", "pbrl.viewer.renderer", str(self.run_dir), json.dumps(settings)]
        self._lock = threading.Lock()  # of the process and its standard input
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None
        self._begun = 0.0
        self._given_up: str | None = None
        self._heard: dict[str, Any] | None = None  # what it said last
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Renderer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        (self.run_dir / FOLDER).mkdir(0o700, parents=True, exist_ok=True)
        self._stopped.clear()
        self._begun, self._given_up, self._heard = time.time(), None, None
        self.process = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="renderer watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the process; a clip that it has not finished leaves nothing."""
        self._stopped.set()
        with self._lock:
            process = self.process
            if process is None:
                return
            _close(process)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
        if self._watcher is not None:
            self._watcher.join(STOP_S)

    def request(self, query: int, camera: str) -> None:
        """Let this query's clips through this camera come next; a request lost with its process is not repeated."""
        with self._lock:
            if self.process is None or self.process.stdin is None or self.process.stdin.closed:
                return
            try:
                self.process.stdin.write(json.dumps({"query": query, "camera": camera}) + "\n")
                self.process.stdin.flush()
            except OSError:  # it just died
                pass

    def report(self) -> dict[str, Any]:
        """Return what the process last said: state, message, clips, s_per_clip, cameras, fps, every (steps a frame)."""
        found = self._heard or self._read_report()
        return found | {"state": "failed", "message": self._given_up} if self._given_up else found

    def _read_report(self) -> dict[str, Any]:
        """Read what the process that draws has written, perhaps that of another viewer."""
        path = report_path(self.run_dir)
        try:
            if path.stat().st_mtime >= self._begun:  # else it is of an earlier viewer
                return read_object(path)
        except (OSError, UserError):
            pass
        return {"state": "starting", "message": None, **UNKNOWN}

    def _spawn(self) -> subprocess.Popen[str]:
        environment = DRAW_IN_PLACE | dict(os.environ) | ONE_THREAD
        with open_log(self.run_dir / FOLDER / LOG) as log:
            process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the viewer, which then stops it
            )
        threading.Thread(target=self._listen, args=(process,), name="renderer reports", daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Take in what it says until it ends; libraries may write to standard output too."""
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and found.keys() >= {"state", "message", *UNKNOWN}:
                    self._heard = found

    def _watch(self) -> None:
        """Start the process again when it dies, unless that is of no use."""
        deaths = 0
        while True:
            begun, process = time.monotonic(), self.process
            assert process is not None
            while (code := process.poll()) is None:
                if self._stopped.wait(LOOK_S):
                    return
            if self._stopped.is_set() or code == FAILED:
                return
            deaths = 1 if time.monotonic() - begun > HEALTHY_S else deaths + 1
            if deaths > RESTARTS:
                log = self.run_dir / FOLDER / LOG
                self._given_up = (
                    f"the process that draws clips died {deaths} times (exit code {code}); "
                    f"see {log}, and `pbrl doctor` tries what works here"
                )
                return
            if self._stopped.wait(0.2 * deaths):
                return
            with self._lock:
                if self._stopped.is_set():
                    return
                _close(process)
                self.process = self._spawn()


def open_log(path: Path) -> BinaryIO:
    """Open a log to write to its end, for this user alone; what is too long moves aside, in place of an older one."""
    with suppress(OSError):
        if path.stat().st_size > LONGEST_LOG:
            path.replace(path.with_name(f"{path.name}.old"))
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def _close(process: subprocess.Popen[str]) -> None:
    try:
        if process.stdin is not None:
            process.stdin.close()
    except OSError:  # nobody reads what was still in it
        pass


if __name__ == "__main__":
    from pbrl.viewer.drawing import main

    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
