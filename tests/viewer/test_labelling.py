"""All of it together: a run that trains, the viewer that it opens, a real browser, and a person at the keyboard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from page_driver import shown, until
from tiny import TINY

from pbrl.labels.store import LabelStore

SIZES = ["viewer.open_browser=false", "viewer.width=64", "viewer.height=64", "viewer.repeats=0", "viewer.ahead=6"]
RUN = ["teacher=human", "teacher.mode=block", "feedback.budget=24", "steps=600", *SIZES]


def test_twenty_pairs_by_keyboard_while_a_run_trains(tmp_path: Path, context: Any) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "pbrl", "train", *TINY["pebble"], *RUN, f"run_dir={folder}"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: (folder / "viewer.json").exists(), 60)
    page, errors, elsewhere = context.new_page(), [], []
    url = json.loads((folder / "viewer.json").read_text())["url"]
    origin = url.split("/#")[0]
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: elsewhere.append(r.url.removeprefix("blob:")))
    page.goto(url)
    page.locator("#start").wait_for()
    page.locator("#name").fill("ann")
    page.keyboard.press("Enter")
    keys = ["ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp", "Shift+ArrowLeft"]
    choices = ["left", "right", "equal", "incomparable", "left"]
    given = {}
    for number in range(20):
        until(lambda: shown(page) not in (None, *given), 60)
        page.wait_for_timeout(160)  # no answer is taken sooner
        query = shown(page)
        if number == 7:
            page.keyboard.press("f")  # swap
        given[query] = choices[number % 5]
        page.keyboard.press(keys[number % 5])

    def stored() -> dict[int, Any]:
        with LabelStore(folder, create=False) as store:
            views = {view.answer: view for view in store.views()}
            return {a.query: (a, views[a.id]) for a in store.standing_answers()}

    until(lambda: len(stored()) == 20)
    for query, (answer, view) in stored().items():
        on_screen = {"left": "right", "right": "left"}.get(view.choice, view.choice) if view.swapped else view.choice
        assert on_screen == given[query]
        assert (answer.annotator, answer.kind) == ("ann", "human")
        assert 0 < answer.response_s < 60
        label = {"left": 0.0, "right": 1.0, "equal": 0.5, "incomparable": None}[view.choice]
        if view.strength == "slight":
            label = {0.0: 0.25, 1.0: 0.75}[label]
        assert answer.prefers_right == label
    assert sum(view.strength == "slight" for _, view in stored().values()) == 4
    assert {view.swapped for _, view in stored().values()} == {True, False}
    page.wait_for_timeout(160)
    while run.poll() is None and len(stored()) < 24:
        if shown(page) not in (None, *given):
            given[shown(page)] = "skip"
            page.keyboard.press("x")
        page.wait_for_timeout(200)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0, out
    assert errors == []
    assert [url for url in elsewhere if not url.startswith(origin)] == []
    assert json.loads((folder / "summary.json").read_text())["reward_updates"] > 0
