"""The label store when processes are killed and when several write at once."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from questions_made import make_questions, make_told
from stored import unanswered
from test_label_store import ask, assert_equal, make_answers, make_segments

from pbrl.labels.store import LabelStore

TESTS = Path(__file__).resolve().parents[1]
COMMON = """
import os
import signal
import sys
from pathlib import Path
sys.path[:0] = {tests!r}
from test_label_store import ask, make_answers
from pbrl.labels.store import LabelStore
run_dir, name = Path(sys.argv[1]), sys.argv[2]
"""
ANSWER_FOREVER = """
with LabelStore(run_dir) as store:
    queries = ask(store, n=40)
    for i in range(10**9):
        query, value = queries[i % 40], (i // 40) % 2
        (answer,) = store.answer([query], make_answers(value), name)
        print(answer, query, value, flush=True)
"""
ASK_FOREVER = """
with LabelStore(run_dir) as store:
    for session in range(1, 10**9):
        ids = ask(store, session=session, seed=session)
        print(session, ids[0], flush=True)
"""
ASK_ALL_KINDS = """
from questions_made import make_questions, make_told
from pbrl.labels.files import QuestionFiles
publish = QuestionFiles.publish
def killed_after_naming(self, staged, session):
    file = publish(self, staged, session)
    if name == file:
        os.kill(os.getpid(), signal.SIGKILL)
    return file
QuestionFiles.publish = killed_after_naming
with LabelStore(run_dir) as store:
    for session, (kind, questions) in enumerate(make_questions().items(), 1):
        ids = store.ask(session, 0, questions, sampler="s")
        store.answer(ids, make_told(kind), "anna")
        print(session, ids[0], flush=True)
"""
ANSWER_EACH = """
print("ready", flush=True)
sys.stdin.readline()
with LabelStore(run_dir) as store:
    for session in range(1, 6):
        for query in ask(store, session=session, seed=session):
            store.answer([query], make_answers(1), name)
            store.counts()
"""


def start(code, run_dir, name):
    program = COMMON.format(tests=[str(TESTS / "labels"), str(TESTS / "shared")]) + code
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", program, str(run_dir), name], text=True, env=environment, **pipes)


def kill_after(process, lines, extra_s):
    """What the process had acknowledged when it was killed, at an arbitrary moment after `lines` lines."""
    acknowledged = [process.stdout.readline() for _ in range(lines)]
    time.sleep(extra_s)
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().splitlines(keepends=True)
    process.wait(60)
    assert process.returncode == -signal.SIGKILL
    return [tuple(map(int, line.split())) for line in acknowledged if line.endswith("\n")]


def integrity(run_dir):
    with sqlite3.connect(run_dir / "labels.sqlite") as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0], db.execute("PRAGMA foreign_key_check").fetchall()


def test_every_acknowledged_answer_survives_kill_9(tmp_path):
    acknowledged = kill_after(start(ANSWER_FOREVER, tmp_path, "anna"), lines=100, extra_s=0.01)
    assert len(acknowledged) >= 100
    with LabelStore(tmp_path) as store:
        rows = store._db.execute("SELECT id, query, prefers_right FROM answers WHERE retracts IS NULL").fetchall()
        assert set(acknowledged) <= set(rows)
        assert len(rows) <= len(acknowledged) + 1  # at most the one that was being acknowledged
        standing = store.standing_answers()
        assert len(standing) == len({a.query for a in standing}) == 40
        store.answer([standing[0].query], make_answers(None), "anna")
    assert integrity(tmp_path) == ("ok", [])


def test_every_acknowledged_query_has_its_segments_after_kill_9(tmp_path):
    acknowledged = kill_after(start(ASK_FOREVER, tmp_path, "anna"), lines=20, extra_s=0.01)
    with LabelStore(tmp_path) as store:
        for session, first in acknowledged:
            assert_equal(store.segments(list(range(first, first + 4)))[0], make_segments(4, session))
        store.segments([q.id for q in store.queries()])
        session = acknowledged[-1][0] + 1  # goes on where it was killed, whatever was left there
        ids = ask(store, session=session, seed=session)
        assert_equal(store.segments(ids)[0], make_segments(4, session))
    assert integrity(tmp_path) == ("ok", [])


@pytest.mark.parametrize("session", [2, 3, 4, 7])
def test_a_kill_between_file_and_commit_loses_no_question_of_any_kind(tmp_path, session):
    file = f"episodes/session_{session:05d}.npz"
    process = start(ASK_ALL_KINDS, tmp_path, file)
    acknowledged = process.stdout.read().splitlines()
    assert process.wait(60) == -signal.SIGKILL
    assert len(acknowledged) == session - 1
    assert (tmp_path / file).exists()
    with LabelStore(tmp_path) as store:
        assert len(store.queries(kind=None, criterion=None)) == 3 * (session - 1)
        for number, (kind, questions) in enumerate(make_questions().items(), 1):
            ids = store.ask(number, 0, questions, sampler="s")
            assert ids == [3 * number - 2, 3 * number - 1, 3 * number]
            assert store.questions(ids).hashes() == questions.hashes()
            store.answer(ids, make_told(kind), "anna")
        assert store.counts(kind=None, criterion=None)["answers"] == 3 * len(make_questions())
    files = list((tmp_path / "episodes").glob("*.npz"))
    assert len(files) == len(make_questions())  # the file that was named already is used
    assert integrity(tmp_path) == ("ok", [])


def test_processes_create_ask_and_answer_at_once(tmp_path):
    names = ["anna", "bert"]
    processes = [start(ANSWER_EACH, tmp_path, name) for name in names]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    with LabelStore(tmp_path) as store:
        assert store.counts()["queries"] == 20
        assert {name: c["answers"] for name, c in store.counts()["annotators"].items()} == dict.fromkeys(names, 20)
    assert len(list((tmp_path / "episodes").iterdir())) == 5
    assert integrity(tmp_path) == ("ok", [])


def test_one_store_sees_what_another_has_written(tmp_path):
    with LabelStore(tmp_path) as trainer, LabelStore(tmp_path) as viewer:
        ids = ask(trainer)
        assert unanswered(viewer) == ids
        with viewer.transaction():
            viewer.answer(ids[:1], make_answers(1), "anna")
            assert unanswered(trainer) == ids  # readers neither wait nor see half of it
        assert unanswered(trainer) == ids[1:]
