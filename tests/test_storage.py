"""A disk that is full: here a limit on the size of a file, which needs no rights to set and fails in the same calls."""

import contextlib
import errno
import io
import resource
import sqlite3
import threading

import numpy as np
import pytest
import torch
from outcome import assert_same
from tiny import train

from pbrl.cli import main
from pbrl.errors import EnvError, StorageError, UserError
from pbrl.files import new_folder, replacing
from pbrl.labels.store import LabelStore
from pbrl.storage import silence_threads, storage_problem, storing


@contextlib.contextmanager
def files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def big(size=1_000_000):
    return np.random.default_rng(0).normal(size=size // 8)


WRITERS = {
    "npz": lambda path: np.savez(path, a=big()),
    "numpy": lambda path: big().tofile(path),
    "torch": lambda path: torch.save({"a": torch.from_numpy(big())}, path),
    "text": lambda path: path.write_text("x" * 1_000_000),
    "sqlite": lambda path: _fill_database(path),
}


def _fill_database(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (x BLOB)")
    db.execute("INSERT INTO t VALUES (?)", (big().tobytes(),))
    db.commit()


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_writes_the_error_is_one_line_and_nothing_is_left(name, tmp_path):
    (tmp_path / "file.npz").write_text("old")
    refused, file = pytest.raises(StorageError, match=r"file\.npz: "), tmp_path / "file.npz"
    with files_of_at_most(50_000), refused as caught, replacing(file) as partial:
        WRITERS[name](partial)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file.npz").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if "journal" not in path.name] == ["file.npz"]
    with (
        files_of_at_most(50_000),
        pytest.raises(StorageError, match="folder: "),
        new_folder(tmp_path / "folder") as new,
    ):
        WRITERS[name](new / "file.npz")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("size", [3_000, 60_000, 100_000])
def test_a_run_says_in_one_line_that_the_disk_is_full_and_goes_on_when_there_is_room(size, tmp_path):
    assert train(tmp_path / "whole")[0] == 0
    with files_of_at_most(size):
        code, _, err = train(tmp_path / "run")
    assert code == 1
    lines = [line for line in err.splitlines() if "have time for" not in line]
    assert len(lines) == 1
    assert str(tmp_path / "run") in lines[0]
    assert not list(tmp_path.rglob("*.partial*"))
    if not (tmp_path / "run").exists():  # not even its config could be written
        return
    assert f"go on with: pbrl train resume={tmp_path / 'run'}" in lines[0]
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        assert main(["train", f"resume={tmp_path / 'run'}"]) == 0, err.getvalue()
    assert_same(tmp_path / "run", tmp_path / "whole")


def full(*args, **kwargs):
    """As TensorBoard's writer fails, with an error that names no file."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_when_a_run_goes_on_is_named(tmp_path, capsys, monkeypatch):
    assert train(tmp_path / "run", method="true_reward")[0] == 0
    command = ["train", f"resume={tmp_path / 'run'}", "steps=330"]
    with monkeypatch.context() as patch:
        patch.setattr("torch.utils.tensorboard.SummaryWriter", full)
        assert main(command) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"pbrl: {tmp_path / 'run'}: No space left on device; nothing is damaged; once there is room")
    assert main(command) == 0


def test_a_disk_that_is_full_before_the_first_step_is_named_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("pbrl.training.start.begin_with_another", full)
    code, _, err = train(tmp_path / "run", method="true_reward")
    assert code == 1
    assert err == f"pbrl: {tmp_path / 'run'}: No space left on device\n"
    assert not (tmp_path / "run").exists()


def test_collect_says_in_one_line_that_the_disk_is_full(tmp_path, capsys):
    command = ["collect", "env=point_reach", "episodes=4", "policies=random", "segments=20", "segment_length=8"]
    with files_of_at_most(2_000):
        assert main([*command, "comparisons=10", "heldout=2", f"out={tmp_path / 'data'}"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"pbrl: {tmp_path / 'data'}: ")
    assert not list(tmp_path.iterdir())


def test_an_answer_that_does_not_fit_is_refused_whole(tmp_path):
    with LabelStore(tmp_path) as store:
        store.db.execute("CREATE TABLE filler (x BLOB)")
        with files_of_at_most(150_000), pytest.raises(StorageError, match=r"labels\.sqlite"), store.transaction():
            store.db.execute("INSERT INTO filler VALUES (?)", (big().tobytes(),))
    with LabelStore(tmp_path) as store:
        assert store.db.execute("SELECT count(*) FROM filler").fetchone() == (0,)
        assert store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_every_trouble_of_a_disk_is_told_by_its_number(number, tmp_path):
    with pytest.raises(StorageError, match="way out"), storing(tmp_path, "way out"):
        raise OSError(number, "whatever the system calls it")


def test_what_is_no_trouble_of_the_disk_stays_what_it_is(tmp_path):
    for error in (ValueError("bad"), FileNotFoundError(errno.ENOENT, "no such file"), UserError("x=3: valid is 4")):
        assert storage_problem(error) is None
        with pytest.raises(type(error)), storing(tmp_path):
            raise error
    robot = EnvError("the robot failed")
    robot.__cause__ = OSError(errno.EIO, "serial port")
    assert storage_problem(robot) is None


def test_a_writing_thread_is_silent_about_the_disk_and_about_nothing_else(monkeypatch):
    heard = []
    monkeypatch.setattr(threading, "excepthook", lambda met: heard.append(str(met.exc_value)))

    def fail(error):
        raise error

    with silence_threads():
        for error in (OSError(errno.ENOSPC, "no space"), ValueError("a fault of the program")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join(60)
    assert heard == ["a fault of the program"]
