"""Label files of older versions: the schemas as they were then, and rows as they were written."""

import hashlib
import json
import shutil
import sqlite3

import numpy as np
import pytest
import torch
from questions_made import make_questions, make_told
from test_label_store import assert_equal, make_answers, make_segments

from pbrl.errors import UserError
from pbrl.labels.schema import SCHEMA_VERSION
from pbrl.labels.sets import export_labels, load_label_set
from pbrl.labels.store import LabelStore
from pbrl.question_kinds import Triplet

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
ANSWERS = [  # id, query, annotator, kind, prefers_right, retracts, response_s, client_id
    (1, 1, 1, "human", 0.0, None, 2.5, "a"),
    (2, 2, 1, "human", None, None, 1.5, "b"),
    (3, 1, 1, "human", None, 1, None, None),
    (4, 1, 1, "human", 0.75, None, 0.5, "c"),
    (5, 3, 2, "scripted", 0.5, None, None, None),
]


def hash_of(obs, actions, mask):
    """blake2b-128 over dtypes, shapes and bytes, as docs/data-format.md says."""
    shapes = " ".join(f"{x.dtype.str}{x.shape}" for x in (obs, actions, mask))
    return hashlib.blake2b(shapes.encode() + b"".join(x.tobytes() for x in (obs, actions, mask)), digest_size=16)


def hashes(segments):
    rows = zip(*(x.numpy() for x in (segments.obs, segments.actions, segments.mask)), strict=True)
    return [hash_of(*row).hexdigest() for row in rows]


def write_old(folder, version):
    """Three pairs in one session, answers with an undo and a change of mind; a view, a lease and a retired question."""
    (folder / "episodes").mkdir(parents=True)
    sides = {"left": make_segments(3, 0), "right": make_segments(3, 50)}
    arrays = {
        f"{s}/{name}": x.numpy() for s, segments in sides.items() for name, x in vars(segments).items() if x is not None
    }
    np.savez(folder / "episodes" / "session_00001.npz", **arrays)
    pairs = list(zip(hashes(sides["left"]), hashes(sides["right"]), strict=True))
    content = hashlib.blake2b(" ".join(a + b for a, b in pairs).encode(), digest_size=16).hexdigest()
    with sqlite3.connect(folder / "labels.sqlite") as db:
        db.executescript(VERSION_1 + (VERSION_2 if version == 2 else ""))
        db.execute("PRAGMA application_id = 0x7062726C")
        db.execute(f"PRAGMA user_version = {version}")
        batch = (1, 1, 1000, "uniform", "episodes/session_00001.npz", content, 1.5)
        db.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", batch)
        db.executemany(
            "INSERT INTO queries VALUES (?, 1, ?, ?, ?)", [(i + 1, i, *both) for i, both in enumerate(pairs)]
        )
        db.execute("INSERT INTO annotators VALUES (1, 'anna'), (2, 'scripted:oracle')")
        db.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, 7.5)", ANSWERS)
        if version == 2:
            db.execute("INSERT INTO views VALUES (4, 'right', 'slight', 1, 1.0, NULL, 2, 3, 'page')")
            db.execute("INSERT INTO leases VALUES (3, 1, 9e9)")
            db.execute("INSERT INTO retired VALUES (2, 'old', 1.0)")
            db.execute("INSERT INTO signals VALUES (1, 'continue', 1.0)")
    db.close()
    return folder


def dump(path):
    """Every row of every table, by column."""
    with sqlite3.connect(path) as db:
        db.row_factory = sqlite3.Row
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {table: [dict(row) for row in db.execute(f"SELECT * FROM {table}")] for table in tables}
    db.close()
    return found


@pytest.fixture(params=[1, 2])
def old(request, tmp_path):
    return write_old(tmp_path / "run", request.param)


def test_an_upgrade_keeps_every_row_and_every_file(old):
    before, files = dump(old / "labels.sqlite"), {p.name: p.read_bytes() for p in (old / "episodes").iterdir()}
    LabelStore(old, create=False).close()
    after = dump(old / "labels.sqlite")
    for table, rows in before.items():
        assert [{name: row[name] for name in old_row} for row, old_row in zip(after[table], rows, strict=True)] == rows
    assert {p.name: p.read_bytes() for p in (old / "episodes").iterdir()} == files
    assert {(b["kind"], b["items"], b["criterion"], b["details"]) for b in after["batches"]} == {
        ("segment_pair", 2, "overall", "{}")
    }
    with sqlite3.connect(old / "labels.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION == 5
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()
    LabelStore(old).close()
    assert dump(old / "labels.sqlite") == after  # once is enough


def test_an_old_file_reads_and_goes_on_as_a_new_one(old):
    with LabelStore(old, create=False) as store:
        left, right = store.segments([3, 1])
        assert_equal(left, make_segments(3, 0)[[2, 0]])
        assert_equal(right, make_segments(3, 50)[[2, 0]])
        standing = [(a.id, a.query, a.annotator, a.prefers_right, a.value) for a in store.standing_answers()]
        assert standing == [
            (4, 1, "anna", 0.75, (0.75,)),
            (2, 2, "anna", None, None),
            (5, 3, "scripted:oracle", 0.5, (0.5,)),
        ]
        assert store.comparisons().criterion == "overall"
        assert store.ask(1, 1000, make_segments(3, 0), make_segments(3, 50), sampler="uniform") == [1, 2, 3]
        assert store.answer([1], make_answers(0.75), "anna") == [4]
        store.retract(4)
        ids = store.ask(1, 1000, make_questions()["triplet"], sampler="uniform")
        assert ids == [4, 5, 6]
        store.answer(ids, make_told("triplet"), "anna")
        assert [q.id for q in store.queries()] == [1, 2, 3]
        assert len(store.answered(kind=Triplet, criterion="speed").questions) == 2
    with sqlite3.connect(old / "labels.sqlite") as db:
        for statement in ("UPDATE answers SET value = '[1.0]'", "DELETE FROM answers"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
        with pytest.raises(sqlite3.IntegrityError, match="an answer stands"):
            db.execute("INSERT INTO answers (query, annotator, kind, created_at) VALUES (4, 1, 'human', 0)")
    db.close()


def test_an_upgrade_that_is_broken_off_changes_nothing(old, monkeypatch):
    from pbrl.labels import schema as label_schema

    before = dump(old / "labels.sqlite")
    broken = label_schema.VERSION_3 + "\n\nCREATE TABLE batches (id INTEGER);"
    monkeypatch.setattr(label_schema, "SCHEMA", (*label_schema.SCHEMA[:2], broken))
    with pytest.raises(UserError, match="cannot be used as a label database"):
        LabelStore(old)
    assert dump(old / "labels.sqlite") == before
    monkeypatch.undo()
    LabelStore(old).close()


def test_a_newer_version_is_refused_and_left_alone(old):
    with sqlite3.connect(old / "labels.sqlite") as db:
        db.execute("PRAGMA user_version = 6")
    db.close()
    before = (old / "labels.sqlite").read_bytes()
    with pytest.raises(UserError, match="schema version 6, this pbrl reads 1 to 5; update pbrl"):
        LabelStore(old)
    assert (old / "labels.sqlite").read_bytes() == before


def test_an_old_file_is_exported_as_pairs_and_a_set_of_version_1_is_read_as_pairs(old, tmp_path):
    meta = export_labels(old, tmp_path / "set")
    assert (meta["version"], meta["kind"], meta["items"], meta["criterion"]) == (2, "segment_pair", 2, "overall")
    older = {name: value for name, value in meta.items() if name not in ("kind", "items", "criterion", "details")}
    shutil.copytree(tmp_path / "set", tmp_path / "older")
    (tmp_path / "older" / "meta.json").write_text(json.dumps(older | {"version": 1}))
    labels = load_label_set(tmp_path / "older")
    assert (labels.questions.kind, labels.questions.criterion) == ("segment_pair", "overall")
    assert torch.equal(labels.comparisons.prefers_right, torch.tensor([0.75, 0.5]))
