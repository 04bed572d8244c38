"""The label database: its tables, and opening it from any number of processes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pbrl.errors import StorageError, UserError, is_name
from pbrl.reading import require_file
from pbrl.storage import storage_problem

SCHEMA_VERSION = 5
APPLICATION_ID = 0x7062726C  # "pbrl", so that another program's database is not mistaken for ours
BUSY_TIMEOUT_S = 30.0

VERSION_1 = """
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, env_steps INTEGER NOT NULL, sampler TEXT NOT NULL,
    file TEXT NOT NULL UNIQUE, content_hash TEXT NOT NULL, created_at REAL NOT NULL, UNIQUE (session, content_hash));

CREATE TABLE queries (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches(id), row INTEGER NOT NULL,
    left_hash TEXT NOT NULL, right_hash TEXT NOT NULL, UNIQUE (batch, row));

CREATE TABLE annotators (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

CREATE TABLE answers (
    id INTEGER PRIMARY KEY, query INTEGER NOT NULL REFERENCES queries(id),
    annotator INTEGER NOT NULL REFERENCES annotators(id), kind TEXT NOT NULL,
    prefers_right REAL CHECK (prefers_right BETWEEN 0 AND 1), retracts INTEGER REFERENCES answers(id),
    response_s REAL CHECK (response_s >= 0), client_id TEXT UNIQUE, created_at REAL NOT NULL);

CREATE INDEX answers_by_query ON answers (query, annotator);

CREATE UNIQUE INDEX one_retraction ON answers (retracts) WHERE retracts IS NOT NULL;

CREATE VIEW standing AS SELECT * FROM answers AS a
    WHERE retracts IS NULL AND NOT EXISTS (SELECT 1 FROM answers AS r WHERE r.retracts = a.id);

CREATE TRIGGER one_standing_answer BEFORE INSERT ON answers WHEN NEW.retracts IS NULL
    AND EXISTS (SELECT 1 FROM standing WHERE query = NEW.query AND annotator = NEW.annotator)
    BEGIN SELECT RAISE(ABORT, 'an answer stands; retract it first'); END;

CREATE TRIGGER answers_keep BEFORE UPDATE ON answers BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;

CREATE TRIGGER answers_stay BEFORE DELETE ON answers BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;
"""

# Tables of what people add: how an answer came about, pairs shown twice, who has which pair, questions that grew old.
VERSION_2 = """
CREATE TABLE views (
    answer INTEGER PRIMARY KEY REFERENCES answers(id),
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'equal', 'incomparable', 'skip')),
    strength TEXT NOT NULL CHECK (strength IN ('clear', 'slight')), swapped INTEGER NOT NULL, shown_at REAL NOT NULL,
    played_at REAL, plays_left INTEGER NOT NULL, plays_right INTEGER NOT NULL, client TEXT NOT NULL);

CREATE TABLE checks (
    id INTEGER PRIMARY KEY, query INTEGER NOT NULL REFERENCES queries(id),
    annotator INTEGER NOT NULL REFERENCES annotators(id),
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'equal', 'incomparable', 'skip')),
    prefers_right REAL CHECK (prefers_right BETWEEN 0 AND 1), swapped INTEGER NOT NULL,
    response_s REAL CHECK (response_s >= 0), client_id TEXT NOT NULL UNIQUE, created_at REAL NOT NULL,
    retracted_at REAL);

CREATE TABLE leases (
    query INTEGER NOT NULL REFERENCES queries(id), annotator INTEGER NOT NULL REFERENCES annotators(id),
    expires_at REAL NOT NULL, PRIMARY KEY (query, annotator));

CREATE TABLE retired (query INTEGER PRIMARY KEY REFERENCES queries(id), reason TEXT NOT NULL, created_at REAL NOT NULL);

CREATE TABLE signals (id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_at REAL NOT NULL);

CREATE TABLE identity (run TEXT NOT NULL);

INSERT INTO identity SELECT lower(hex(randomblob(16)));
"""

# Questions of any kind. Pairs of segments stay in the tables above: a pair's answer is in prefers_right.
VERSION_3 = """
ALTER TABLE batches ADD COLUMN kind TEXT NOT NULL DEFAULT 'segment_pair';

ALTER TABLE batches ADD COLUMN items INTEGER NOT NULL DEFAULT 2 CHECK (items >= 1);

ALTER TABLE batches ADD COLUMN criterion TEXT NOT NULL DEFAULT 'overall';

ALTER TABLE batches ADD COLUMN details TEXT NOT NULL DEFAULT '{}';

ALTER TABLE queries ADD COLUMN more_hashes TEXT NOT NULL DEFAULT '';

ALTER TABLE answers ADD COLUMN value TEXT CHECK (value IS NULL OR (prefers_right IS NULL AND retracts IS NULL));

CREATE TRIGGER answer_of_its_kind BEFORE INSERT ON answers WHEN (NEW.prefers_right IS NOT NULL OR NEW.value IS NOT NULL)
    AND (NEW.value IS NULL) != ((SELECT kind FROM batches AS b JOIN queries AS q ON batch = b.id WHERE q.id = NEW.query)
    IN ('segment_pair', 'episode_pair'))
    BEGIN SELECT RAISE(ABORT, 'prefers_right answers pairs, value all other kinds'); END;
"""
# The way that answers to other questions than pairs came about, and the reasons that people gave.
VERSION_4 = """
CREATE TABLE arrangements (
    answer INTEGER PRIMARY KEY REFERENCES answers(id), places TEXT NOT NULL, shown_at REAL NOT NULL, played_at REAL,
    plays INTEGER NOT NULL, client TEXT NOT NULL);

CREATE TABLE tags (answer INTEGER NOT NULL REFERENCES answers(id), tag TEXT NOT NULL, PRIMARY KEY (answer, tag));
"""
# Studies: pairs with a known answer, what people agreed to and came through, and whose answers nothing learns from.
VERSION_5 = """
ALTER TABLE checks ADD COLUMN purpose TEXT NOT NULL DEFAULT 'repeat'
    CHECK (purpose IN ('repeat', 'practice', 'gold', 'attention'));

ALTER TABLE checks ADD COLUMN expected TEXT CHECK (expected IN ('left', 'right', 'equal', 'incomparable'));

ALTER TABLE checks ADD COLUMN strength TEXT NOT NULL DEFAULT 'clear' CHECK (strength IN ('clear', 'slight'));

ALTER TABLE checks ADD COLUMN shown_at REAL;

ALTER TABLE checks ADD COLUMN played_at REAL;

ALTER TABLE checks ADD COLUMN plays_left INTEGER;

ALTER TABLE checks ADD COLUMN plays_right INTEGER;

CREATE TABLE study_steps (
    id INTEGER PRIMARY KEY, annotator INTEGER NOT NULL REFERENCES annotators(id), step TEXT NOT NULL,
    detail TEXT NOT NULL, created_at REAL NOT NULL);

CREATE TABLE left_out (
    annotator INTEGER PRIMARY KEY REFERENCES annotators(id), reason TEXT NOT NULL, created_at REAL NOT NULL);
"""
# The types of columns that other code relies on; SQLite itself takes anything.
COLUMNS = {
    "batches": {
        "session": "integer",
        "env_steps": "integer",
        "sampler": "text",
        "file": "text",
        "content_hash": "text",
    },
    "queries": {"batch": "integer", "row": "integer", "left_hash": "text", "right_hash": "text"},
    "annotators": {"name": "text"},
    "answers": {"kind": "text", "prefers_right": "real or null", "response_s": "real or null", "created_at": "real"},
}
NAMES = (("annotators", "name"), ("answers", "kind"), ("batches", "sampler"))  # text that reports show
COLUMNS_3 = {
    "batches": {"kind": "text", "items": "integer", "criterion": "text", "details": "text"},
    "queries": {"more_hashes": "text"},
    "answers": {"value": "text or null"},
}
NAMES_3 = (("batches", "kind"), ("batches", "criterion"))
SCHEMA = (VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5)  # each is applied on top of the one before


class StoreLocked(StorageError):
    """Raised where another process writes to the label store, for longer than one waits."""


def open_database(path: Path, busy_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """Connect in autocommit mode to a database of this schema, made where there is none yet.

    busy_s: how long each call waits for another process that writes.
    synchronous=FULL: in WAL mode NORMAL would survive a killed process, but not a power cut or a preempted machine.
    """
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        if file.exists() or file.is_symlink():
            require_file(file)
    with explaining(path):
        if not path.exists():
            path.touch(0o600)  # people's answers are for the owner alone; SQLite gives its log the same mode
        db = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
        try:
            db.execute("BEGIN")  # so that what is read below is of one moment
            version = _check(db, path)
            if version:
                _check_content(db, path, version)
            db.execute("COMMIT")
            _use_wal(db, busy_s)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            if version < SCHEMA_VERSION:
                _upgrade(db, path)
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Store all of a block or nothing, and alone: other writers wait. Inside another transaction it joins that one."""
    if db.in_transaction:
        yield
        return
    with explaining(path, StorageError):  # it was a label database when it was opened
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


@contextmanager
def explaining(path: Path, damaged: type[UserError] = UserError) -> Iterator[None]:
    """Turn SQLite's errors about the file itself into one line; those about what we asked of it stay as they are.

    damaged: what is raised where the file is no label database, or no longer.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise StoreLocked(f"{path}: another process has been writing to it for too long; stop it") from None
        if problem := storage_problem(error, path):
            raise StorageError(problem) from None
        raise damaged(f"{path} cannot be used as a label database of pbrl ({error})") from None


def _check(db: sqlite3.Connection, path: Path) -> int:
    """Return the schema version, 0 if nothing has been written yet; refuse what is not ours or too new."""
    application, version, tables = (
        db.execute(sql).fetchone()[0]
        for sql in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if application == version == tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise UserError(f"{path} is a database of another program; valid is a labels.sqlite written by pbrl")
    if not 1 <= version <= SCHEMA_VERSION:
        raise UserError(f"{path} has schema version {version}, this pbrl reads 1 to {SCHEMA_VERSION}; update pbrl")
    return version


def _check_content(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Refuses damaged pages, and rows with values of another kind than this pbrl writes."""
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise UserError(f"{path} is damaged ({' '.join(found.split())}); restore it from a copy")
    for table, columns in [*COLUMNS.items(), *(COLUMNS_3.items() if version >= 3 else ())]:
        for column, kinds in columns.items():
            allowed = ", ".join(f"'{kind}'" for kind in kinds.split(" or "))
            sql = f"SELECT {column} FROM {table} WHERE typeof({column}) NOT IN ({allowed}) LIMIT 1"
            if wrong := db.execute(sql).fetchone():
                raise UserError(f"{path}: {column} of {table} is {wrong[0]!r}, expected {kinds}")
    for table, column in (*NAMES, *(NAMES_3 if version >= 3 else ())):
        for (text,) in db.execute(f"SELECT DISTINCT {column} FROM {table}"):
            if not is_name(text):
                valid = "text without control characters, not blank"
                raise UserError(f"{path}: {column} of {table} is {text!r}, expected {valid}")
    _check_references(db, path)
    if version >= 3:
        _check_json(db, path)


def _check_references(db: sqlite3.Connection, path: Path) -> None:
    """Refuses rows that refer to rows that are not there: whatever joins them would leave them out without a word."""
    if broken := db.execute("PRAGMA foreign_key_check").fetchone():
        table, row, other, _ = broken
        found = f"row {row} of {table} refers to a row of {other} that is not there"
        raise UserError(f"{path} is damaged ({found}); restore it from a copy")


def _check_json(db: sqlite3.Connection, path: Path) -> None:
    for (text,) in db.execute("SELECT DISTINCT details FROM batches"):
        if not isinstance(_parsed(text), dict):
            raise UserError(f"{path}: details of batches is {text!r}, expected a JSON object")
    for (text,) in db.execute("SELECT DISTINCT value FROM answers WHERE value IS NOT NULL"):
        numbers = _parsed(text)
        if not isinstance(numbers, list) or not numbers or not all(type(x) in (int, float) for x in numbers):
            raise UserError(f"{path}: value of answers is {text!r}, expected a JSON list of numbers")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _use_wal(db: sqlite3.Connection, busy_s: float) -> None:
    """Use a write-ahead log, so that readers never wait for a writer; try until no other process switches to it."""
    deadline = time.monotonic() + busy_s
    while not _switch_to_wal(db, last_try=time.monotonic() > deadline):
        time.sleep(0.01)


def _switch_to_wal(db: sqlite3.Connection, last_try: bool) -> bool:
    try:
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if last_try or "locked" not in str(error):
            raise
        return False
    return True


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Bring a store of any version, or of none, to this one; older rows stay as they are."""
    with transaction(db, path):
        version = _check(db, path)  # another process may have been faster
        for statements in SCHEMA[version:]:
            for statement in statements.strip().split(";\n\n"):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
