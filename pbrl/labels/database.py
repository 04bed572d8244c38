"""Opening the label database from any number of processes, checking and upgrading it, and its transactions."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pbrl.errors import StorageError, UserError, is_name
from pbrl.labels import schema
from pbrl.reading import require_file
from pbrl.storage import storage_problem

BUSY_TIMEOUT_S = 30.0


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
            if version < schema.SCHEMA_VERSION:
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
    if application != schema.APPLICATION_ID:
        raise UserError(f"{path} is a database of another program; valid is a labels.sqlite written by pbrl")
    if not 1 <= version <= schema.SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}, this pbrl reads 1 to {schema.SCHEMA_VERSION}; update pbrl"
        )
    return version


def _check_content(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Refuse damaged pages, and rows with values of another kind than this pbrl writes."""
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise UserError(f"{path} is damaged ({' '.join(found.split())}); restore it from a copy")
    for table, columns in [*schema.COLUMNS.items(), *(schema.COLUMNS_3.items() if version >= 3 else ())]:
        for column, kinds in columns.items():
            allowed = ", ".join(f"'{kind}'" for kind in kinds.split(" or "))
            sql = f"SELECT {column} FROM {table} WHERE typeof({column}) NOT IN ({allowed}) LIMIT 1"
            if wrong := db.execute(sql).fetchone():
                raise UserError(f"{path}: {column} of {table} is {wrong[0]!r}, expected {kinds}")
    for table, column in (*schema.NAMES, *(schema.NAMES_3 if version >= 3 else ())):
        for (text,) in db.execute(f"SELECT DISTINCT {column} FROM {table}"):
            if not is_name(text):
                valid = "text without control characters, not blank"
                raise UserError(f"{path}: {column} of {table} is {text!r}, expected {valid}")
    _check_references(db, path)
    if version >= 3:
        _check_json(db, path)


def _check_references(db: sqlite3.Connection, path: Path) -> None:
    """Refuse rows that refer to rows that are not there: whatever joins them would leave them out without a word."""
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
        for statements in schema.SCHEMA[version:]:
            for statement in statements.strip().split(";\n\n"):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
