"""Helpers of the tests that drive the page in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fake_server import Running

ELSEWHERE = "lab-machine.example"  # this machine, under a name that browsers trust no more than any other


def shown(page: Any) -> int | None:
    """The query on show. (The page's CSP forbids what Playwright's wait_for_function does, so tests ask in a loop.)"""
    query = page.evaluate("document.querySelector('.deck.active')?.dataset.query")
    return None if query is None else int(query)


def has_pair(page: Any) -> None:
    until(lambda: shown(page) is not None)


def sign_in(page: Any, server: Running | str, name: str = "ann") -> None:
    """server: a `Running`, or an address with its token."""
    page.goto(server if isinstance(server, str) else server.url)
    page.locator("#start").wait_for()
    page.locator("#name").fill(name)
    page.keyboard.press("Enter")


def open_pair(page: Any, server: Running | str, name: str = "ann") -> None:
    sign_in(page, server, name)
    has_pair(page)
    page.wait_for_timeout(160)  # no answer is taken sooner


def holds(page: Any, server: Running, queries: list[int]) -> None:
    """Waits until the page has these, which it says whenever it comes into sight."""

    def said() -> bool:
        before = len(server.fake.asked)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        until(lambda: len(server.fake.asked) > before)
        return server.fake.asked[-1] == (0, queries)

    until(said)


def kept(page: Any, box: str) -> list[str]:
    """The keys in the browser's storage."""
    return page.evaluate("(start) => Object.keys(localStorage).filter((k) => k.startsWith(start))", f"pbrl.{box}.")


def press(page: Any, key: str) -> int | None:
    """Presses a key that changes the pair; returns the query then on show."""
    before = shown(page)
    page.keyboard.press(key)
    until(lambda: shown(page) != before)
    page.wait_for_timeout(160)
    return shown(page)


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def out_of_sight(page: Any, *selectors: str) -> list[Any]:
    """Which of these are not wholly in the window, or too small to see."""
    return page.evaluate(
        """(selectors) => selectors.flatMap((s) => [...document.querySelectorAll(s)]).map((e) => {
          const { left, top, right, bottom, width, height } = e.getBoundingClientRect();
          const inside = left >= 0 && top >= 0 && right <= innerWidth + 0.5 && bottom <= innerHeight + 0.5;
          return inside && width >= 20 && height >= 20 ? null : [e.className, left, top, right, bottom];
        }).filter((found) => found !== null)""",
        list(selectors),
    )


def scrolls_sideways(page: Any) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
