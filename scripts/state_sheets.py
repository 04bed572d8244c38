"""Sheets of every state of the viewer's page for docs/viewer.md: wide and on a phone, light and dark.

python scripts/state_sheets.py FOLDER docs/viewer      FOLDER: a new one for the questions that are shown

Needs Chromium and Playwright (the extra `test`).
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from PIL import Image, ImageDraw
from served_page import change_status, serve, wait_until
from viewer_pictures import STATES

from pbrl.building import build
from pbrl.config import compose_config
from pbrl.data.episodes import EpisodeStore
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice, Outcome, Rating, Triplet
from pbrl.training.rollout import random_policy, roll_out

STEPS, PAIRS, RANKED = 50, 4, 6
KINDS = {"pair": "pair", "ranking": "choice", "triplet": "triplet", "rating": "rating", "outcome": "outcome"}
PANELS = {"help": "?", "history": "h"}
LOOKS: dict[str, tuple[dict[str, Any], int, int]] = {  # of a browser, pictures in a row, pixels of one's width
    "wide": ({"viewport": {"width": 1200, "height": 860}}, 4, 420),
    "phone": ({"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}, 8, 210),
}
SCHEMES, TITLE, GAP = ("light", "dark"), 18, 8
READ = "document.querySelector('#grid.active')?.dataset.kind ?? (document.querySelector('.deck.active') && 'pair')"


def make_questions(folder: Path) -> None:
    """Make one question of each kind, about a cheetah that moves at random; pairs come first."""
    folder.mkdir(parents=True)
    config = compose_config(["env=halfcheetah", "teacher=human", "viewer.tags=[falls,slow,shakes]"])
    OmegaConf.save(config, folder / "config.yaml")
    episodes, rng = EpisodeStore(2), torch.Generator().manual_seed(0)
    episodes.add(roll_out(partial(build, config.env.make), random_policy(6, 0), 2, 0, envs=1))

    def drawn(items: int, n: int = 1) -> tuple[Any, Any]:
        found = episodes.sample_lists(n, items, STEPS, rng, 2)
        return found, tuple(episodes.states(item.ids.numpy(), item.steps) for item in found)

    with LabelStore(folder) as store:
        segments, states = drawn(1)
        store.ask(0, 0, Outcome(segments[0], states), sampler="pictures")
        segments, states = drawn(1)
        store.ask(1, 0, Rating(segments[0], "stars", 1, 5, states), sampler="pictures")
        segments, states = drawn(3)
        store.ask(2, 0, Triplet(*segments, states), sampler="pictures")
        segments, states = drawn(RANKED)
        store.ask(3, 0, Choice(tuple(segments), "ranking", states), sampler="pictures")
        (left, right), _ = drawn(2, PAIRS)
        store.ask(4, 0, episodes.as_question(left, right), sampler="pictures")


class Camera:
    """Photographs states in one look, each as somebody new sees it."""

    def __init__(self, browser: Any, url: str, look: str) -> None:
        self.browser, self.url, self.look = browser, url, look
        self.taken: dict[str, dict[str, Image.Image]] = {scheme: {} for scheme in SCHEMES}
        self.scratch = Path(os.environ.get("TMPDIR", "/tmp")) / f"pbrl_state_{os.getpid()}.png"

    def page(self, name: str, *, enter: bool = True) -> Any:
        page = self.browser.new_page(**LOOKS[self.look][0])
        page.goto(self.url)
        page.locator("#start").wait_for()
        page.locator("#name").fill(f"{self.look} {name}")
        if enter:
            page.keyboard.press("Enter")
        return page

    def shoot(self, page: Any, name: str) -> None:
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(400)
            page.screenshot(path=self.scratch)
            self.taken[scheme][name] = Image.open(self.scratch).convert("RGB")
        self.scratch.unlink()

    def states(self) -> None:
        page = self.page("start", enter=False)
        self.shoot(page, "start")
        page.close()
        page = self.page("questions")
        for name, kind in KINDS.items():
            while wait_until(lambda: page.evaluate(READ)) != kind:
                page.keyboard.press("ArrowLeft" if name == "ranking" else "x")  # pairs are answered, for the history
                page.wait_for_timeout(600)
            page.wait_for_timeout(1200)
            self.shoot(page, name)
        for name, key in PANELS.items():
            page.keyboard.press(key)
            page.wait_for_timeout(2500)
            self.shoot(page, name)
            page.keyboard.press("Escape")
        page.context.set_offline(True)
        page.keyboard.press("x")
        page.wait_for_timeout(4000)
        self.shoot(page, "offline")
        page.close()
        for name, change in STATES.items():
            self._empty(name, change)

    def _empty(self, name: str, change: dict[str, Any]) -> None:
        page = self.browser.new_page(**LOOKS[self.look][0])
        change_status(page, change)
        page.goto(self.url)
        page.locator("#start").wait_for()
        page.locator("#name").fill(f"{self.look} {name}")
        page.keyboard.press("Enter")
        page.wait_for_timeout(3000)
        self.shoot(page, name)
        page.unroute_all(behavior="ignoreErrors")  # what is under way
        page.close()

    def sheet(self, scheme: str) -> Image.Image:
        pictures = self.taken[scheme]
        _, columns, width = LOOKS[self.look]
        small = {name: p.resize((width, round(p.height * width / p.width))) for name, p in pictures.items()}
        height = max(p.height for p in small.values()) + TITLE
        rows = -(-len(small) // columns)
        ground, ink = ("#ffffff", "#000000") if scheme == "light" else ("#000000", "#ffffff")
        sheet = Image.new("RGB", (columns * (width + GAP), rows * (height + GAP)), ground)
        for i, (name, picture) in enumerate(small.items()):
            x, y = (i % columns) * (width + GAP), (i // columns) * (height + GAP)
            ImageDraw.Draw(sheet).text((x + 2, y + 3), name, fill=ink)
            sheet.paste(picture, (x, y + TITLE))
        return sheet.quantize(200)


def main(folder: Path, out: Path) -> None:
    make_questions(folder)
    words = ["open_browser=false", "overlap=50", "repeats=0", "ahead=20"]
    with serve(folder, "label", f"run={folder}", *words) as (browser, url):
        for look in LOOKS:
            camera = Camera(browser, url, look)
            camera.states()
            for scheme in SCHEMES:
                camera.sheet(scheme).save(out / f"states_{look}_{scheme}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
