"""Full, locked and broken: answers stay in the browser, the page names the cause, and all arrive once it is mended."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from page_driver import has_pair, kept, open_pair, press, shown, until
from real_viewer import RealViewer
from shop import CHANGES, TOKEN, DrawnClips, fill, viewer
from starlette.testclient import TestClient

from pbrl.labels.questions import run_id
from pbrl.labels.store import LabelStore
from pbrl.viewer.client import ViewerClient


@contextmanager
def locked(server: RealViewer) -> Iterator[None]:
    """Another process writes, for long."""
    other = sqlite3.connect(server.folder / "labels.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def full(server: RealViewer) -> Iterator[None]:
    """No file of this process may grow: SQLite's log takes no page more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def copies(folder: Path) -> list[Path]:
    return [folder / f"labels.sqlite{end}" for end in ("", "-wal", "-shm")]


@contextmanager
def damaged(server: RealViewer) -> Iterator[None]:
    """Something else has the name, and then the store again."""
    store = server.folder / "labels.sqlite"
    sqlite3.connect(store).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = server.folder / "copy"
    shutil.copy(store, copy)
    for file in copies(server.folder):
        file.unlink(missing_ok=True)
    store.write_bytes(b"no database" * 1000)
    try:
        yield
    finally:
        store.unlink()
        copy.rename(store)


@contextmanager
def missing(server: RealViewer) -> Iterator[None]:
    moved = [(file, file.with_suffix(f"{file.suffix}.away")) for file in copies(server.folder) if file.exists()]
    for file, away in moved:
        file.rename(away)
    try:
        yield
    finally:
        for file, away in moved:
            away.rename(file)


FAULTS = {
    "locked": (locked, "another process"),
    "full": (full, "disk"),
    "damaged": (damaged, "not a database"),
    "missing": (missing, "is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_answers_wait_in_the_browser_and_arrive(remote: Any, real: Callable[..., RealViewer], fault: str) -> None:
    bring_about, named = FAULTS[fault]
    server = real(pairs=12)
    open_pair(remote, server.url())
    press(remote, "a")
    until(lambda: len(server.answers()) == 1)
    remote.wait_for_timeout(700)  # three pairs ahead
    with bring_about(server):
        given = [shown(remote), *(press(remote, "d") for _ in range(3))]
        notice = remote.locator("#notice[data-id=stuck], #notice[data-id=fault]")
        notice.wait_for()
        assert named in notice.inner_text()
        assert str(server.folder) not in notice.inner_text()  # where it is, is nobody's business
        remote.keyboard.press("d")  # the last pair that the page has
        empty = remote.locator("#empty[data-state=fault]")
        empty.wait_for()
        assert named in empty.inner_text()
        assert "oading" not in empty.inner_text()
        remote.reload()
        until(lambda: named in remote.inner_text("#empty-text") if fault != "full" else True)
        assert len(kept(remote, "outbox")) == 4
    until(lambda: len(server.answers()) == 5)
    until(lambda: kept(remote, "outbox") == [])
    assert {a.query for a in server.answers()} >= set(given)
    assert kept(remote, "refused") == []
    has_pair(remote)  # and it goes on


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    with LabelStore(tmp_path) as store:
        fill(store, 3)
        run = run_id(store.db)
    with TestClient(viewer(tmp_path, DrawnClips(tmp_path)), base_url="http://127.0.0.1:8765") as client:
        client.post("/api/session", json={"token": TOKEN}, headers=CHANGES)
        client.folder, client.run = tmp_path, run
        yield client


def answer(client: Any, name: str, query: int = 1) -> Any:
    body = {"run": client.run, "id": name, "query": query, "annotator": "ann", "choice": "left", "strength": "clear"}
    body |= {"swapped": False, "shown_at": 1.0, "response_ms": 900, "plays_left": 1, "plays_right": 1}
    return client.post("/api/answer", json=body, headers=CHANGES)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["/api/answer", "/api/undo", "/api/next"])
def test_a_fault_that_may_pass_is_no_refusal(client: Any, fault: str, path: str) -> None:
    bring_about, named = FAULTS[fault]
    assert answer(client, "first").status_code == 200
    body = {"id": "first", "annotator": "ann", "n": 1, "holding": []}

    def send() -> Any:
        if path == "/api/answer":
            return answer(client, "second", 2)
        return client.post(path, json={"run": client.run, **body}, headers=CHANGES)

    with bring_about(client):
        response = send()
        assert (response.status_code, named in response.json()["error"]) == (503, True)
        assert str(client.folder) not in response.text
    time.sleep(1.1)  # between tries to open it
    assert send().status_code == 200


def test_others_are_served_while_one_waits_for_a_lock(real: Callable[..., RealViewer]) -> None:
    server = real()
    ann, bob = ViewerClient(server.url(), "ann"), ViewerClient(server.url(), "bob")
    for person in (ann, bob):
        person.enter()
    with ThreadPoolExecutor() as pool:
        with locked(server):
            waiting = pool.submit(ann.next, 1)
            time.sleep(0.2)
            took = []
            for _ in range(20):
                begun = time.monotonic()
                bob.status()
                took.append(time.monotonic() - begun)
            assert not waiting.done()
        assert len(waiting.result(10)) == 1
    assert sorted(took)[15] < 0.5


def test_a_program_hears_why_it_is_refused(real: Callable[..., RealViewer]) -> None:
    server = real()
    with pytest.raises(OSError, match=r"^HTTP Error 401: no session: open the address that pbrl printed"):
        ViewerClient(server.url(), "ann").status()
    with pytest.raises(OSError, match=r"^HTTP Error 401: .*token"):
        ViewerClient(server.url(token="wrong"), "ann").enter()
    ann = ViewerClient(server.url(), "ann")
    ann.enter()
    (pair,) = ann.next()
    with pytest.raises(OSError, match=r"^HTTP Error 400: .*choice.*banana.*left, right"):
        ann.answer(pair, "banana")
    with pytest.raises(OSError, match=r"^HTTP Error 404: (?!Not Found)"):
        ann.fetch("/clips/none.mp4")


def test_a_store_that_was_replaced_gets_the_answers_that_follow(client: Any) -> None:
    """A connection to the file that is gone would take them without a word."""
    assert answer(client, "first").status_code == 200
    sqlite3.connect(client.folder / "labels.sqlite").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(client.folder / "labels.sqlite", client.folder / "copy")
    for file in copies(client.folder):
        file.unlink(missing_ok=True)
    (client.folder / "copy").rename(client.folder / "labels.sqlite")
    assert answer(client, "second", 2).status_code == 200
    with LabelStore(client.folder, create=False) as store:
        assert {a.query for a in store.standing_answers()} == {1, 2}


def test_refused_answers_are_sent_again_or_saved(page: Any, server: Any) -> None:
    open_pair(page, server)
    server.fake.refuses = (400, "choice: no")
    press(page, "a")
    page.locator("#notice[data-id=refused]").wait_for()
    with page.expect_download() as download:
        page.locator("#save-refused").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert [(entry["path"], entry["body"]["query"], entry["error"]) for entry in saved] == [
        ("/api/answer", 1, "choice: no")
    ]
    sender = ViewerClient(server.url, "ann")
    sender.post("/api/session", {"token": sender.token})
    server.fake.refuses = None
    assert sender.send_saved(Path(download.value.path())) == 1
    assert [a["query"] for a in server.fake.answers.values()] == [1]
    page.locator("#send-again").click()
    until(lambda: len(server.fake.deliveries) == 3)  # and counts once
    assert len(server.fake.answers) == 1
    until(lambda: kept(page, "refused") == kept(page, "outbox") == [])
    page.locator("#send-again").wait_for(state="hidden")


def test_the_cause_is_named_where_a_clip_cannot_be_fetched(page: Any, server: Any) -> None:
    page.route("**/clips/*", lambda route: route.fulfill(status=404, headers={"x-pbrl": "1"}, json={"error": "gone"}))
    page.goto(server.url)
    page.locator("#name").fill("ann")
    page.keyboard.press("Enter")
    page.locator("#empty[data-state=trouble]").wait_for()
    assert "gone" in page.inner_text("#empty-text")


def test_a_browser_without_storage_says_to_stay(page: Any, server: Any) -> None:
    page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
    open_pair(page, server)
    page.wait_for_timeout(500)
    server.stop()
    press(page, "a")
    page.locator("#notice[data-id=unsaved]").wait_for()
    server.start()
    until(lambda: len(server.fake.answers) == 1)
    page.locator("#notice[data-id=unsaved]").wait_for(state="detached")
