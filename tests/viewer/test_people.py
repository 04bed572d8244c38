"""A person is more than a typed name: links, cookies, and what is whose."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from page_driver import has_pair, press, until
from real_viewer import RealViewer
from shop import CHANGES, HOST, PORT, TOKEN, DrawnClips, fill, viewer
from starlette.testclient import TestClient

from pbrl.errors import UserError
from pbrl.labels.questions import run_id
from pbrl.labels.store import LabelStore
from pbrl.viewer.people import People, check_people, make_links, name_key

LINKS = {"P01": "1" * 32, "P02": "2" * 32}


class Browser:
    """What one browser sends; all of them by one client, since a server has one thread."""

    def __init__(self, client: Any, run: str, token: str) -> None:
        self.client, self.run = client, run
        self.cookies: dict[str, str] = {}
        self.enter(token)

    def send(self, method: str, path: str, **more: Any) -> Any:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.client.cookies.clear()
        response = self.client.request(method, path, headers=CHANGES | {"cookie": cookie}, **more)
        self.cookies |= dict(response.cookies)
        return response

    def enter(self, token: str) -> Any:
        return self.send("POST", "/api/session", json={"token": token})

    def post(self, path: str, **body: Any) -> Any:
        return self.send("POST", path, json={"run": self.run, **body})

    def next(self, name: str, n: int = 1) -> Any:
        return self.post("/api/next", annotator=name, n=n, holding=[])

    def answer(self, name: str, query: int, number: int = 0, choice: str = "left") -> Any:
        body = {"id": f"{name}-{query}-{number}", "query": query, "annotator": name, "choice": choice}
        body |= {"strength": "clear", "swapped": False, "shown_at": 1.0, "response_ms": 900}
        return self.post("/api/answer", **body, plays_left=1, plays_right=1)

    def status(self, name: str) -> Any:
        return self.send("GET", "/api/status", params={"annotator": name})

    def history(self, name: str) -> Any:
        return self.send("GET", "/api/history", params={"annotator": name})


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Callable[..., Callable[..., Browser]]]:
    """Makes a viewer with these settings; which makes browsers."""

    with ExitStack() as stack:

        def make(pairs: int = 3, **changes: Any) -> Callable[..., Browser]:
            with LabelStore(tmp_path) as store:
                fill(store, pairs)
                run = run_id(store.db)
            app = viewer(tmp_path, DrawnClips(tmp_path), **changes)
            client = stack.enter_context(TestClient(app, base_url=f"http://{HOST}"))
            return lambda token=TOKEN: Browser(client, run, token)

        yield make


def standing(folder: Path) -> list[tuple[str, int]]:
    with LabelStore(folder, create=False) as store:
        return [(a.annotator, a.query) for a in store.standing_answers()]


def test_a_link_says_who_it_is_and_nobody_else_can_be(lab: Any, tmp_path: Path) -> None:
    browser = lab(links=LINKS)
    ann = browser(LINKS["P01"])
    assert ann.enter(LINKS["P01"]).json() == {"person": "P01"}
    assert ann.status("-").json()["person"] == "P01"
    (pair,) = ann.next("P01").json()["pairs"]
    assert ann.answer("P01", pair["query"]).status_code == 200
    for refused in (
        ann.next("P02"),
        ann.answer("P02", 2),
        ann.answer("zoe", 2),
        ann.post("/api/undo", id="P01-1-0", annotator="P02"),
        ann.history("P02"),
        ann.status("P02"),
    ):
        assert refused.status_code == 403
    assert standing(tmp_path) == [("P01", pair["query"])]


def test_history_and_undo_are_for_ones_own_answers(lab: Any, tmp_path: Path) -> None:
    browser = lab(links=LINKS)
    one, two = browser(LINKS["P01"]), browser(LINKS["P02"])
    query = one.next("P01").json()["pairs"][0]["query"]
    one.answer("P01", query)
    assert two.history("P02").json() == {"answers": []}
    assert two.post("/api/undo", id=f"P01-{query}-0", annotator="P02").json() == {"pair": None}
    assert standing(tmp_path) == [("P01", query)]
    assert [a["query"] for a in one.history("p01").json()["answers"]] == [query]


def test_the_shared_address_looks_where_people_have_links(lab: Any, tmp_path: Path) -> None:
    owner = lab(links=LINKS)(TOKEN)
    status = owner.status("-").json()
    assert (status["owner"], status["person"], status["open"]) == (True, None, 3)
    for refused in (owner.next("P01"), owner.answer("P01", 1), owner.answer("zoe", 1), owner.history("P01")):
        assert refused.status_code == 403
    assert standing(tmp_path) == []


def test_two_people_share_a_browser(lab: Any, tmp_path: Path) -> None:
    both = lab(links=LINKS)(LINKS["P01"])
    both.enter(LINKS["P02"])
    for name in LINKS:
        query = both.next(name).json()["pairs"][0]["query"]
        assert both.answer(name, query).status_code == 200
    assert {name for name, _ in standing(tmp_path)} == {"P01", "P02"}


def test_a_cookie_does_not_lead_back_to_the_link_and_dies_with_it(lab: Any) -> None:
    browser = lab(links=LINKS)(LINKS["P01"])
    for name, value in browser.cookies.items():
        assert LINKS["P01"] not in value
        assert "P01" not in name
    jar = dict(browser.cookies)
    people = People(TOKEN, f"pbrl_{PORT}", LINKS)
    assert [seat.person for seat in people.seats(jar)] == ["P01"]
    assert People("new", f"pbrl_{PORT}", {**LINKS, "P01": "renewed"}).seats(jar) == []
    for name, value in jar.items():  # neither the token nor another person's proof will do
        other = next(k for k in people.enter(LINKS["P02"], {}) or () if isinstance(k, str))
        for forged in ({name: LINKS["P01"]}, {name: value[:-1]}, {name: f"x{value}"}, {other: value}, {name: "."}):
            assert people.seats(forged) == []


def test_a_browser_stays_the_same_one_when_it_opens_its_link_again(lab: Any) -> None:
    browser = lab(links=LINKS)(LINKS["P01"])
    before = dict(browser.cookies)
    browser.enter(LINKS["P01"])
    assert browser.cookies == before


@pytest.mark.parametrize(("changes", "token"), [({}, TOKEN), ({"links": LINKS}, LINKS["P01"])])
def test_two_browsers_of_one_name_are_told(lab: Any, changes: dict[str, Any], token: str) -> None:
    browser = lab(**changes)
    first, second = browser(token), browser(token)
    assert first.status("P01").json()["elsewhere"] is False
    assert second.status("p01 ").json()["elsewhere"] is True
    assert first.status("P01").json()["elsewhere"] is True
    assert second.status("-").json()["elsewhere"] is bool(changes)  # nobody yet, unless the link says who


@pytest.mark.parametrize("spelling", ["ANN LEE", "ann lee", "  Ann  Lee ", "\uff21nn \uff2cee", "Ann\u00a0Lee"])
def test_spellings_of_one_name_are_one_person(lab: Any, tmp_path: Path, spelling: str) -> None:
    browser = lab(overlap=2)()
    query = browser.next("Ann Lee").json()["pairs"][0]["query"]
    browser.answer("Ann Lee", query)
    browser.answer(spelling, query, 1, "right")  # a changed mind
    assert standing(tmp_path) == [("Ann Lee", query)]
    assert query not in [pair["query"] for pair in browser.next(spelling, 3).json()["pairs"]]
    assert len(browser.history(spelling).json()["answers"]) == 1
    assert browser.status(spelling).json()["mine"]["answers"] == 1


def test_sharp_s_and_capitals_of_other_languages_count_as_one() -> None:
    assert name_key("STRASSE") == name_key("straße")
    assert name_key("ΣΊΣΥΦΟΣ") == name_key("Σίσυφος")
    assert name_key("Ann") != name_key("Anna")


@pytest.mark.parametrize("bad", ["", " ", "a:b", "a\nb", "x" * 61, "a\u200bb", "\u3000", "a\uff1ab"])
def test_names_that_are_none_are_refused(lab: Any, bad: str) -> None:
    assert lab()().next(bad).status_code == 400


def test_people_are_different_people() -> None:
    assert check_people(["P01", "P02"]) == ["P01", "P02"]
    with pytest.raises(UserError, match="'P01' and 'p01', which count as one"):
        check_people(["P01", "\uff5001"])
    with pytest.raises(UserError, match="without a colon"):
        check_people(["scripted:oracle"])


def test_links_stay_until_they_are_renewed() -> None:
    first = make_links(["P01", "P02"], {})
    assert len(set(first.values())) == 2
    again = make_links(["p01", "P02", "P03"], first)
    assert (again["p01"], again["P02"]) == (first["P01"], first["P02"])
    renewed = make_links(["P01", "P02"], first, ["P02"])
    assert (renewed["P01"] == first["P01"], renewed["P02"] == first["P02"]) == (True, False)
    with pytest.raises(UserError, match="renew=P9: valid are all, P01"):
        make_links(["P01"], {}, ["P9"])


def test_links_in_the_folder_of_clips_are_not_followed(lab: Any, tmp_path: Path) -> None:
    browser = lab()()
    clips = tmp_path / "clips"
    clips.mkdir()
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    (clips / f"{1:032x}.mp4").symlink_to(secret)
    (clips / f"{2:032x}.mp4").mkdir()
    os.mkfifo(clips / f"{3:032x}.mp4")
    (clips / f"{4:032x}.mp4").write_bytes(b"clip")
    codes = [browser.send("GET", f"/clips/{n:032x}.mp4").status_code for n in (1, 2, 3, 4)]
    assert codes == [404, 404, 404, 200]


def begin(page: Any, url: str) -> None:
    page.goto(url)
    page.locator("#start").wait_for()
    page.keyboard.press("Enter")
    has_pair(page)
    page.wait_for_timeout(160)


def test_a_link_opens_the_page_of_its_person(browser: Any, real: Callable[..., RealViewer]) -> None:
    server = real(links=LINKS)
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url(token=LINKS["P01"]))
    page.locator("#start-person-name").wait_for()
    assert page.inner_text("#start-person-name") == "P01"
    assert not page.locator("#name").is_visible()
    page.keyboard.press("Enter")
    has_pair(page)
    page.wait_for_timeout(160)
    press(page, "a")
    until(lambda: [a.annotator for a in server.answers()] == ["P01"])
    page.reload()  # without the token, and without saying anything
    has_pair(page)
    other = context.new_page()  # another person at the same browser
    begin(other, server.url(token=LINKS["P02"]))
    page.reload()
    has_pair(page)
    page.wait_for_timeout(160)
    press(page, "d")
    press(other, "s")
    until(lambda: sorted(a.annotator for a in server.answers()) == ["P01", "P01", "P02"])
    elsewhere = browser.new_context()
    third = elsewhere.new_page()
    begin(third, server.url(token=LINKS["P01"]))
    for one in (page, third):
        one.locator("#notice[data-id=elsewhere]").wait_for()
        assert "P01 also labels in another browser" in one.inner_text("#notice-text")
    third.goto(server.url(token=LINKS["P02"]))  # another person's link in the same tab
    until(lambda: third.locator("#start-person-name").inner_text() == "P02")
    elsewhere.close()
    context.close()


def test_the_shared_address_says_that_it_is_for_looking(remote: Any, real: Callable[..., RealViewer]) -> None:
    remote.goto(real(links=LINKS).url())
    remote.locator("#empty[data-state=owner]").wait_for()
    assert not remote.locator("#start").is_visible()
