"""The file RUN_DIR/viewer.json: the addresses and tokens of the run's viewer, readable by this user alone."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pbrl.errors import UserError
from pbrl.files import replacing
from pbrl.reading import find_object
from pbrl.viewer.addresses import OPEN_WARNING, Certificate
from pbrl.viewer.client import direct_opener
from pbrl.viewer.people import make_links

ADDRESS_FILE = "viewer.json"
PAGE_FILE = "viewer.html"


@dataclass(frozen=True)
class Opened:
    """A viewer that is open, or was."""

    token: str
    port: int
    url: str  # the best of `urls`
    urls: list[str]
    pid: int
    cert: str | None = None  # of an https address
    remote: bool = False  # other machines are let in
    people: list[str] = field(default_factory=list)  # who have links
    links: dict[str, str] = field(default_factory=dict)  # their tokens, and those of people who were asked before
    study: str | None = None  # the file of the study that it is

    def say(self, more: str = "") -> None:
        """Print the addresses, each on a line, and what to know about them."""
        look = " (to look; each person answers through their own link below)" if self.people else ""
        print(f"label at: {self.url}{look}{more}", flush=True)
        for url in self.urls[1:]:
            print(f"      or: {url}{' (on this machine)' if '://127.0.0.1:' in url else ''}", flush=True)
        for person in self.people:
            print(f"  {person}: {self.url.split('#')[0]}#token={self.links[person]}", flush=True)
        if self.remote and not self.cert:
            print(OPEN_WARNING, flush=True)

    def answers(self) -> bool:
        """Return whether it is open now: nobody else knows the token."""
        request = urllib.request.Request(
            self.url.split("#")[0] + "api/session",
            data=json.dumps({"token": self.token}).encode(),
            headers={"content-type": "application/json", "x-pbrl": "1"},
        )
        try:
            with direct_opener(None if self.cert is None else Path(self.cert)).open(request, timeout=2) as response:
                return response.status == 204
        except OSError:
            return False

    def remember(self, run_dir: Path) -> None:
        with replacing(run_dir / ADDRESS_FILE, private=True) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def redirect(self, run_dir: Path) -> str:
        """Make a page of this user alone that leads there: a browser's command line can be seen by others."""
        file = run_dir.resolve() / PAGE_FILE
        file.unlink(missing_ok=True)
        with open(file, "w", opener=_private) as page:
            page.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={self.urls[-1]}">\n')
        return file.as_uri()


@contextmanager
def remove_if_refused(folder: Path, made: bool) -> Iterator[None]:
    """Remove a folder that was made for a viewer where something is refused before anybody could come."""
    try:
        yield
    except UserError:
        if made and not (folder / ADDRESS_FILE).exists():
            shutil.rmtree(folder)
        raise


def find_opened(run_dir: Path) -> Opened | None:
    """Return what the last viewer of this run left."""
    found = find_object(run_dir / ADDRESS_FILE) or {}
    if not {"url", "port", "token"} <= found.keys():
        return None
    known: dict[str, Any] = {"urls": [found["url"]], "pid": 0}  # which an older viewer did not say
    return Opened(**known | {key: value for key, value in found.items() if key in Opened.__dataclass_fields__})


def make_opened(
    before: Opened | None, renew: Sequence[str], *, people: list[str], names: Sequence[str], **more: Any
) -> Opened:
    """Make the next viewer of a run: tokens stay as they were, so that open pages go on, except those to be renewed.

    renew: names of people, or `all`. names: of this machine, for the addresses. more: port, certificate, remote, study.
    """
    everything = "all" in renew
    old = {} if before is None or everything else before.links
    token = before.token if before is not None and not everything else secrets.token_urlsafe(24)
    links = make_links(people, old, [] if everything else renew)
    certificate: Certificate | None = more.pop("certificate")
    scheme = "http" if certificate is None else "https"
    urls = [f"{scheme}://{name}:{more['port']}/#token={token}" for name in names]
    cert = None if certificate is None else str(certificate.cert)
    return Opened(token, url=urls[0], urls=urls, pid=os.getpid(), cert=cert, people=people, links=old | links, **more)


def _private(path: str, flags: int) -> int:
    """Open a file for this user alone."""
    return os.open(path, flags, 0o600)
