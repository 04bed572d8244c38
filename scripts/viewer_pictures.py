"""The pictures of docs/viewer.md and README.md, and the page's latency: the real viewer in a real browser.

python scripts/viewer_pictures.py pictures RUN_DIR docs/viewer     starts pbrl demo --human in RUN_DIR, labels, looks
python scripts/viewer_pictures.py latency RUN_DIR [PAIRS]          key press to the next pair, in milliseconds

Needs Chromium and Playwright (the extra `test`). What is answered is right: it is read from the label store.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image
from served_page import change_status, serve, wait_until

from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice, Outcome, Triplet
from pbrl.questions import Question

SIZE = {"width": 1200, "height": 860}
SCREENS = {
    "phone": ({"width": 390, "height": 844}, 2, True, "light"),
    "phone_dark": ({"width": 390, "height": 844}, 2, True, "dark"),
    "laptop": ({"width": 1366, "height": 625}, 1, False, "light"),
    "zoomed": ({"width": 640, "height": 400}, 2, False, "light"),  # 1280 x 800 at 200 %
}
GIF_WIDTH, GIF_S, GIF_FPS, COLOURS = 600, 9.0, 7, 128
GUARD_MS = 170  # no answer is taken sooner after a change
NOTHING = {"open": 0, "ready": 0}
STATES = {  # what a status says, on top of the real one, where nobody has a pair
    "collecting": {**NOTHING, "trainer": "collecting", "env_steps": 1000, "next_questions_at": 3000},
    "drawing": {"open": 20, "ready": 0},
    "waiting": {
        "trainer": "waiting",
        "can_continue": True,
        "waiting_s": 42.0,
        "timeout_s": 300.0,
        "open": 3,
        "ready": 0,
    },
    "failed": {"renderer": {"state": "failed", "message": "clips cannot be drawn: no OpenGL; see pbrl doctor"}},
    "spent": {**NOTHING, "spent": 300, "budget": 300, "done": True},
    "finished": {**NOTHING, "trainer": "finished", "next_questions_at": None},
}


@contextmanager
def labelling(folder: Path, *words: str) -> Iterator[Any]:
    """Yield a browser page on the viewer of a demo that trains."""
    with serve(folder, "demo", "--human", f"run_dir={folder}", "viewer.open_browser=false", *words) as (browser, url):
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(120_000)  # on a busy machine
        page.goto(url)
        page.locator("#start").wait_for()
        yield page


def pictures(folder: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)

    def look(name: str) -> None:
        page.wait_for_timeout(700)
        page.screenshot(path=out / f"{name}.png")

    with labelling(folder) as page:
        page.locator("#name").fill("ann")
        look("start")
        page.keyboard.press("Enter")
        _wait_for_pair(page, None)
        look("pair")
        page.emulate_media(color_scheme="dark")
        look("dark")
        page.emulate_media(color_scheme="light")
        _shoot_screens(page, folder, out)
        page.keyboard.press("?")
        look("help")
        page.keyboard.press("Escape")
        for _ in range(8):
            _answer(page, folder)
        _film(page, folder, out / "labelling.gif")
        page.keyboard.press("h")
        page.wait_for_timeout(2500)  # its clips come
        look("history")
        page.keyboard.press("Escape")
        while not page.locator("#learned-button").is_visible() or int(page.inner_text("#strip-mine")) < 30:
            _answer(page, folder)
        page.locator("#learned-button").click()
        page.wait_for_timeout(4000)  # its clips are drawn
        look("learned")
        page.keyboard.press("Escape")
        _shoot_other_kinds(page, folder, out)
        pid = json.loads((folder / "viewer.json").read_text())["pid"]
        for name, change in STATES.items():
            _shoot_state(page, folder, change, out / f"{name}.png")
        os.kill(pid, 9)
        _answer(page, folder)
        page.wait_for_timeout(4000)
        look("offline")


def _shoot_screens(page: Any, folder: Path, out: Path) -> None:
    """Photograph the same on other screens, as other people have them."""
    for name, (size, scale, touch, scheme) in SCREENS.items():
        options = {"device_scale_factor": scale, "has_touch": touch, "is_mobile": touch, "color_scheme": scheme}
        other = page.context.browser.new_page(viewport=size, **options)
        other.goto(json.loads((folder / "viewer.json").read_text())["url"])
        other.locator("#name").fill(name)
        other.keyboard.press("Enter")
        _wait_for_pair(other, None)
        other.wait_for_timeout(700)
        other.screenshot(path=out / f"{name}.png")
        other.close()


def _shoot_other_kinds(page: Any, folder: Path, out: Path) -> None:
    """Ask other questions than pairs, about segments of the first ones."""
    with LabelStore(folder, create=False) as store:
        pairs = store.pairs([query.id for query in store.queries()][:3])
        sides = list(zip(pairs.items, pairs.item_states or (), strict=True))
        items = [(side[[row]], states[[row]]) for side, states in sides for row in (0, 1, 2)]
        segments, states = zip(*items, strict=True)
        questions: dict[str, Question] = {
            "outcome": Outcome(segments[0], states[:1]),
            "triplet": Triplet(*segments[:3], states[:3]),
            "ranking": Choice(segments, "ranking", states),
        }
        for number, question in enumerate(questions.values()):
            store.ask(10_000 + number, 0, question, sampler="pictures")
    kinds = {"ranking": "choice"}
    for name in reversed(questions):
        wanted = page.locator(f"#grid.active[data-kind={kinds.get(name, name)}]")
        while not wanted.count():  # behind the pairs that this page has already
            _skip(page)
        page.wait_for_timeout(900)
        for key in "35" if name == "ranking" else "":
            page.keyboard.press(key)
            page.wait_for_timeout(60)
        page.wait_for_timeout(300)
        page.screenshot(path=out / f"{name}.png")
    while _shown(page) is None:
        _skip(page)


def _skip(page: Any) -> None:
    """Go on to the next question, of whatever kind."""
    read = "document.querySelector('.deck.active, #grid.active')?.dataset.query"
    before = page.evaluate(read)
    page.keyboard.press("x")
    wait_until(lambda: page.evaluate(read) not in (None, before))
    page.wait_for_timeout(GUARD_MS)


def _shoot_state(page: Any, folder: Path, change: dict[str, Any], out: Path) -> None:
    """Photograph what somebody sees who comes now and gets no pair."""
    other = page.context.browser.new_page(viewport=SIZE)
    change_status(other, change)
    other.goto(json.loads((folder / "viewer.json").read_text())["url"])
    other.locator("#name").fill(out.stem)  # each is another person
    other.keyboard.press("Enter")
    other.wait_for_timeout(3000)
    other.screenshot(path=out)
    other.close()


def latency(folder: Path, pairs: int) -> None:
    with labelling(folder, "feedback.per_session=60", "viewer.ahead=60", "viewer.repeats=0") as page:
        page.locator("#name").fill("ann")
        page.keyboard.press("Enter")
        _wait_for_pair(page, None)
        for _ in range(pairs):
            page.wait_for_timeout(900)  # a person looks, and the next clips arrive
            _answer(page, folder)
        page.wait_for_timeout(500)
        found = [t for t in page.evaluate("window.pbrlTimings") if t["frame"] is not None]
    for name in ("painted", "frame"):
        values = sorted(t[name] for t in found)
        p95 = values[int(0.95 * (len(values) - 1))]
        print(f"{name}: median {statistics.median(values):.0f} ms, p95 {p95:.0f} ms, n = {len(values)}")


def _film(page: Any, folder: Path, out: Path) -> None:
    """Film labelling for some seconds, as a GIF in real time."""
    frames, begun, answered = [], time.monotonic(), 0.0
    while (now := time.monotonic() - begun) < GIF_S:
        picture = Image.open(io.BytesIO(page.screenshot()))
        height = round(picture.height * GIF_WIDTH / picture.width)
        small = picture.convert("RGB").resize((GIF_WIDTH, height), Image.Resampling.LANCZOS)
        frames.append((now, small.quantize(COLOURS, dither=Image.Dither.NONE)))
        if now - answered > 2.6:
            answered = now
            page.keyboard.press(_key(page, folder))
        page.wait_for_timeout(max(1, 1000 / GIF_FPS - 1000 * (time.monotonic() - begun - now)))
    times = [t for t, _ in frames] + [GIF_S]
    durations = [1000 * (b - a) for a, b in pairwise(times)]
    first, *rest = (frame for _, frame in frames)
    first.save(out, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)


def _answer(page: Any, folder: Path) -> None:
    before = _shown(page)
    page.keyboard.press(_key(page, folder))
    _wait_for_pair(page, before)


def _key(page: Any, folder: Path) -> str:
    """Return the arrow to the side of the better clip."""
    query = _shown(page)
    assert query is not None
    with LabelStore(folder, create=False) as store:
        left, right = store.segments([query])
    better = float((right.true_reward - left.true_reward).sum()) > 0
    swapped = page.evaluate("document.querySelector('.deck.active').dataset.swapped") == "true"
    return "ArrowRight" if better != swapped else "ArrowLeft"


def _shown(page: Any) -> int | None:
    query = page.evaluate("document.querySelector('.deck.active')?.dataset.query")
    return None if query is None else int(query)


def _wait_for_pair(page: Any, before: int | None) -> None:
    """Wait for another pair."""
    wait_until(lambda: _shown(page) not in (None, before))
    page.wait_for_timeout(GUARD_MS)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pictures", folder, out]:
            pictures(Path(folder), Path(out))
        case ["latency", folder, *pairs]:
            latency(Path(folder), int(pairs[0]) if pairs else 60)
        case _:
            sys.exit(__doc__)
