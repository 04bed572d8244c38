import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import Kill, fork

from pbrl.errors import UserError
from pbrl.training.checkpoint import Checkpoints

WRITES = ["pathlib:Path.mkdir", "pathlib:Path.write_text", "torch:save", "os:fsync", "pathlib:Path.rename"]


def make_state(x):
    return {
        "weights": {"w": torch.full((3, 2), float(x)), "step": torch.tensor(7)},
        "optimizer": {0: {"betas": (0.9, 0.999), "fused": None}, 1: [torch.arange(x), "name", True]},
        "rows": np.arange(x, dtype=np.int8).reshape(1, -1),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.float64(0.1),
        "exact": [0.1 + 0.2, 2**100, float("nan"), float("-inf")],
        "arrays": [np.ones(2), np.zeros((2, 2))],
    }


def assert_same(a, b):
    assert type(a) is type(b) or isinstance(a, np.generic)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, (np.ndarray, np.generic)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b or (a != a and b != b)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def test_everything_comes_back_as_it_was(checkpoints):
    checkpoints.save(5, make_state(3))
    assert_same(make_state(3), checkpoints.load(checkpoints.last()))


def test_before_the_first_there_is_none(checkpoints):
    assert checkpoints.last() is None


def test_the_newest_few_are_kept_and_an_abandoned_future_is_not(checkpoints):
    for step in (5, 10, 100, 200):
        checkpoints.save(step, make_state(step))
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["100", "200", "last"]
    (checkpoints.folder / "last").write_text("100\n")  # by hand, to go on from there
    checkpoints.save(150, make_state(2))
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["100", "150", "last"]


def test_what_cannot_be_stored_is_named(checkpoints):
    with pytest.raises(TypeError, match=r"checkpoint/a/1: cannot store a set"):
        checkpoints.save(1, {"a": [1, {2}]})


@pytest.mark.parametrize("first", [True, False], ids=["first checkpoint", "second checkpoint"])
@pytest.mark.parametrize("when", ["before", "after", "torn"])
def test_a_kill_at_any_write_leaves_the_old_or_the_new_one_in_force(checkpoints, first, when):
    if not first:
        checkpoints.save(5, make_state(5))
    for n in range(1, 100):
        code = fork(lambda: checkpoints.save(9, make_state(9)), [Kill(where, n, when) for where in WRITES])
        last = checkpoints.last()
        if last is None:
            assert first
        else:
            assert_same(make_state(int(last.name)), checkpoints.load(last))
            assert last.name == "9" or not first
        if code == 0:
            break
        assert code == -9
    assert n > 10  # writes, each of which was the last
    assert checkpoints.last().name == "9"
    checkpoints.save(12, make_state(12))
    assert not list(checkpoints.folder.glob("*.partial"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_while_one_replaces_another_of_its_step_loses_neither(tmp_path, when):
    checkpoints, removes = Checkpoints(tmp_path / "checkpoints", keep=1), "os:unlink"
    checkpoints.save(9, {"x": 0})
    for n in range(1, 100):
        kills = [Kill(where, n, when) for where in [*WRITES, removes]]
        code = fork(lambda n=n: checkpoints.save(9, {"x": n}), kills)
        assert checkpoints.load(checkpoints.last())["x"] in range(n + 1)
        if code == 0:
            break
        assert code == -9
    assert n > 14
    assert checkpoints.load(checkpoints.last())["x"] == n
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["9", "last"]


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "tensors.pt"])
@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "one bit"])
def test_a_damaged_file_is_named_with_the_way_out(checkpoints, name, damage):
    for step in (5, 9):
        checkpoints.save(step, make_state(step))
    file = checkpoints.folder / "9" / name
    content = file.read_bytes()
    middle = len(content) // 2
    broken = {
        "empty": b"",
        "torn": content[:middle],
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    file.unlink() if damage == "missing" else file.write_bytes(broken[damage])
    with pytest.raises(UserError, match=r"9 is damaged \(.*\); write 5 into .*last to go on from there"):
        checkpoints.load(checkpoints.last())
    (checkpoints.folder / "last").write_text("5")
    assert_same(make_state(5), checkpoints.load(checkpoints.last()))


def test_with_no_other_checkpoint_the_way_out_is_a_new_start(checkpoints):
    checkpoints.save(5, make_state(5))
    (checkpoints.folder / "5" / "tensors.pt").unlink()
    with pytest.raises(UserError, match="start anew"):
        checkpoints.load(checkpoints.last())


@pytest.mark.parametrize("content", [b"77\n", b"", b"../elsewhere", b"\xff\xfe\x00"])
def test_a_pointer_to_nothing_names_what_there_is(checkpoints, content):
    checkpoints.save(5, make_state(5))
    (checkpoints.folder / "last").write_bytes(content)
    with pytest.raises(UserError, match=r"last names .* is not a checkpoint; valid: \['5'\]"):
        checkpoints.last()


def test_a_lost_pointer_means_the_newest(checkpoints):
    for step in (9, 100):
        checkpoints.save(step, make_state(step))
    (checkpoints.folder / "last").unlink()
    assert checkpoints.last().name == "100"


class Mischief:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_nothing_in_a_checkpoint_can_run_code(checkpoints, tmp_path):
    checkpoints.save(5, make_state(5))
    folder, proof = checkpoints.folder / "5", tmp_path / "it ran"
    torch.save({"x": Mischief(proof)}, folder / "tensors.pt")
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(folder)
    content = (folder / "tensors.pt").read_bytes()  # and now with a manifest that fits
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tensors.pt"] = {"bytes": len(content), "crc32": zlib.crc32(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="holds something else than tensors; pickled objects are never loaded"):
        checkpoints.load(folder)
    assert not proof.exists()
