"""Who may read what is written."""

import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import collect, train

from pbrl.files import new_folder, no_folder, replacing
from pbrl.labels.sets import export_labels

PRIVATE = {"labels.sqlite", "episodes", "checkpoints"}


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_others_read_has_the_mode_of_the_umask_whoever_writes_it(umask, tmp_path):
    with replacing(tmp_path / "model.safetensors") as partial:
        save_file({"a": torch.zeros(3)}, str(partial))
    assert mode(tmp_path / "model.safetensors") == 0o666 & ~umask
    with new_folder(tmp_path / "set") as folder:
        save_file({"a": torch.zeros(3)}, str(folder / "model.safetensors"))
    assert mode(tmp_path / "set") == 0o777 & ~umask
    assert mode(tmp_path / "set" / "model.safetensors") == 0o666 & ~umask


def test_what_is_private_is_for_the_owner_alone(umask, tmp_path):
    (tmp_path / "token.json").write_text("old")
    with replacing(tmp_path / "token.json", private=True) as partial:
        partial.write_text("new")
    with new_folder(tmp_path / "labels", private=True) as folder:
        (folder / "labels.npz").write_text("answers")
    modes = [mode(tmp_path / name) for name in ("token.json", "labels", "labels/labels.npz")]
    assert modes == [0o600, 0o700, 0o600]


def test_of_a_run_others_read_the_models_and_the_owner_alone_the_answers(tmp_path):
    before = os.umask(0o022)
    try:
        assert train(tmp_path / "run")[0] == 0
        export_labels(tmp_path / "run", tmp_path / "labels")
        collect(tmp_path / "data")
    finally:
        os.umask(before)
    for path in (tmp_path / "run").iterdir():
        if path.name in PRIVATE:
            assert mode(path) == (0o700 if path.is_dir() else 0o600), path
        else:
            assert mode(path) == (0o755 if path.is_dir() else 0o644), path
    assert {path.name for path in (tmp_path / "run").iterdir()} >= PRIVATE | {"policy.zip", "reward.safetensors"}
    assert {mode(path) for path in (tmp_path / "run" / "episodes").iterdir()} == {0o600}
    assert {mode(path) for path in (tmp_path / "labels").rglob("*")} == {0o600}
    assert mode(tmp_path / "labels") == 0o700
    assert {mode(path) for path in (tmp_path / "data").rglob("*")} == {0o644}


def test_the_log_of_the_label_database_is_private_while_it_is_open(tmp_path):
    from pbrl.labels.store import LabelStore

    with LabelStore(tmp_path) as store, store.transaction():
        store.db.execute("INSERT INTO signals (name, created_at) VALUES ('continue', 0)")
        assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
        assert (tmp_path / "labels.sqlite-wal").exists()


def test_what_is_there_instead_of_a_folder_is_said(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert no_folder(tmp_path / "file") == "it is a file, expected a folder"
    assert no_folder(Path("/dev/null")) == "it is a device, a pipe or a socket, expected a folder"
    assert no_folder(tmp_path / "link") == "it is a link to nothing, expected a folder"
    assert no_folder(tmp_path / "nothing") == "there is no such folder"
