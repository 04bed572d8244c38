"""Pairs from rankings and choices of the best or the worst: what they say of every two clips, for methods of pairs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pbrl.errors import UserError
from pbrl.labels.segment_files import Arrays
from pbrl.question_kinds import Choice, SegmentPair

MOST_ITEMS = 100  # whose pairs can be numbered


def better_and_worse(order: Sequence[int], wanted: str, items: int) -> list[tuple[int, int]]:
    """Return the places of the better and the worse item, of every two that the answer orders."""
    if wanted == "ranking":
        return list(itertools.combinations(order, 2))
    best, worst = order[0], order[-1]
    others = [place for place in range(items) if place not in (best, worst)]
    found = [] if wanted == "worst" else [(best, place) for place in others]
    found += [] if wanted == "best" else [(place, worst) for place in others]
    return found + ([(best, worst)] if wanted == "best_and_worst" else [])


def pairs_of_choices(questions: Choice, columns: Arrays) -> tuple[SegmentPair, Arrays]:
    """Return the same answers as comparisons, without the skips; columns: as of a label set.

    The left one is the item with the lower place, so that a pair that several people compared is one question.
    """
    items = len(questions.items)
    if items > MOST_ITEMS:
        raise UserError(f"{items} items of a question; as pairs at most {MOST_ITEMS} can be numbered")
    rows, left, right, prefers_right = [], [], [], []
    for row in np.flatnonzero(columns["answered"]).tolist():
        for better, worse in better_and_worse(columns["order"][row].tolist(), questions.wanted, items):
            rows.append(row)
            left.append(min(better, worse))
            right.append(max(better, worse))
            prefers_right.append(float(better > worse))
    if not rows:
        raise UserError("all these answers are skips, which say nothing of any pair")
    query = columns["query"][rows] * MOST_ITEMS**2 + np.array(left) * MOST_ITEMS + np.array(right)
    order = np.argsort(query, kind="stable")
    rows, left, right = (np.array(x)[order].tolist() for x in (rows, left, right))
    kept = {name: column[rows] for name, column in columns.items() if name != "order"}
    kept |= {"query": query[order], "prefers_right": np.array(prefers_right, np.float64)[order]}
    return _pairs(questions, rows, left, right), kept


def _pairs(questions: Choice, rows: list[int], left: list[int], right: list[int]) -> SegmentPair:
    """Pair the items at these places of these rows."""
    places, parts, position = np.stack([left, right], 1), [], []
    for one, other in sorted(set(map(tuple, places.tolist()))):
        here = np.flatnonzero((places == (one, other)).all(1))
        chosen = np.array(rows)[here].tolist()
        states = None if questions.states is None else tuple(questions.states[place][chosen] for place in (one, other))
        items = [questions.items[place][chosen] for place in (one, other)]
        parts.append(SegmentPair.of(items, states, criterion=questions.criterion))
        position += here.tolist()
    return SegmentPair.cat(parts)[np.argsort(position).tolist()]
