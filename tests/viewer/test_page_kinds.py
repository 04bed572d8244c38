"""Other questions than pairs in a real browser, each by keyboard: what is stored is about the clip pointed at."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from page_driver import has_pair, open_pair, until
from real_viewer import RealViewer
from test_desk_kinds import one


def on_show(page: Any) -> list[int]:
    """Which item each clip of the screen is; the clips of a test are named by question and item."""
    names = page.evaluate("pbrlNames()")
    query = int(page.evaluate("document.querySelector('#grid').dataset.query"))
    return [int(name, 16) - 2 * query for name in names]


WATCH = """
const names = new Map(); // which clip a blob URL is
const made = URL.createObjectURL, fetched = globalThis.fetch;
let last = [];
globalThis.fetch = async (path, ...more) => {
  const response = await fetched(path, ...more);
  const clip = /clips\\/([0-9a-f]{32})/.exec(path);
  if (clip) {
    const blob = response.blob.bind(response);
    response.blob = async () => Object.assign(await blob(), { clip: clip[1] });
  }
  return response;
};
URL.createObjectURL = (blob) => { const url = made.call(URL, blob); names.set(url, blob.clip); return url; };
globalThis.pbrlNames = () => [...document.querySelectorAll("#grid video")].map((v) => names.get(v.src));
"""


def start(page: Any, real: Callable[..., RealViewer], *kinds: str, **about: Any) -> RealViewer:
    server = real(pairs=0, questions=[one(kind, **about) for kind in kinds])
    page.add_init_script(WATCH)
    page.goto(server.url())
    page.locator("#start").wait_for()
    page.locator("#name").fill("ann")
    page.keyboard.press("Enter")
    page.locator("#grid.active").wait_for()
    page.wait_for_timeout(200)
    return server


def value(server: RealViewer) -> Any:
    until(lambda: len(server.answers()) == 1)
    return server.answers()[0].value


@pytest.mark.parametrize(
    ("kind", "keys", "places"),
    [("best", "3", [2]), ("worst", "1", [0]), ("best_and_worst", "42", [3, 1]), ("ranking", "314", [2, 0, 3, 1])],
)
def test_clips_are_chosen_by_number(
    remote: Any, real: Callable[..., RealViewer], kind: str, keys: str, places: list[int]
) -> None:
    server = start(remote, real, kind)
    items = on_show(remote)
    assert sorted(items) == [0, 1, 2, 3]
    for key in keys:
        remote.keyboard.press(key)
        remote.wait_for_timeout(60)
    assert value(server) == tuple(items[place] for place in places)


def test_what_is_chosen_can_be_taken_back_before_it_is_complete(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = start(remote, real, "ranking")
    items = on_show(remote)
    for key in ("1", "2", "z", "2", "2", "Backspace", "4", "3", "1"):  # the second 2 and Backspace take back
        remote.keyboard.press(key)
        remote.wait_for_timeout(60)
    assert value(server) == tuple(items[place] for place in (3, 2, 0, 1))
    remote.locator("#empty").wait_for()
    assert not remote.locator("#kind-answers").is_visible()


def test_a_click_on_a_clip_chooses_it(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = start(remote, real, "best_and_worst")
    items = on_show(remote)
    for place in (1, 0):
        remote.locator("#grid .item").nth(place).click()
        remote.wait_for_timeout(100)
    assert value(server) == (items[1], items[0])


@pytest.mark.parametrize(("key", "closer"), [("ArrowLeft", 0), ("d", 1), ("s", None)])
def test_a_triplet_is_answered_by_arrows(
    remote: Any, real: Callable[..., RealViewer], key: str, closer: int | None
) -> None:
    server = start(remote, real, "triplet")
    items = on_show(remote)
    boxes = [remote.locator("#grid .item").nth(i).bounding_box()["x"] for i in range(3)]
    assert items[0] == 0
    assert boxes[1] < boxes[0] < boxes[2]  # the reference stands in the middle
    remote.keyboard.press(key)
    assert value(server) == (0.5 if closer is None else float(items[1 + closer] == 2),)


def test_a_rating_by_number_and_by_slider(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = start(remote, real, "rating")
    remote.keyboard.press("9")  # no grade of this scale
    remote.wait_for_timeout(200)
    assert server.answers() == []
    remote.keyboard.press("4")
    assert value(server) == (4.0,)


def test_success_with_the_moment(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = start(remote, real, "outcome")
    remote.keyboard.press("Space")
    remote.wait_for_timeout(200)
    remote.locator("#scrub").fill("6")
    remote.wait_for_timeout(100)
    remote.locator("#scrub").blur()
    remote.keyboard.press(".")
    remote.wait_for_timeout(100)
    remote.keyboard.press("m")
    assert remote.inner_text("#progress") == "marked: frame 8"
    remote.keyboard.press("ArrowRight")
    assert value(server) == (1, 7)


def test_kinds_follow_each_other_and_answers_are_undone(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = real(pairs=1, questions=[one("rating"), one("best"), one("triplet")])
    remote.goto(server.url())
    remote.locator("#start").wait_for()
    remote.locator("#name").fill("ann")
    remote.keyboard.press("Enter")
    for kind, key in (("triplet", "a"), ("choice", "2"), ("rating", "5")):
        remote.locator(f"#grid.active[data-kind={kind}]").wait_for()
        remote.wait_for_timeout(200)
        remote.keyboard.press(key)
    has_pair(remote)
    assert remote.locator("#grid.active").count() == 0
    assert remote.inner_text("#question") == "Which?"
    remote.wait_for_timeout(200)
    remote.keyboard.press("d")
    until(lambda: len(server.answers()) == 4)
    remote.keyboard.press("z")
    has_pair(remote)
    remote.wait_for_timeout(200)
    remote.keyboard.press("z")
    remote.locator("#grid.active[data-kind=rating]").wait_for()
    until(lambda: len(server.answers()) == 2)
    remote.keyboard.press("h")
    rows = remote.locator("#history-list strong")
    rows.nth(1).wait_for()
    assert rows.all_inner_texts() == ["best: 2", "left is closer"]
    rows.nth(1).click()
    remote.locator("#grid.active[data-kind=triplet]").wait_for()
    remote.wait_for_timeout(200)
    remote.keyboard.press("ArrowDown")
    until(lambda: [a.value for a in server.answers() if a.value == (0.5,)] == [(0.5,)])


def test_reasons_are_given_by_number_keys(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = real(tags=("falls", "slow", "shakes"))
    open_pair(remote, server.url())
    for key in ("1", "3", "1", "2"):  # the second 1 takes it back
        remote.keyboard.press(key)
        remote.wait_for_timeout(50)
    assert remote.locator("#tags [aria-pressed=true]").all_inner_texts() == ["slow 2", "shakes 3"]
    remote.keyboard.press("a")
    until(lambda: len(server.answers()) == 1)
    with sqlite3.connect(server.folder / "labels.sqlite") as db:
        assert db.execute("SELECT tag FROM tags ORDER BY tag").fetchall() == [("shakes",), ("slow",)]
    remote.wait_for_timeout(300)
    assert remote.locator("#tags [aria-pressed=true]").count() == 0  # of that answer alone


def test_a_pair_by_another_criterion_asks_its_own_question(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = real(pairs=0, questions=[one("pair", criterion="safety")], criteria={"safety": "Which one is safer?"})
    open_pair(remote, server.url())
    assert remote.inner_text("#question") == "Which one is safer?"
