"""The page opened by another name than localhost, as from other machines, where browsers offer less to it."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_driver import ELSEWHERE, open_pair, press, until
from real_viewer import RealViewer

from pbrl.errors import UserError
from pbrl.viewer.addresses import reachable_names, read_certificate
from pbrl.viewer.client import ViewerClient

KEYS = {"ArrowLeft": "left", "ArrowRight": "right", "ArrowDown": "equal", "x": "skip"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: Any) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = f"subjectAltName=DNS:{ELSEWHERE},IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={ELSEWHERE}", "-addext", names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def label_by_keyboard(page: Any, server: RealViewer) -> None:
    for key in KEYS:
        press(page, key)
    press(page, "z")
    until(lambda: len(server.answers()) == len(KEYS) - 1)
    page.keyboard.press("h")
    page.locator("#history-list .row").nth(len(KEYS) - 2).wait_for()


def test_people_label_by_the_name_of_the_machine_over_http(remote: Any, real: Callable[..., RealViewer]) -> None:
    server = real()
    open_pair(remote, server.url(ELSEWHERE))
    assert remote.evaluate("isSecureContext") is False
    assert remote.evaluate("typeof crypto.randomUUID") == "undefined"  # what this test is about
    label_by_keyboard(remote, server)


def test_people_label_over_https(browser: Any, real: Callable[..., RealViewer], certificate: tuple[Path, Path]) -> None:
    server = real(tls=certificate)
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    open_pair(page, server.url(ELSEWHERE))
    assert [cookie["secure"] for cookie in context.cookies()] == [True]
    label_by_keyboard(page, server)
    context.close()
    client = ViewerClient(server.url(), "robot", certificate[0])
    client.enter()
    assert client.status()["mine"]["answers"] == 0
    with pytest.raises(OSError, match=r"(?i)certificate"):
        ViewerClient(server.url(), "robot").enter()


AT_H = "document.addEventListener('keydown', (event) => { if (event.key === 'h') %s; });"
BREAK = AT_H % "throw new TypeError('no such thing')"
REJECT = AT_H % "Promise.reject(new Error('no such promise'))"


@pytest.mark.parametrize(("script", "said"), [(BREAK, "no such thing"), (REJECT, "no such promise")])
def test_what_fails_in_a_script_is_shown(context: Any, server: Any, script: str, said: str) -> None:
    page = context.new_page()
    page.add_init_script(script)
    open_pair(page, server)
    assert not page.locator("#fault").is_visible()
    page.keyboard.press("h")
    page.locator("#fault").wait_for()
    assert said in page.inner_text("#fault-text")
    page.keyboard.press("Escape")
    page.locator("#fault-close").click()
    assert not page.locator("#fault").is_visible()


def test_a_script_that_cannot_be_loaded_is_shown(context: Any, server: Any) -> None:
    page = context.new_page()
    broken = {"body": "export const x = ;", "content_type": "text/javascript"}
    page.route("**/static/labeller.js", lambda route: route.fulfill(**broken))
    page.goto(server.url)
    page.locator("#fault").wait_for()
    page.unroute("**/static/labeller.js")
    page.route("**/static/app.js", lambda route: route.abort())
    page.reload()
    page.locator("#fault").wait_for()
    assert "app.js could not be loaded" in page.inner_text("#fault-text")


def test_addresses_that_are_printed_work(real: Callable[..., RealViewer]) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        names = reachable_names("0.0.0.0", port)
        for name in names:
            socket.create_connection((name, port), timeout=5).close()
    assert names[-1] == "127.0.0.1"
    assert reachable_names("::1", 1) == ["[::1]"]
    assert reachable_names("lab.example", 1) == ["lab.example"]


def test_a_certificate_that_is_none_is_one_line(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    found = read_certificate(f"{cert},{key}")
    assert found is not None
    assert isinstance(found.cert, Path)
    locked, empty = tmp_path / "locked.pem", tmp_path / "empty.pem"
    empty.touch()
    subprocess.run(["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked], check=True)
    bad = {f"{cert}": "expected two files", f"{cert},nowhere.pem": "nowhere.pem is no file"}
    bad |= {f"{key},{cert}": "not a certificate", f"{cert},{empty}": "not a certificate"}
    bad |= {f"{cert},{locked}": "without a password"}
    for text, message in bad.items():
        with pytest.raises(UserError, match=re.escape(message)) as caught:
            read_certificate(text)
        assert "\n" not in str(caught.value)
