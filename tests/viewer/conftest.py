"""Fixtures of the tests that drive the page in a real browser, against a server that only pretends.

That is Chromium, or with PBRL_BROWSER=firefox Firefox, by WebDriver BiDi: a release of Playwright that asks nothing of
this Firefox that it does not know yet (of Firefox ESR 153 Playwright 1.57, not 1.65).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import Fake, Running
from page_driver import ELSEWHERE
from real_viewer import RealViewer

BROWSER = os.environ.get("PBRL_BROWSER", "chromium")
CHROMIUM = os.environ.get("PBRL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FIREFOX = os.environ.get("PBRL_FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = {"chromium": CHROMIUM, "firefox": FIREFOX}[BROWSER]
    if path is None:
        pytest.skip(f"no {BROWSER} here; PBRL_{BROWSER.upper()}=/path/to/it names one")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        if BROWSER == "firefox":
            prefs = {"network.dns.localDomains": ELSEWHERE, "media.autoplay.default": 0}
            browser = p.firefox.launch(executable_path=path, channel="moz-firefox", firefox_user_prefs=prefs)
        else:
            browser = p.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Running]:
    running = Running(Fake())
    yield running
    running.stop()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)  # a busy machine is slow, not wrong
    yield context
    context.close()


@pytest.fixture
def page(context: Any, server: Running) -> Iterator[Any]:
    """A page that may talk to its server only, and whose console must stay free of errors."""
    page = context.new_page()
    errors: list[str] = []
    elsewhere: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}"))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: elsewhere.append(r.url) if not r.url.startswith((server.origin, "blob:")) else None)
    yield page
    # what a test brings about on purpose (an outage, no session) the browser itself writes down
    assert [e for e in errors if "Failed to load resource" not in e] == []
    assert [url for url in elsewhere if not url.startswith(f"blob:{server.origin}")] == []


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Callable[..., RealViewer]]:
    """Makes real servers; see `RealViewer`."""
    made: list[RealViewer] = []

    def make(pairs: int = 8, **more: Any) -> RealViewer:
        folder = tmp_path / f"run_{len(made)}"
        made.append(RealViewer(folder, pairs, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def remote(context: Any) -> Iterator[Any]:
    """A page that may talk to a server of any name; its scripts must not fail."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}"))
    yield page
    assert errors == []
