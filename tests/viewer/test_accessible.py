"""Every page without violations by axe (the rules of WCAG 2.2, and good practice), in light and in dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_server import Running
from page_driver import open_pair, sign_in, until
from real_viewer import RealViewer
from test_desk_kinds import one
from test_study_page import STUDY, answer, enter, go_on, panel
from test_watching import make_live


@pytest.fixture
def check() -> Callable[[Any], None]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()

    def check(page: Any) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page).response
            assert len(found["passes"]) > 10
            wrong = [f"{v['id']}: {[node['html'][:120] for node in v['nodes']]}" for v in found["violations"]]
            assert wrong == [], scheme
        page.emulate_media(color_scheme="light")

    return check


def test_pairs_and_the_panels_over_them(page: Any, server: Running, check: Any) -> None:
    page.goto(server.url)
    page.locator("#start").wait_for()
    check(page)
    open_pair(page, server)
    check(page)
    for key, dialog in (("?", "#help"), ("h", "#history")):
        page.keyboard.press(key)
        page.locator(dialog).wait_for()
        check(page)
        page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page)


def test_nothing_to_answer(page: Any, server: Running, check: Any) -> None:
    server.fake.pairs_left = 0
    sign_in(page, server)
    page.locator("#empty").wait_for()
    check(page)


@pytest.mark.parametrize("kind", ["ranking", "triplet", "rating", "outcome"])
def test_other_questions(remote: Any, real: Callable[..., RealViewer], check: Any, kind: str) -> None:
    enter(remote, real(pairs=0, questions=[one(kind)]).url())
    remote.locator("#grid.active").wait_for()
    check(remote)


def test_a_study(remote: Any, real: Callable[..., RealViewer], check: Any) -> None:
    enter(remote, real(8, study=STUDY).url())
    for title in ("Before you take part", "What you do"):
        panel(remote, title)
        check(remote)
        go_on(remote, title)
    answer(remote, "right")
    panel(remote, "Not quite")
    check(remote)
    go_on(remote, "Not quite")
    answer(remote, "left")
    go_on(remote, "Right")
    while not remote.locator("#study").is_visible():
        answer(remote)
    check(remote)  # a break
    until(lambda: remote.locator("#study-button").get_attribute("aria-disabled") == "false")
    go_on(remote, "A break")
    while not remote.locator("#study").is_visible():
        answer(remote)
    until(lambda: remote.locator("#study-code-text").is_visible())
    check(remote)


def test_watching(remote: Any, real: Callable[..., RealViewer], check: Any) -> None:
    viewer = real(0, watch=make_live)
    remote.goto(viewer.url())
    remote.locator("#name").wait_for()
    check(remote)
    remote.locator("#name").fill("ann")
    remote.keyboard.press("Enter")
    until(lambda: remote.locator("#watch-picture").get_attribute("data-step") not in (None, "0"))
    remote.keyboard.press(" ")
    check(remote)
    remote.goto("about:blank")
    viewer.server.should_exit = True  # in order, so that the simulator is closed in its own thread
    viewer.thread.join(20)
