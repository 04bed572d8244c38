"""The tables of the label database, version by version, and what its columns hold."""

from __future__ import annotations

SCHEMA_VERSION = 5
APPLICATION_ID = 0x7062726C  # "pbrl", so that another program's database is not mistaken for ours

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
