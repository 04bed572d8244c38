"""A study as a person comes through it, in a real browser, on the real server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from page_driver import has_pair, shown, until
from real_viewer import RealViewer

from pbrl.labels.store import LabelStore
from pbrl.study.settings import Attention, Breaks, Completion, KnownPair, KnownPairs, Study

KEYS = {"left": "a", "right": "d"}
MIRROR = {"left": "right", "right": "left"}
STUDY = Study(
    consent="We keep your answers.\nDo you agree?",
    instructions="Say which one moves more.",
    practice=KnownPairs((KnownPair(2, "left", "It moves more."),)),
    gold=KnownPairs((KnownPair(4, "right"),), every=2),
    quota=4,
    breaks=Breaks(every=2, seconds=1.0),
    completion=Completion("C1ABC", "https://app.prolific.com/submissions/complete?cc=C1ABC"),
)


@pytest.fixture
def study(real: Callable[..., RealViewer], server: Any) -> Callable[..., RealViewer]:
    """Makes the server of a study, the only one that the page may talk to."""

    def make(what: Study) -> RealViewer:
        viewer = real(8, study=what)
        server.origin = viewer.url().split("/#")[0]
        return viewer

    return make


def panel(page: Any, title: str) -> None:
    """Waits until the panel with this title stands there."""
    until(lambda: page.locator("#study").is_visible() and page.inner_text("#study-title") == title)
    page.wait_for_timeout(450)  # nothing is taken sooner


def go_on(page: Any, title: str) -> None:
    panel(page, title)
    gone = lambda: not page.locator("#study").is_visible() or page.inner_text("#study-title") != title  # noqa: E731
    for _ in range(2):  # the page asks for another press where the server did not answer in time
        page.keyboard.press("Enter")
        with contextlib.suppress(AssertionError):
            return until(gone, timeout_s=12)
    raise AssertionError(f"{title!r} stays: {page.inner_text('body')}")


def answer(page: Any, prefers: str = "left") -> None:
    """Answers the pair on show for one of its segments, once it has played, unless a panel comes."""
    until(lambda: page.locator("#study").is_visible() or page.evaluate(CAN_ANSWER))
    if page.locator("#study").is_visible():
        return
    query = shown(page)
    swapped = page.evaluate("document.querySelector('.deck.active').dataset.swapped") == "true"
    page.keyboard.press(KEYS[MIRROR[prefers] if swapped else prefers])
    until(lambda: page.locator("#study").is_visible() or shown(page) != query)


CAN_ANSWER = (
    "document.querySelector('.deck.active') && document.querySelector('.answers .main').ariaDisabled === 'false'"
)


def checks(server: RealViewer) -> list[tuple[int, str, bool]]:
    with LabelStore(server.folder, create=False) as store:
        return store.db.execute("SELECT query, purpose, choice = expected FROM checks ORDER BY id").fetchall()


def enter(page: Any, url: str, name: str | None = "ann") -> None:
    page.goto(url)
    if name is not None:
        page.locator("#name").fill(name)
        page.keyboard.press("Enter")


def test_a_person_comes_through_a_study_by_keyboard(page: Any, study: Callable[..., RealViewer]) -> None:
    viewer = study(STUDY)
    enter(page, viewer.url())
    panel(page, "Before you take part")
    assert "We keep your answers." in page.inner_text("#study-text")
    page.keyboard.press("a")  # answers nothing
    go_on(page, "Before you take part")
    go_on(page, "What you do")
    has_pair(page)
    assert page.inner_text("#question").startswith("Practice: ")
    answer(page, "right")  # the wrong one
    panel(page, "Not quite")
    assert "was better. This pair comes once more." in page.inner_text("#study-text")
    go_on(page, "Not quite")
    until(lambda: shown(page) == 2)
    answer(page, "left")
    panel(page, "Right")
    assert page.inner_text("#study-text") == "It moves more."
    go_on(page, "Right")
    until(lambda: shown(page) not in (None, 2))
    assert not page.inner_text("#question").startswith("Practice")
    assert page.inner_text("#strip-mine") == "0 / 4"
    while not page.locator("#study").is_visible():
        answer(page)
    page.reload()  # in the middle of the break
    until(lambda: page.locator("#study-button").get_attribute("aria-disabled") == "false")
    go_on(page, "A break")
    while not page.locator("#study").is_visible():
        answer(page)
    until(lambda: page.locator("#study-code-text").is_visible())
    assert page.inner_text("#study-code-text") == "C1ABC"
    assert page.locator("#study-link").get_attribute("href") == STUDY.completion.url
    assert page.inner_text("#strip-mine") == "4 / 4"
    labels = viewer.answers()
    assert len(labels) == 4
    assert {a.query for a in labels}.isdisjoint({2, 4})
    assert {a.prefers_right for a in labels} == {0.0}
    assert checks(viewer) == [(2, "practice", 0), (2, "practice", 1), (4, "gold", 0)]


def test_keys_count_once_both_clips_have_played(page: Any, study: Callable[..., RealViewer]) -> None:
    viewer = study(Study(quota=2))
    enter(page, viewer.url())
    has_pair(page)
    page.keyboard.press("Space")  # it never comes to its end
    page.wait_for_timeout(200)
    first = shown(page)
    page.keyboard.press("a")
    assert "to their end first" in page.inner_text("#said")
    page.keyboard.press("x")  # there is no skip either
    assert not page.locator("[data-action=skip]").first.is_visible()
    page.wait_for_timeout(200)
    assert shown(page) == first
    assert viewer.answers() == []
    page.keyboard.press("Space")
    answer(page)
    until(lambda: [a.query for a in viewer.answers()] == [first])


def test_attention_names_the_side_as_the_layout_does(page: Any, study: Callable[..., RealViewer]) -> None:
    viewer = study(Study(quota=8, attention=Attention(every=1), full_play=False))
    page.set_viewport_size({"width": 390, "height": 844})
    enter(page, viewer.url())
    for _ in range(8):  # those that the page holds already come first
        until(lambda: page.evaluate(CAN_ANSWER))
        page.wait_for_timeout(170)
        words = page.inner_text("#question")
        if words.startswith("This is a check"):
            break
        answer(page)
    assert "answer Top is better" in words or "answer Bottom is better" in words
    page.keyboard.press("a" if "Top" in words else "d")
    until(lambda: [row[1:] for row in checks(viewer)] == [("attention", 1)])


def test_who_comes_from_prolific_is_known_by_the_address(page: Any, study: Callable[..., RealViewer]) -> None:
    viewer = study(Study(prolific=True, quota=1, full_play=False, completion=Completion("C2")))
    base, token = viewer.url().split("#")
    page.goto(f"{base}?PROLIFIC_PID=60b7c2a1&SESSION_ID=1#{token}")
    has_pair(page)
    page.wait_for_timeout(170)
    answer(page)
    until(lambda: page.locator("#study-code-text").is_visible())
    assert [a.annotator for a in viewer.answers()] == ["60b7c2a1"]
    page.evaluate("sessionStorage.clear()")  # another tab
    page.goto("about:blank")
    page.goto(viewer.url())
    panel(page, "Open this study from Prolific")
    assert not page.locator("#start").is_visible()


def test_a_killed_server_costs_nothing_in_the_middle_of_a_study(page: Any, study: Callable[..., RealViewer]) -> None:
    viewer = study(Study(quota=4, full_play=False, completion=Completion("C3")))
    enter(page, viewer.url())
    has_pair(page)
    page.wait_for_timeout(170)
    answer(page)
    until(lambda: len(viewer.answers()) == 1)
    viewer.stop()
    answer(page)
    until(lambda: "does not answer" in page.inner_text("#notice-text"))
    viewer.start()
    until(lambda: len(viewer.answers()) == 2)
    while not page.locator("#study").is_visible():
        answer(page)
        page.wait_for_timeout(170)
    until(lambda: page.inner_text("#study-code-text") == "C3")
    assert len(viewer.answers()) == 4
