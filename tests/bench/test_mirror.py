"""A copy of a run directory can be gone on with at any moment, whenever it was taken and wherever the copying ended."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pbrl.bench.executors import mirror
from pbrl.bench.executors.mirror import Source, adopt, all_files, read_pieces, relocate, write_pieces
from pbrl.errors import UserError
from pbrl.labels import store as labels
from pbrl.training import checkpoint
from pbrl.training.checkpoint import Checkpoints


class Run:
    """Writes as runs do: table and labels grow by one row per step, and a checkpoint knows how many there were."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.step = folder, 0
        folder.mkdir()
        (folder / "table.csv").touch()
        self.db = sqlite3.connect(folder / labels.FILE_NAME, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("CREATE TABLE answers (segment TEXT)")
        self.checkpoints = Checkpoints(folder / "checkpoints", keep=1)

    def advance(self) -> None:
        self.step += 1
        with (self.folder / "table.csv").open("a") as file:
            file.write(f"{self.step}\n")
        segment = f"episodes/{self.step}.npz"
        (self.folder / "episodes").mkdir(exist_ok=True)
        (self.folder / segment).write_bytes(b"segment")
        self.db.execute("INSERT INTO answers VALUES (?)", (segment,))
        self.checkpoints.save(self.step, {"rows": self.step, "weights": torch.full((1000,), float(self.step))})


def check_copy(folder: Path) -> int:
    """The step that the copy goes on from, after making sure that it has all that this step knew."""
    store = Checkpoints(folder / "checkpoints", keep=1)
    last = store.last()
    assert last is not None
    state = store.load(last)
    assert state["weights"].unique().tolist() == [state["rows"]]
    lines = (folder / "table.csv").read_text().splitlines()
    assert lines[: state["rows"]] == [str(n + 1) for n in range(state["rows"])]
    with closing(sqlite3.connect(folder / labels.FILE_NAME)) as db:
        segments = [row[0] for row in db.execute("SELECT segment FROM answers")]
    assert len(segments) >= state["rows"]
    assert all((folder / segment).exists() for segment in segments)
    return state["rows"]


def carry(source: Source, copy: Path, tmp_path: Path, ended: bool = False) -> None:
    names, removed = source.stage(tmp_path / "staged", ended)
    incoming = tmp_path / "incoming"
    for message in read_pieces(tmp_path / "staged", names):
        write_pieces(incoming, message)
    incoming.mkdir(exist_ok=True)
    adopt(incoming, copy, removed)


def test_names_are_those_of_their_owners():
    assert (mirror.LABELS, mirror.MANIFEST) == (labels.FILE_NAME, checkpoint.MANIFEST)


def test_every_copy_of_a_run_that_goes_on_is_whole(tmp_path):
    run, copy, ended = Run(tmp_path / "run"), tmp_path / "copy", threading.Event()
    run.advance()

    def write() -> None:
        while not ended.is_set():
            run.advance()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        source, steps = Source(run.folder), []
        for _ in range(15):
            carry(source, copy, tmp_path)
            steps.append(check_copy(copy))
    finally:
        ended.set()
        writer.join(60)
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]
    carry(source, copy, tmp_path, ended=True)
    assert check_copy(copy) == run.step
    # -wal and -shm stay as long as the writer's connection is open.
    assert all_files(copy) == [name for name in all_files(run.folder) if not name.endswith(("-wal", "-shm"))]


def test_an_answer_is_sent_though_the_files_of_the_labels_look_the_same(tmp_path):
    run, copy, source = Run(tmp_path / "run"), tmp_path / "copy", Source(tmp_path / "run")
    log = run.folder / f"{labels.FILE_NAME}-wal"
    for _ in range(5):
        run.advance()
    run.db.execute("PRAGMA wal_checkpoint(RESTART)")
    run.advance()  # at the start of the log, which keeps its size
    before = log.stat()
    carry(source, copy, tmp_path)
    run.advance()
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))  # as two writings within a tick of the file system
    assert log.stat().st_size == before.st_size
    carry(source, copy, tmp_path)
    assert check_copy(copy) == 7


def test_only_what_changed_is_sent(tmp_path):
    run, source = Run(tmp_path / "run"), Source(tmp_path / "run")
    run.advance()
    first, _ = source.stage(tmp_path / "staged", ended=False)
    assert "table.csv" in first
    assert source.stage(tmp_path / "staged", ended=False) == ([], [])
    run.advance()
    names, removed = source.stage(tmp_path / "staged", ended=False)
    kept = [f"checkpoints/2/{name}" for name in ("manifest.json", "state.json", "tensors.pt")]
    assert names == [*kept, "checkpoints/last", "episodes/2.npz", "labels.sqlite", "table.csv"]
    assert sorted(removed) == [name.replace("/2/", "/1/") for name in kept]
    assert Source(run.folder, known=True).stage(tmp_path / "staged", ended=True) == ([], [])


def test_the_summary_goes_last_of_all(tmp_path):
    run, source = Run(tmp_path / "run"), Source(tmp_path / "run")
    (run.folder / "summary.json").write_text("{}")
    assert "summary.json" not in source.stage(tmp_path / "staged", ended=False)[0]
    assert source.stage(tmp_path / "staged", ended=True)[0] == ["summary.json"]


class KilledError(Exception):
    pass


def test_a_copy_that_is_killed_at_any_call_can_be_gone_on_with(tmp_path, monkeypatch):
    run, copy = Run(tmp_path / "run"), tmp_path / "copy"
    run.advance()
    source = Source(run.folder)
    carry(source, copy, tmp_path)
    run.advance()
    (run.folder / "summary.json").write_text("{}")
    _, removed = source.stage(tmp_path / "staged", ended=True)
    calls = {"left": 0}

    def killing(function):
        def call(*args, **kwargs):
            calls["left"] -= 1
            if calls["left"] < 0:
                raise KilledError
            return function(*args, **kwargs)

        return call

    moments, steps = 0, set()
    while True:
        trial, incoming = tmp_path / f"trial{moments}", tmp_path / f"incoming{moments}"
        shutil.copytree(copy, trial)
        shutil.copytree(tmp_path / "staged", incoming)
        calls["left"] = moments
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "replace"), (Path, "rename"), (Path, "unlink"), (mirror, "_copy_database")):
                patch.setattr(owner, name, killing(getattr(owner, name)))
            patch.setattr(shutil, "rmtree", killing(shutil.rmtree))
            try:
                adopt(incoming, trial, removed)
            except KilledError:
                pass
            else:
                break
        steps.add(check_copy(trial))
        assert not (trial / "summary.json").exists() or check_copy(trial) == 2
        moments += 1
    assert steps == {1, 2}
    assert check_copy(trial) == 2
    assert moments > 8


def test_a_pointer_to_nothing_is_said(tmp_path):
    run = Run(tmp_path / "run")
    run.advance()
    (run.folder / "checkpoints" / "last").write_text("7\n")
    with pytest.raises(UserError, match="names '7', which is not a whole checkpoint"):
        Source(run.folder).stage(tmp_path / "staged", ended=True)


def test_messages_are_small_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "PIECE_BYTES", 10)
    folder = tmp_path / "from"
    folder.mkdir()
    contents = {"a": b"", "b": b"123", "c": os.urandom(35), "d": b"4567890"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    messages = list(read_pieces(folder, contents))
    assert max(sum(len(piece.content) for piece in message) for message in messages) <= 10
    for message in messages:
        write_pieces(tmp_path / "to", message)
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == contents


def test_config_and_command_name_where_the_run_belongs(tmp_path):
    OmegaConf.save({"run_dir": "/node/run", "data": "/node/data", "note": "a data=b"}, tmp_path / "config.yaml")
    (tmp_path / "command.txt").write_text(
        "pbrl train data=/node/data 'name=x y' run_dir=/node/run --config-dir /node/own\n"
    )
    relocate(tmp_path, "/home/out/s 0", "/home/data", "/home/own")
    assert OmegaConf.load(tmp_path / "config.yaml") == {
        "run_dir": "/home/out/s 0",
        "data": "/home/data",
        "note": "a data=b",
    }
    command = "pbrl train data=/home/data 'name=x y' 'run_dir=/home/out/s 0' --config-dir /home/own\n"
    assert (tmp_path / "command.txt").read_text() == command
