"""Questions as they lie on a person's desk, and answers as they come from the screen. No HTTP and no store here."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pbrl.errors import UserError
from pbrl.labels.rows import PAIRS, Query
from pbrl.labels.views import CHOICES, STRENGTHS
from pbrl.question_kinds import Choice, Triplet
from pbrl.questions import Form


@dataclass(frozen=True)
class DeskSettings:
    overlap: int = 1  # people who answer each pair
    repeats: float = 0.05  # share of pairs that are shown again
    lease_s: float = 120.0
    slight: float | None = 0.75  # prefers_right of a slight preference for the right segment; None: not offered
    scripts_count: bool = True  # whether an answer of a script closes a question

    def __post_init__(self) -> None:
        if self.overlap < 1:
            raise UserError(f"viewer.overlap={self.overlap}; valid is a whole number from 1")
        if not 0 <= self.repeats < 1:
            raise UserError(f"viewer.repeats={self.repeats}; valid is a share from 0, below 1")
        if self.slight is not None and not 0.5 < self.slight <= 1:
            raise UserError(f"viewer.slight={self.slight}; valid is above 0.5 and at most 1")
        if self.lease_s <= 0:
            raise UserError(f"viewer.lease_s={self.lease_s}; valid are seconds above 0")


class Card(NamedTuple):
    """A question as somebody gets it."""

    query: Query
    swapped: bool  # True: the right segment of a pair is on the left of the screen
    repeat: str | None  # of which answer it is a repetition
    places: tuple[int, ...] = ()  # of another kind than pairs: which item stands at each place of the screen
    words: str | None = None  # what is asked instead of the usual question
    practice: bool = False  # whether the person is told how they did


class Given(NamedTuple):
    """An answer as it comes from the screen."""

    id: str  # unique, chosen by the page: sent twice it counts once
    query: int
    annotator: str
    choice: str  # of CHOICES, as on the screen; of another kind than pairs `answer` or `skip`
    swapped: bool
    shown_at: float  # Unix time
    response_s: float
    repeat: str | None = None
    strength: str = "clear"
    played_at: float | None = None
    plays_left: int = 0
    plays_right: int = 0
    client: str = ""
    tags: tuple[str, ...] = ()  # why
    value: tuple[float, ...] = ()  # of another kind than pairs: the answer in places of the screen
    places: tuple[int, ...] = ()


def prefers_right(choice: str, strength: str, slight: float | None) -> float | None:
    """Return the label of a choice between segments; None for what cannot be compared and for skips."""
    if strength == "slight" and slight is None:
        raise UserError("strength='slight' is not offered in this run; valid is clear")
    right = slight if strength == "slight" and slight is not None else 1.0
    return {"left": 1 - right, "right": right, "equal": 0.5}.get(choice)


def make_card(query: Query, rng: random.Random) -> Card:
    """Deal a question with its clips in a random order; what a triplet refers to stays where it is."""
    if query.form.kind in PAIRS:
        return Card(query, rng.random() < 0.5, None)
    fixed = [0] if query.form.kind == Triplet.kind else []
    others = list(range(len(fixed), query.form.items))
    rng.shuffle(others)
    return Card(query, False, None, (*fixed, *others))


def in_item_order(value: Sequence[float], places: Sequence[int], form: Form) -> tuple[float, ...]:
    """Return the answer about items that an answer about places of the screen means."""
    if sorted(places) != list(range(form.items)):
        raise UserError(f"places={list(places)}; valid are the numbers from 0 to {form.items - 1}, in some order")
    if form.kind == Choice.kind:
        if not all(isinstance(x, int) and 0 <= x < form.items for x in value):
            raise UserError(f"value={list(value)}; valid are places of the screen, from 0 to {form.items - 1}")
        return tuple(places[int(place)] for place in value)
    if form.kind == Triplet.kind and places[1] == 2:
        return tuple(1 - x for x in value)
    return tuple(value)


def check_given(given: Given, form: Form) -> None:
    """Refuse what no page of ours sends."""
    pairs = form.kind in PAIRS
    valid: Sequence[tuple[str, Any, Collection[str]]] = (
        ("choice", given.choice, CHOICES if pairs else ("answer", "skip")),
        ("strength", given.strength, STRENGTHS),
    )
    for name, value, choices in valid:
        if value not in choices:
            raise UserError(f"{name}={value!r}; valid are {', '.join(choices)}")
    if not 0 <= given.response_s < math.inf:
        raise UserError(f"response time {given.response_s}; valid are seconds from 0")
