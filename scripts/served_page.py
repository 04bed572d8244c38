"""The real pages in a real browser, for the scripts that photograph and measure them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@contextmanager
def serve(folder: Path, *words: str) -> Iterator[tuple[Any, str]]:
    """Yield a browser, and the address of what `pbrl WORDS` serves in this folder; what it says goes to folder.log."""
    from playwright.sync_api import sync_playwright

    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "pbrl", *words], stdout=log, stderr=log)
    try:
        wait_until((folder / "viewer.json").exists)
        with sync_playwright() as playwright:
            path = os.environ.get("PBRL_CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=QUIET)
            yield browser, json.loads((folder / "viewer.json").read_text())["url"]
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)  # so that a run's viewer ends too
        server.wait(60)


def change_status(page: Any, change: dict[str, Any]) -> None:
    """Let a page be told this on top of its real status, and no pair unless it can go on."""

    def changed(route: Any) -> None:
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), **change})

    page.route("**/api/status*", changed)
    if "can_continue" not in change:
        nothing = {"pairs": [], "gone": []}
        page.route("**/api/next", lambda route: route.fulfill(json=nothing, headers={"x-pbrl": "1"}))


def wait_until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Return what the condition is once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            sys.exit("waited in vain")
        time.sleep(0.05)
    return found
