"""The people who answer: names that count as one, a link for each, and cookies that prove which link was opened."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pbrl.errors import UserError, choices

LONGEST = 60  # characters of a name
PRESENT_S = 15.0  # a page asks how things are more often than that, in a hidden tab too


def check_name(value: Any) -> str:
    """Check a name and return it as it is kept. A colon would make it look like a script: scripted:oracle."""
    text = value if isinstance(value, str) and len(value) <= 10 * LONGEST else ""
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    hidden = any(not char.isprintable() and unicodedata.category(char) != "Zs" for char in text)
    if not 0 < len(name) <= LONGEST or hidden or ":" in name:
        raise UserError(f"annotator: expected a name of 1 to {LONGEST} characters without a colon")
    return name


def name_key(name: str) -> str:
    """Return what two spellings of one name have in common: `Ann`, `ANN ` and `Ann` in wide letters are one person."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def check_people(names: Iterable[Any]) -> list[str]:
    """Check names for links, no two of one person."""
    people: dict[str, str] = {}
    for name in map(check_name, names):
        if name_key(name) in people:
            both = f"{people[name_key(name)]!r} and {name!r}"
            raise UserError(f"viewer.people names {both}, which count as one; valid are different names")
        people[name_key(name)] = name
    return list(people.values())


class Seat(NamedTuple):
    """A browser that has opened one of the links."""

    person: str | None  # None: the address that is for all who have no link of their own
    browser: str  # random


@dataclass
class People:
    """The links of a viewer, and who was here lately. Cookies hold nothing that leads back to a link.

    token: of the shared address. links: tokens by person; where there are some, who opens the shared address may look
    but not answer.
    """

    token: str
    cookie: str  # the name that cookies start with
    links: Mapping[str, str] = field(default_factory=dict)
    _seen: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # by name and browser

    def enter(self, token: Any, cookies: Mapping[str, str]) -> tuple[Seat, str, str] | None:
        """Return the seat of a token, with the name and the value of its cookie; None: it is good for none.

        The browser stays the same one when it opens a link again.
        """
        for person, known in ((None, self.token), *self.links.items()):
            if same(token, known):
                seat = self._seat(person, cookies) or Seat(person, secrets.token_urlsafe(12))
                return seat, self._cookie_name(person), f"{seat.browser}.{_proof(known, seat.browser)}"
        return None

    def seats(self, cookies: Mapping[str, str]) -> list[Seat]:
        """Return the seats whose cookies a browser has, of people first: several may share it."""
        found = (self._seat(person, cookies) for person in (*self.links, None))
        return [seat for seat in found if seat is not None]

    def seen(self, name: str, browser: str) -> bool:
        """Note a browser in which this person is; return whether they are in another one too."""
        now, here = time.monotonic(), self._seen[name_key(name)]
        here[browser] = now
        for other in [b for b, at in here.items() if now - at > PRESENT_S]:
            del here[other]
        if len(self._seen) > 1000:  # names that somebody makes up
            self._seen = defaultdict(dict, {k: v for k, v in self._seen.items() if now - max(v.values()) < PRESENT_S})
        return len(here) > 1

    @property
    def present(self) -> int:
        """The number of people who have a page open now."""
        now = time.monotonic()
        return sum(any(now - at < PRESENT_S for at in here.values()) for here in self._seen.values())

    def _seat(self, person: str | None, cookies: Mapping[str, str]) -> Seat | None:
        token = self.token if person is None else self.links[person]
        browser, _, proof = cookies.get(self._cookie_name(person), "").partition(".")
        return Seat(person, browser) if browser and same(proof, _proof(token, browser)) else None

    def _cookie_name(self, person: str | None) -> str:
        """Name a person's cookie: several people may share a browser, each with a cookie of their own."""
        if person is None:
            return self.cookie
        return f"{self.cookie}_{hashlib.sha256(name_key(person).encode()).hexdigest()[:12]}"


def make_links(names: Iterable[str], known: Mapping[str, str], renew: Iterable[str] = ()) -> dict[str, str]:
    """Make a token for each person, the known one unless it is to be renewed."""
    names, old = list(names), {name_key(name): token for name, token in known.items()}
    if unknown := [name for name in renew if name_key(name) not in map(name_key, names)]:
        raise UserError(f"renew={unknown[0]}: {choices(unknown[0], ['all', *names])}")
    for name in renew:
        old.pop(name_key(name), None)
    return {name: old.get(name_key(name)) or secrets.token_urlsafe(24) for name in names}


def same(given: Any, token: str) -> bool:
    """Compare in a time that does not tell how much of it was right."""
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _proof(token: str, browser: str) -> str:
    return hmac.new(token.encode(), b"cookie " + browser.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
