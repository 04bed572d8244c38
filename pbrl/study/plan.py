"""The plan of a person's study, a function of who it is: the same again after a restart. No store here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from pbrl.viewer.people import name_key

CONSENT, INSTRUCTIONS, PRACTICE = "consent", "instructions", "practice"
QUESTIONS, BREAK, DONE = "questions", "break", "done"
STEPS = (CONSENT, INSTRUCTIONS, BREAK)  # that a person says to have come through


def own_order(queries: Iterable[int], seed: int, person: str) -> list[int]:
    """Return the queries in this person's order. Those that are added later change nothing about the others' order."""
    start = _start(seed, person, "order")
    return sorted(queries, key=lambda query: _draw(start, query))


def positions(every: int, seed: int, person: str, what: str, *, first: int = 0) -> Iterator[int]:
    """Draw after how many questions checks come: once among the first `every`, once among the next, ..."""
    block = 0
    while True:
        yield max(block * every + draw(seed, person, what, block) % every, first)
        block += 1


def draw(seed: int, person: str, what: str, number: int) -> int:
    """Draw a random number of this person's own."""
    return _draw(_start(seed, person, what), number)


def _start(seed: int, person: str, what: str) -> str:
    return f"{seed}|{name_key(person)}|{what}|"


def _draw(start: str, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{start}{number}".encode(), digest_size=7).digest(), "big")
