"""The open questions and who answered what, in memory, so that no request looks through the whole label store.

The store only grows by answers and questions, and each look takes in what was added since the last one, by whichever
process. What can be taken away, the list of retired questions, is read anew where another process changed something.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from itertools import islice
from typing import NamedTuple

from pbrl.labels.questions import HUMAN, SCRIPTED, retired
from pbrl.labels.rows import PAIRS, USUAL, Query, Scope
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Choice, Outcome, Rating, Triplet

SHOWN = (*PAIRS, Triplet.kind, Choice.kind, Rating.kind, Outcome.kind)  # what the page knows how to ask
MOST_ITEMS = 9  # one for each number key
Key = tuple[int, int, int, int]  # (-session, -batch, row, id): those of the newest policy come first


class Standing(NamedTuple):
    """An answer that was not taken back."""

    id: int
    query: int
    annotator: int
    kind: str
    value: float | str | None  # None: skipped

    @property
    def tie(self) -> bool:
        return self.value in (0.5, "[0.5]")


class Board:
    """Questions of one scope. overlap: how many people answer each; scripts_count: a script's answer closes one."""

    def __init__(self, store: LabelStore, overlap: int, *, scripts_count: bool, scope: Scope = USUAL) -> None:
        self.store, self.overlap, self.scripts_count, self.scope = store, overlap, scripts_count, scope
        self.labels: Counter[str] = Counter()  # answers that are no skips, by kind
        self._keys: dict[int, Key | None] = {}  # of every question; None: imported, so that nobody is asked
        self._open: list[Key] = []  # in the order in which people get them
        self._retired: set[int] = set()
        self._standing: dict[int, Standing] = {}  # by answer
        self._people: Counter[int] = Counter()  # answers of people, by question
        self._scripts: Counter[int] = Counter()
        self._mine: dict[int, dict[int, Standing]] = defaultdict(dict)  # by person and question, the oldest first
        self._totals: dict[int, Counter[str]] = defaultdict(Counter)
        self._numbers: dict[str, int] = {}  # of annotators
        self._last = {"queries": 0, "answers": 0}
        self._seen: tuple[int, int] | None = None
        self._retirements: tuple[int, float] = (0, 0.0)

    def refresh(self) -> None:
        """Take in what happened since; where nothing did, this is one look at SQLite's counters."""
        db = self.store.db
        seen = db.execute("PRAGMA data_version").fetchone()[0], db.total_changes
        if seen == self._seen:
            return
        self._numbers = {name: number for number, name in self.store.annotators().items()}
        self._add_questions()
        self._add_answers()
        self._look_for_retired()
        self._seen = seen

    def settle(self) -> None:
        """Pass over what this connection has changed since the last look: that is of no concern, as leases are not."""
        self._seen = self.store.db.execute("PRAGMA data_version").fetchone()[0], self.store.db.total_changes

    def __len__(self) -> int:
        """Return how many questions are open."""
        return len(self._open)

    def first(self, n: int, start: int = 0) -> list[Query]:
        """Return n open questions from the start of the order, or from further on."""
        return self.store.queries([key[-1] for key in islice(self._open, start, start + n)])

    def ids(self) -> Iterator[int]:
        """Yield all open questions, in order."""
        return (key[-1] for key in self._open)

    @property
    def known(self) -> Collection[int]:
        """Return all questions that there are for people, answered or not, in no order that means anything."""
        return self._keys.keys()

    def is_open(self, query: int) -> bool:
        key = self._keys.get(query)
        return (
            key is not None
            and query not in self._retired
            and self._people[query] < self.overlap
            and not (self.scripts_count and self._scripts[query])
        )

    def given(self, query: int) -> int:
        """Return how many people have answered it."""
        return self._people[query]

    def answered_by(self, annotator: str) -> dict[int, Standing]:
        """Return this person's answers that stand, by question, the oldest first."""
        number = self._numbers.get(annotator)
        return {} if number is None or number not in self._mine else self._mine[number]

    def totals(self, annotator: str) -> dict[str, int]:
        """Count this person's standing answers, those of them that prefer none, and the questions that were skipped."""
        total = self._totals.get(self._numbers.get(annotator, -1), Counter())
        return {name: total[name] for name in ("answers", "equal", "skipped")}

    def _add_questions(self) -> None:
        condition, values = self.scope.where()
        condition += f" AND b.kind IN ({', '.join('?' * len(SHOWN))}) AND items <= ?"
        rows = self.store.db.execute(
            "SELECT session, batch, row, q.id FROM queries AS q JOIN batches AS b ON b.id = batch"
            f" WHERE q.id > ? AND {condition} ORDER BY q.id",
            (self._last["queries"], *values, *SHOWN, MOST_ITEMS),
        ).fetchall()
        for session, batch, row, query in rows:
            self._keys[query] = (-session, -batch, row, query) if session >= 0 else None
        if len(rows) > 100:
            self._sort()
        else:
            for *_, query in rows:
                self._place(query)
        self._last["queries"] = self.store.db.execute("SELECT coalesce(max(id), 0) FROM queries").fetchone()[0]

    def _add_answers(self) -> None:
        rows = self.store.db.execute(
            "SELECT id, query, annotator, kind, coalesce(prefers_right, value), retracts FROM answers WHERE id > ?"
            " ORDER BY id",
            (self._last["answers"],),
        )
        for *answer, retracts in rows:
            self._last["answers"] = answer[0]
            if answer[1] not in self._keys:
                continue
            if retracts is None:
                self._count(Standing(*answer), 1)
            elif (taken_back := self._standing.get(retracts)) is not None:
                self._count(taken_back, -1)
            self._place(answer[1])

    def _count(self, answer: Standing, by: int) -> None:
        """Add an answer (1) or take it away (-1)."""
        if by > 0:
            self._standing[answer.id] = answer
        else:
            del self._standing[answer.id]
        (self._scripts if answer.kind == SCRIPTED else self._people)[answer.query] += by
        if answer.value is not None:
            self.labels[answer.kind] += by
        if answer.kind != HUMAN:
            return
        total, mine = self._totals[answer.annotator], self._mine[answer.annotator]
        total["skipped" if answer.value is None else "answers"] += by
        total["equal"] += by * answer.tie
        if by > 0:
            mine[answer.query] = answer
        else:
            mine.pop(answer.query, None)

    def _place(self, query: int) -> None:
        """Put a question into the order or take it out, as it is open or not."""
        key = self._keys[query]
        if key is None:
            return
        at = bisect_left(self._open, key)
        there = at < len(self._open) and self._open[at] == key
        if self.is_open(query) and not there:
            insort(self._open, key)
        elif there and not self.is_open(query):
            del self._open[at]

    def _look_for_retired(self) -> None:
        sql = "SELECT count(*), coalesce(max(created_at), 0.0) FROM retired"
        if (found := tuple(self.store.db.execute(sql).fetchone())) != self._retirements:
            self._retirements, self._retired = found, retired(self.store.db)
            self._sort()

    def _sort(self) -> None:
        self._open = sorted(key for query, key in self._keys.items() if key is not None and self.is_open(query))
