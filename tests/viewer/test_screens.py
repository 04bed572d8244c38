"""Phones, small laptops and pages zoomed to twice their size: both clips and the answers are in sight at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from fake_server import Running
from page_driver import open_pair, out_of_sight, press, scrolls_sideways, shown, until


class Screen(NamedTuple):
    width: int  # CSS pixels
    height: int
    scale: float = 1  # pixels of the screen to each
    touch: bool = False


SCREENS = {
    "phone": Screen(390, 844, 3, True),
    "small phone": Screen(360, 640, 2, True),
    "phone on its side": Screen(844, 390, 3, True),
    "tablet": Screen(820, 1180, 2, True),
    "laptop": Screen(1366, 625),
    "zoomed": Screen(640, 400, 2),  # 1280 x 800 at 200 %
    "laptop zoomed": Screen(683, 312, 2),
    "narrow window": Screen(500, 900),
}
UPRIGHT = {"phone", "small phone", "tablet", "narrow window"}


@pytest.fixture(params=SCREENS)
def screen(request: Any, browser: Any) -> Iterator[tuple[str, Any]]:
    width, height, scale, touch = SCREENS[request.param]
    size = {"width": width, "height": height}
    context = browser.new_context(viewport=size, device_scale_factor=scale, has_touch=touch, is_mobile=touch)
    context.set_default_timeout(20_000)
    yield request.param, context.new_page()
    context.close()


WORK = [".deck.active .clip", ".answers button:not([hidden])", "#pause", "#scrub"]


def test_clips_and_answers_are_in_sight_at_once(screen: tuple[str, Any], server: Running) -> None:
    _, page = screen
    page.goto(server.url)
    page.locator("#start").wait_for()
    assert not scrolls_sideways(page)
    open_pair(page, server)
    for trainer in ("training", "waiting"):  # without and with a line of notice
        server.fake.status |= {"trainer": trainer, "can_continue": True, "waiting_s": 5.0, "timeout_s": 500.0}
        if trainer == "waiting":
            page.locator("#notice[data-id=waiting]").wait_for()
        page.wait_for_timeout(150)
        assert out_of_sight(page, *WORK) == []
        assert not scrolls_sideways(page)
    clip = page.locator(".deck.active .clip").first.bounding_box()
    assert min(clip["width"], clip["height"]) >= 95


def test_words_say_where_the_clips_are(screen: tuple[str, Any], server: Running) -> None:
    name, page = screen
    open_pair(page, server)
    first, second = (page.locator(f".deck.active .clip.{side}").bounding_box() for side in ("left", "right"))
    upright = name in UPRIGHT
    assert (first["y"] < second["y"], first["x"] < second["x"]) == (upright, not upright)
    names = ["Top", "Bottom"] if upright else ["Left", "Right"]
    assert page.locator(".main span").all_inner_texts() == [f"{side} is better" for side in names]
    label = page.locator(".deck.active .left video").get_attribute("aria-label")
    assert label == f"{names[0]} clip"
    press(page, "d")
    assert page.locator("#said").inner_text() == f"Answer 1: {names[1].lower()} is better"


def test_panels_fit_the_screen(screen: tuple[str, Any], server: Running) -> None:
    _, page = screen
    open_pair(page, server)
    press(page, "a")
    for key, panel in (("?", "help"), ("h", "history")):
        page.keyboard.press(key)
        page.locator(f"#{panel}").wait_for()
        page.wait_for_timeout(200)
        box = page.locator(f"#{panel}").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.viewport_size["width"] + 0.5
        assert not scrolls_sideways(page)
        page.keyboard.press("Escape")


def test_a_touch_answers_and_everything_can_be_reached(browser: Any, server: Running) -> None:
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, device_scale_factor=3, has_touch=True, is_mobile=True)
    page = context.new_page()
    open_pair(page, server)
    for number, action in enumerate(("left", "right", "equal", "skip")):
        button = page.locator(f".answers [data-action={action}]").first
        assert button.bounding_box()["height"] >= 36
        before = shown(page)
        button.tap()
        until(lambda before=before: shown(page) != before)
        page.wait_for_timeout(200)
        until(lambda number=number: len(server.fake.answers) == number + 1)
    assert not page.locator("[data-action=swap]").is_visible()
    page.locator("#more").tap()
    for action in ("stepBack", "slower", "swap", "camera"):
        assert page.locator(f"[data-action={action}]").is_visible()
    assert page.locator("#more").get_attribute("aria-expanded") == "true"
    page.locator("[data-action=swap]").tap()
    assert page.locator(".deck.active.flipped").count() == 1
    assert not scrolls_sideways(page)
    context.close()


def test_a_window_that_changes_its_shape_changes_the_words(page: Any, server: Running) -> None:
    open_pair(page, server)
    words = page.locator(".main span").first
    for size, word in (((500, 900), "Top"), ((1280, 700), "Left")):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        until(lambda word=word: words.inner_text() == f"{word} is better")
