"""Append-only rows in checkpoints: what is written, what is shared, and what comes back."""

import os
import shutil

import numpy as np
import pytest
from killed import Kill, fork

from pbrl.append_only import AppendOnly
from pbrl.errors import UserError
from pbrl.training import shards
from pbrl.training.checkpoint import Checkpoints

WRITES = ["pathlib:Path.write_bytes", "os:link", "os:fsync", "pathlib:Path.write_text", "pathlib:Path.rename"]
PIECE = 8  # rows


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(shards, "PIECE_BYTES", PIECE * 3 * 4)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=1)


class History:
    """Rows that come one by one into an array of a fixed size, the newest in place of the oldest."""

    def __init__(self, size):
        self.array, self.added = np.zeros((size, 3), np.float32), 0

    def add(self, n):
        for _ in range(n):
            self.array[self.added % len(self.array)] = np.arange(3) + 10 * self.added
            self.added += 1

    @property
    def rows(self):
        size = len(self.array)
        if self.added <= size:
            return AppendOnly(self.array[: self.added], 0)
        return AppendOnly(self.array.copy(), self.added - size, self.added % size)


def pieces(folder):
    return {p.name: p.stat() for p in folder.glob("rows_*.bin")}


def assert_same(one, other):
    assert (one.first, one.start) == (other.first, other.start)
    assert one.array.dtype == other.array.dtype
    np.testing.assert_array_equal(one.array, other.array)


@pytest.mark.parametrize("size", [200, 30, 5])
@pytest.mark.parametrize("again", [False, True], ids=["in one process", "each in a new process"])
def test_all_rows_come_back_where_they_lay(checkpoints, size, again):
    history = History(size)
    for step, more in enumerate((0, 1, 7, 3, 40, 0, 25, 8)):
        history.add(more)
        checkpoints.save(step, {"a": {"rows": history.rows}, "step": step})
        store = Checkpoints(checkpoints.folder, keep=1)
        state = store.load(store.last())
        assert_same(state["a"]["rows"], history.rows)
        assert state["step"] == step
        checkpoints = store if again else checkpoints


def test_only_new_rows_and_the_unfinished_piece_are_written(checkpoints):
    history = History(1000)
    history.add(10 * PIECE + 3)
    checkpoints.save(1, {"rows": history.rows})
    before = pieces(checkpoints.folder / "1")
    history.add(PIECE)
    checkpoints.save(2, {"rows": history.rows})
    after = pieces(checkpoints.folder / "2")
    shared = [name for name, stat in after.items() if name in before and before[name].st_ino == stat.st_ino]
    assert (len(before), len(after)) == (11, 12)
    assert len(shared) == 10
    assert sum(stat.st_size for name, stat in after.items() if name not in shared) == (PIECE + 3) * 12
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["2", "last"]


def test_rows_that_were_renumbered_or_changed_their_shape_are_written_anew(checkpoints):
    history = History(100)
    history.add(50)
    checkpoints.save(1, {"rows": history.rows})
    for step, rows in enumerate((AppendOnly(history.array[20:40], 70), AppendOnly(np.zeros((100, 2)), 0)), 2):
        checkpoints.save(step, {"rows": rows})
        assert_same(Checkpoints(checkpoints.folder, 1).load(checkpoints.last())["rows"], rows)


def test_without_hard_links_it_writes_all(checkpoints, monkeypatch):
    def refuse(*args):
        raise OSError("not here")

    monkeypatch.setattr(os, "link", refuse)
    history = History(100)
    for step in (1, 2):
        history.add(30)
        checkpoints.save(step, {"rows": history.rows})
        assert_same(Checkpoints(checkpoints.folder, 1).load(checkpoints.last())["rows"], history.rows)


def test_a_checkpoint_is_whole_without_its_neighbours(tmp_path):
    checkpoints, history = Checkpoints(tmp_path / "checkpoints", keep=2), History(100)
    for step in (1, 2):
        history.add(30)
        checkpoints.save(step, {"rows": history.rows})
    shutil.rmtree(checkpoints.folder / "1")
    assert_same(Checkpoints(checkpoints.folder, 2).load(checkpoints.last())["rows"], history.rows)
    history.add(30)
    checkpoints.save(3, {"rows": history.rows})  # and so is one that was to share with a folder that is gone
    shutil.rmtree(checkpoints.folder / "2")
    history.add(30)
    checkpoints.save(4, {"rows": history.rows})
    assert_same(Checkpoints(checkpoints.folder, 2).load(checkpoints.last())["rows"], history.rows)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_write_leaves_the_old_or_the_new_one_in_force(checkpoints, when):
    old, new = History(100), History(100)
    old.add(30)
    new.add(47)
    checkpoints.save(5, {"rows": old.rows})
    for n in range(1, 60):
        code = fork(lambda: checkpoints.save(9, {"rows": new.rows}), [Kill(where, n, when) for where in WRITES])
        store = Checkpoints(checkpoints.folder, keep=1)
        last = store.last()
        assert_same(store.load(last)["rows"], {"5": old, "9": new}[last.name].rows)
        if code == 0:
            break
        assert code == -9
    assert n > 8
    assert last.name == "9"


def test_the_way_out_of_damage_names_no_checkpoint_that_shares_it(tmp_path):
    checkpoints, history = Checkpoints(tmp_path / "checkpoints", keep=3), History(100)
    for step in (1, 2, 3):
        history.add(2 * PIECE if step < 3 else 1)
        checkpoints.save(step, {"rows": history.rows})
    shared = checkpoints.folder / "3" / f"rows_0_{PIECE * 2}.bin"  # of 2 and 3
    shared.write_bytes(b"?" + shared.read_bytes()[1:])
    with pytest.raises(UserError, match=rf"3 is damaged \({shared.name}\); write 1 into"):
        checkpoints.load(checkpoints.last())
    first = checkpoints.folder / "3" / "rows_0_0.bin"  # of all
    first.write_bytes(b"")
    with pytest.raises(UserError, match=r"3 is damaged \(.*\); start anew"):
        checkpoints.load(checkpoints.last())
