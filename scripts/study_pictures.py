"""The pictures of docs/study.md and docs/watch.md: the real pages in a real browser, answered by a key at a time.

python scripts/study_pictures.py study LABEL_SET docs/study
python scripts/study_pictures.py watch RUN_DIR docs/watch

Needs Chromium and Playwright (the extra `test`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from served_page import serve, wait_until

from pbrl.labels.sets import load_label_set

SIZE = {"width": 1200, "height": 860}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
STUDY = """
labels: {labels}
consent: >
  We ask you to compare short clips of a running robot. It takes ten minutes. We keep your answers under the name that
  you type, and nothing else about you. You may stop at any time.
instructions: |
  Say which of the two robots runs better: further, and without tumbling.
  Watch both clips to their end; then the keys count.
practice:
  pairs: [{{query: {query}, answer: left, feedback: The other one hardly moves.}}]
attention: {{every: 2}}
quota: 4
breaks: {{every: 3, seconds: 20}}
completion: {{code: C1ABC, url: "https://app.prolific.com/submissions/complete?cc=C1ABC"}}
viewer: {{question: "Which one runs better?", repeats: 0, width: 256, height: 256}}
"""
CAN_ANSWER = "document.querySelector('.deck.active') && document.querySelector('.main').ariaDisabled === 'false'"


def study_pictures(labels: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "running.yaml"
        file.write_text(STUDY.format(labels=labels.resolve(), query=load_label_set(labels).query[0]))
        with serve(Path(scratch) / "running", "study", str(file), "open_browser=false") as (browser, url):
            _go_through(browser.new_page(viewport=SIZE), url, out)
            _shoot_on_a_phone(browser.new_page(**PHONE), url, out)


def watch_picture(run: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "watched"
        words = [str(run), f"out={folder}", f"expert={run}", "width=480", "height=480"]
        with serve(folder, "watch", *words, "open_browser=false") as (browser, url):
            page = browser.new_page(viewport=SIZE)
            _enter(page, url, "ann")
            wait_until(lambda: int(page.locator("#watch-picture").get_attribute("data-step") or 0) > 40)
            page.keyboard.press("w")
            page.keyboard.press("t")
            wait_until(lambda: page.locator("#watch-picture").get_attribute("data-who") == "person")
            _shoot_both_looks(page, out, "watch")
            page.set_viewport_size(PHONE["viewport"])
            page.wait_for_timeout(500)
            _shoot_both_looks(page, out, "watch_phone")


def _go_through(page: Any, url: str, out: Path) -> None:
    def look(name: str) -> None:
        page.wait_for_timeout(500)
        _shoot_both_looks(page, out, name)

    _enter(page, url, "ann")
    for name in ("consent", "instructions"):
        _pass_panel(page)
        look(name)
        page.keyboard.press("Enter")
        page.wait_for_timeout(600)
    _wait_until_ready(page)
    look("practice")
    swapped = page.evaluate("document.querySelector('.deck.active').dataset.swapped") == "true"
    page.keyboard.press("ArrowLeft" if swapped else "ArrowRight")  # the wrong one
    _pass_panel(page)
    look("feedback")
    page.keyboard.press("Enter")
    seen: set[str] = set()
    while not page.inner_text("#study-title").startswith("That was all"):
        if page.locator("#study").is_visible():
            if "break" not in seen and page.inner_text("#study-title") == "A break":
                seen.add("break")
                look("break")
            page.wait_for_timeout(500)
            page.keyboard.press("Enter")
            continue
        if not page.evaluate(CAN_ANSWER):
            page.wait_for_timeout(100)
            continue
        if "attention" not in seen and page.inner_text("#question").startswith("This is a check"):
            seen.add("attention")
            look("attention")
        swapped = page.evaluate("document.querySelector('.deck.active').dataset.swapped") == "true"
        page.keyboard.press("ArrowRight" if swapped else "ArrowLeft")
        page.wait_for_timeout(400)
    look("done")


def _shoot_on_a_phone(page: Any, url: str, out: Path) -> None:
    _enter(page, url, "bob")
    for _ in range(2):
        _pass_panel(page)
        page.locator("#study-button").click()
        page.wait_for_timeout(600)
    wait_until(lambda: page.locator(".deck.active").count() > 0)
    page.wait_for_timeout(200)  # the clips have not ended
    _shoot_both_looks(page, out, "phone")


def _shoot_both_looks(page: Any, out: Path, name: str) -> None:
    """Photograph a page light, and dark."""
    page.screenshot(path=out / f"{name}.png")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=out / f"{name}_dark.png")
    page.emulate_media(color_scheme="light")


def _enter(page: Any, url: str, name: str) -> None:
    page.goto(url)
    page.locator("#name").fill(name)
    page.keyboard.press("Enter")


def _pass_panel(page: Any) -> None:
    wait_until(lambda: page.locator("#study").is_visible())
    page.wait_for_timeout(500)  # nothing is taken sooner


def _wait_until_ready(page: Any) -> None:
    wait_until(lambda: page.evaluate(CAN_ANSWER))


if __name__ == "__main__":
    made = {"study": study_pictures, "watch": watch_picture}
    if len(sys.argv) != 4 or sys.argv[1] not in made:
        sys.exit(__doc__)
    Path(sys.argv[3]).mkdir(parents=True, exist_ok=True)
    made[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
