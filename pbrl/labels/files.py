"""The segment files beside a label database: which belongs to which batch, and questions read back from them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pbrl.errors import UserError
from pbrl.labels.rows import Query
from pbrl.labels.segment_files import PAIRS, content_hash, free_name, from_arrays, publish, stage, to_arrays
from pbrl.questions import Form, Question
from pbrl.reading import read_arrays


class QuestionFiles:
    """The files of questions of the database `path`, in the run directory around it."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self.run_dir, self._db = path, path.parent, db
        self._loaded: tuple[str, Question] | None = None

    def stage(self, questions: Question) -> Path:
        """Write a file that has no name yet."""
        return stage(self.run_dir / "episodes", to_arrays(questions))

    def publish(self, staged: Path, session: int) -> str:
        """Give a staged file a name that no batch has; return it, relative to the run directory."""
        stem = f"episodes/session_{session:05d}" if session >= 0 else f"episodes/import_{-session:05d}"
        taken = {row[0] for row in self._db.execute("SELECT file FROM batches")}
        file = free_name(self.run_dir, stem, staged, taken)
        publish(staged, self.run_dir / file)
        return file

    def read(self, asked: Sequence[Query]) -> Question:
        """Read these queries, in order, all of one form and at least one; each file is read once."""
        rows: dict[str, list[int]] = {}
        places: list[int] = []
        for place, query in sorted(enumerate(asked), key=lambda item: item[1].file):
            rows.setdefault(query.file, []).append(query.row)
            places.append(place)
        if not rows:
            raise ValueError("no queries given, so there are no segments")
        one_form(asked)
        parts = [self._load(file)[self._inside(file, r)] for file, r in rows.items()]
        return type(parts[0]).cat(parts)[np.argsort(places).tolist()]

    def _inside(self, file: str, rows: list[int]) -> list[int]:
        """Return these rows once it is sure that the file has them all."""
        if wrong := [row for row in rows if not 0 <= row < len(self._load(file))]:
            raise UserError(f"{self.path} names row {wrong[0]} of {file}, which has {len(self._load(file))}")
        return rows

    def _load(self, file: str) -> Question:
        if self._loaded is None or self._loaded[0] != file:
            path = self.run_dir / file
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise UserError(f"{self.path} names {file!r}, which is outside of {self.run_dir}")
            sql = "SELECT content_hash, kind, items, criterion, details FROM batches WHERE file = ?"
            expected, *columns = self._db.execute(sql, (file,)).fetchone()
            form = Form(*columns)
            questions = from_arrays(read_arrays(path), form, path)
            if content_hash(questions.hashes(), form) != expected:
                raise UserError(f"{path} holds other segments than {self.path} says; restore the file of this run")
            self._loaded = (file, questions)
        return self._loaded[1]


def one_form(asked: Sequence[Query]) -> Form:
    """Return what all of these ask, the usual where there are none; UserError where they ask different things."""
    forms = {query.form: query.id for query in asked}
    if len(forms) > 1:
        (one, first), (other, second), *_ = forms.items()
        raise UserError(
            f"queries {first} and {second} cannot be one batch, since they ask different things ({_words(one)}; "
            f"{_words(other)}); take those of one kind and criterion"
        )
    return next(iter(forms), PAIRS)


def group_by_form(asked: Sequence[Query]) -> list[list[int]]:
    """Return the numbers of these queries, those of one form together, as they can be read."""
    found: dict[Form, list[int]] = {}
    for query in asked:
        found.setdefault(query.form, []).append(query.id)
    return list(found.values())


def _words(form: Form) -> str:
    about = "" if form.details == "{}" else f" {form.details}"
    return f"{form.kind} of {form.items} by {form.criterion!r}{about}"
