"""The way that people's answers came about (table `views`), and pairs shown to them twice (table `checks`)."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from pbrl.errors import UserError, choices
from pbrl.labels.rows import USUAL, Scope, annotator_id

CHOICES = ("left", "right", "equal", "incomparable", "skip")  # in the order of the segments, not of the screen
STRENGTHS = ("clear", "slight")
MIRROR = {"left": "right", "right": "left"}


def in_segment_order(choice: str, swapped: bool) -> str:
    """Return the choice between segments that a choice on the screen means, and the other way round."""
    return MIRROR.get(choice, choice) if swapped else choice


class View(NamedTuple):
    """A record of what a person saw and did. An answer from elsewhere than the viewer has none."""

    answer: int  # id of the answer, which may be retracted by now
    choice: str  # of CHOICES
    strength: str  # of STRENGTHS
    swapped: bool  # True: the pair's right segment was on the left of the screen
    shown_at: float  # Unix time
    played_at: float | None  # Unix time when the clips first played; None if they never did
    plays_left: int  # times that the clip on this side of the screen played
    plays_right: int
    client: str  # the page or program that sent it


class Arrangement(NamedTuple):
    """A `View` of an answer to a question of another kind than pairs."""

    answer: int
    places: tuple[int, ...]  # which item stood at each place of the screen
    shown_at: float  # Unix time
    played_at: float | None
    plays: int  # how often the clips played
    client: str


PURPOSES = ("repeat", "practice", "gold", "attention")


class Check(NamedTuple):
    """A second answer of the same person to a pair with swapped sides, or one of a study; nothing learns from it."""

    id: int
    query: int
    annotator: str
    choice: str  # of CHOICES
    prefers_right: float | None  # None: neither segment was preferred nor were they equal
    swapped: bool
    response_s: float | None
    client_id: str
    created_at: float  # Unix time
    purpose: str = "repeat"  # of PURPOSES: practice, gold and attention are of studies
    expected: str | None = None  # the right choice, where there is one


class GivenAnswer(NamedTuple):
    """An answer that stands or stood."""

    id: int
    query: int
    annotator: str
    prefers_right: float | None  # None = skipped or incomparable
    response_s: float | None
    kind: str  # "scripted", "human", "imported"
    created_at: float  # Unix time
    retracted_at: float | None  # Unix time; None = it stands


def find_history(db: sqlite3.Connection, scope: Scope = USUAL) -> list[GivenAnswer]:
    """Every answer ever given to pairs, by default of segments overall, ordered by query and then by age."""
    pairs, values = scope.where()
    rows = db.execute(
        "SELECT a.id, a.query, name, a.prefers_right, a.response_s, a.kind, a.created_at, r.created_at"
        " FROM answers AS a JOIN annotators AS n ON n.id = a.annotator LEFT JOIN answers AS r ON r.retracts = a.id"
        " JOIN queries AS q ON q.id = a.query JOIN batches AS b ON b.id = q.batch"
        f" WHERE a.retracts IS NULL AND {pairs} ORDER BY a.query, a.id",
        values,
    )
    return [GivenAnswer(*row) for row in rows]


def find_views(db: sqlite3.Connection) -> list[View]:
    """Return all views, those of retracted answers too, ordered by answer."""
    rows = db.execute(f"SELECT {', '.join(View._fields)} FROM views ORDER BY answer")
    return [view._replace(swapped=bool(view.swapped)) for view in map(View._make, rows)]


def find_checks(db: sqlite3.Connection) -> list[Check]:
    """Find the checks that were not taken back, ordered by age."""
    rows = db.execute(
        "SELECT c.id, query, name, choice, prefers_right, swapped, response_s, client_id, created_at, purpose, expected"
        " FROM checks AS c JOIN annotators AS n ON n.id = annotator"
        " WHERE retracted_at IS NULL ORDER BY c.id"
    )
    return [check._replace(swapped=bool(check.swapped)) for check in map(Check._make, rows)]


def add_view(db: sqlite3.Connection, view: View) -> None:
    """Store a view, unless that answer has one."""
    _require_one_of("choice", view.choice, CHOICES)
    _require_one_of("strength", view.strength, STRENGTHS)
    marks = ", ".join("?" * len(View._fields))
    sql = f"INSERT INTO views ({', '.join(View._fields)}) VALUES ({marks}) ON CONFLICT (answer) DO NOTHING"
    db.execute(sql, view)


def add_arrangement(db: sqlite3.Connection, shown: Arrangement) -> None:
    """Store an arrangement, unless that answer has one."""
    row = shown._replace(places=json.dumps(shown.places))  # type: ignore[arg-type]
    db.execute("INSERT INTO arrangements VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (answer) DO NOTHING", row)


def find_places(db: sqlite3.Connection) -> dict[int, tuple[int, ...]]:
    """Return which item stood at each place of the screen, by answer; answers to pairs have views instead."""
    rows = db.execute("SELECT answer, places FROM arrangements")
    return {answer: tuple(json.loads(places)) for answer, places in rows}


def add_tags(db: sqlite3.Connection, answer: int, tags: Iterable[str]) -> None:
    """Store why the answer is what it is, in words that the viewer offered."""
    db.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", [(answer, tag) for tag in tags])


def find_tags(db: sqlite3.Connection) -> dict[int, list[str]]:
    """Find the tags by answer, those of retracted answers too."""
    found: dict[int, list[str]] = {}
    for answer, tag in db.execute("SELECT answer, tag FROM tags ORDER BY answer, tag"):
        found.setdefault(answer, []).append(tag)
    return found


def add_check(
    db: sqlite3.Connection,
    *,
    query: int,
    annotator: str,
    choice: str,
    prefers_right: float | None,
    swapped: bool,
    response_s: float | None,
    client_id: str,
    purpose: str = "repeat",
    expected: str | None = None,
    **seen: Any,
) -> int:
    """Write a check unless its client_id was seen, and return its id. Call it inside a transaction.

    seen: strength, shown_at, played_at, plays_left and plays_right, as of a `View`.
    """
    _require_one_of("choice", choice, CHOICES)
    _require_one_of("purpose", purpose, PURPOSES)
    who = annotator_id(db, annotator)
    found = db.execute("SELECT id, query, annotator, choice FROM checks WHERE client_id = ?", (client_id,)).fetchone()
    if found and found[1:] != (query, who, choice):
        raise UserError(f"client_id {client_id!r} was used for another check; valid is a new one for each")
    if found:
        return found[0]
    same = "query = ? AND annotator = ? AND purpose = ? AND retracted_at IS NULL"
    db.execute(f"UPDATE checks SET retracted_at = ? WHERE {same}", (time.time(), query, who, purpose))  # a changed mind
    row = {"query": query, "annotator": who, "choice": choice, "prefers_right": prefers_right, "swapped": int(swapped)}
    row |= {"response_s": response_s, "client_id": client_id, "created_at": time.time()}
    row |= {"purpose": purpose, "expected": expected, **seen}
    marks = ", ".join("?" * len(row))
    cursor = db.execute(f"INSERT INTO checks ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _require_one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UserError(f"{name}={value!r}; {choices(value, valid)}")
