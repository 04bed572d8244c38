"""What the label store refuses: files that are not its own, or are damaged."""

import sqlite3

import numpy as np
import pytest
from test_label_store import ask, make_answers

from pbrl.errors import UserError
from pbrl.labels.store import LabelStore


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "run") as store:
        yield store


def test_the_database_itself_refuses_to_change_or_drop_an_answer(store):
    store.answer(ask(store), make_answers(0, 1, 0, 1), "anna")
    with sqlite3.connect(store.path) as db:
        for statement in ("UPDATE answers SET prefers_right = 1", "DELETE FROM answers"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
        with pytest.raises(sqlite3.IntegrityError, match="an answer stands"):
            db.execute("INSERT INTO answers (query, annotator, kind, created_at) VALUES (1, 1, 'human', 0)")


def test_files_that_are_no_label_store_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"labels\.sqlite is missing"):
        LabelStore(tmp_path / "typo", create=False)
    assert not (tmp_path / "typo").exists()
    path = tmp_path / "labels.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match="not a database"):
        LabelStore(tmp_path)
    assert path.read_bytes() == b"no database at all" * 100
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(UserError, match="database of another program"):
        LabelStore(tmp_path)
    path.unlink()
    LabelStore(tmp_path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 6")
    with pytest.raises(UserError, match="schema version 6, this pbrl reads 1 to 5"):
        LabelStore(tmp_path)


def test_damaged_segment_files_are_refused_in_one_line(store):
    ids = ask(store)
    path = store.run_dir / "episodes" / "session_00001.npz"
    whole = path.read_bytes()
    arrays = dict(np.load(path))

    def pickled():
        np.savez(path, **arrays | {"left/obs": np.array([{}], object)}, allow_pickle=True)

    for damage, message in (
        (lambda: path.write_bytes(whole[: len(whole) // 2]), "is damaged"),
        (lambda: path.write_bytes(whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:]), "is damaged"),
        (lambda: path.write_bytes(b""), "is damaged"),
        (lambda: np.save(path.open("wb"), np.zeros(3)), "not an npz file"),
        (pickled, "pickled objects are never loaded"),
        (lambda: np.savez(path, **{k: v for k, v in arrays.items() if k != "left/mask"}), "left/mask missing"),
        (lambda: np.savez(path, **arrays | {"right/mask": arrays["right/mask"][:, 1:]}), r"mask has shape \(4, 4\)"),
        (lambda: np.savez(path, **arrays | {"left/obs": arrays["left/obs"] + 1}), "holds other segments"),
        (path.unlink, "is missing"),
    ):
        damage()
        with LabelStore(store.run_dir) as fresh, pytest.raises(UserError, match=message) as caught:
            fresh.segments(ids)
        assert "\n" not in str(caught.value)
        assert "session_00001.npz" in str(caught.value)


def change(path, *statements):
    """As a user of the database does who takes away what keeps answers as they are."""
    with sqlite3.connect(path) as db:
        for statement in ("DROP TRIGGER answers_keep", "DROP TRIGGER answers_stay", *statements):
            db.execute(statement)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE answers SET annotator = 99", "row 1 of answers refers to a row of annotators"),
        ("UPDATE answers SET query = 99", "row 1 of answers refers to a row of queries"),
        ("DELETE FROM annotators", "row 1 of answers refers to a row of annotators"),
        ("DELETE FROM batches", "row 1 of queries refers to a row of batches"),
    ],
)
def test_answers_whose_annotator_or_question_is_gone_are_missed(store, statement, says):
    store.answer(ask(store), make_answers(0, 1, 0, 1), "anna")
    store.close()
    change(store.path, statement)
    with pytest.raises(UserError, match=rf"labels\.sqlite is damaged \({says} that is not there\); restore it from"):
        LabelStore(store.run_dir)


@pytest.mark.parametrize("text", ["", " ", "anna\x1b[2J", "an\nna"])
@pytest.mark.parametrize("column", ["annotators.name", "answers.kind", "batches.sampler"])
def test_a_name_that_no_terminal_should_show_is_refused(store, column, text):
    store.answer(ask(store), make_answers(0, 1, 0, 1), "anna")
    store.close()
    table, name = column.split(".")
    change(store.path, f"UPDATE {table} SET {name} = char({', '.join(str(ord(c)) for c in text)})")
    with pytest.raises(
        UserError, match=rf"{name} of {table} is .*, expected text without control characters"
    ) as caught:
        LabelStore(store.run_dir)
    assert str(caught.value).isprintable()
