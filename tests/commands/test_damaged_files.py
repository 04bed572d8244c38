"""Every file that a command reads, damaged in many ways: one line, exit code 2, soon, and nothing new on the disk.

Files that others wrote are meant: with a checksum that fits, where a folder has one.
"""

import hashlib
import json
import shutil
import zlib
from functools import partial

import damages
import numpy as np
import pytest

from pbrl.cli import main

COLLECT = ("env=point_reach", "+env.make.max_episode_steps=12", "episodes=4", "policies=random", "labels=return")
CUT = ("segments=8", "segment_length=4", "comparisons=4", "heldout=1", "splits=0.5,0.25,0.25")


@pytest.fixture(scope="session")
def whole(tmp_path_factory, trained):
    """A run, a data set, a label set and files to import, all of which are well."""
    folder = tmp_path_factory.mktemp("whole")
    left_out = shutil.ignore_patterns("tensorboard", "videos", "300")
    shutil.copytree(trained, folder / "run", ignore=left_out)
    assert main(["collect", *COLLECT, *CUT, f"out={folder / 'data'}"]) == 0
    assert main(["labels", "export", str(folder / "run"), f"out={folder / 'labels'}"]) == 0
    rng = np.random.default_rng(0)
    pairs = {f"obs_{i}": rng.standard_normal((5, 4, 6)) for i in (1, 2)}
    pairs |= {f"action_{i}": rng.uniform(-1, 1, (5, 4, 2)) for i in (1, 2)}
    np.savez(folder / "pairs.npz", **pairs, label=np.array([0, 0.25, 0.5, 0.75, 1]))
    steps = {"observations": np.zeros((30, 6)), "actions": np.zeros((30, 2)), "rewards": np.ones(30)}
    np.savez(folder / "d4rl.npz", **steps, terminals=np.zeros(30, bool), timeouts=np.arange(30) % 10 == 9)
    for name, column in {"indices": [0, 12], "indices_2": [5, 3], "answers": [1, -1]}.items():
        np.save(folder / f"{name}.npy", column)
    return folder


def by_index(f):
    files = (f"indices={f / 'indices.npy'}", f"indices_2={f / 'indices_2.npy'}", f"labels={f / 'answers.npy'}")
    keys = ("format=preference_transformer", *files, "segment_length=4", f"out={f / 'o'}")
    return ["data", "import", f / "d4rl.npz", *keys]


def offline(method, data, f):
    return ["train", "env=point_reach", f"method={method}", f"data={f / data}", f"run_dir={f / 'o'}"]


COMMANDS = {
    "data info": lambda f: ["data", "info", f / "data"],
    "data export": lambda f: ["data", "export", f / "data", "format=minari", "id=a/b-v0", f"out={f / 'o'}"],
    "labels info": lambda f: ["data", "info", f / "labels"],
    "labels import": lambda f: ["labels", "import", f / "run", f"from={f / 'labels'}"],
    "import pairs": lambda f: ["data", "import", f / "pairs.npz", "format=pairs", f"out={f / 'o'}"],
    "import indices": by_index,
    "labels export": lambda f: ["labels", "export", f / "run", f"out={f / 'o'}"],
    "labels report": lambda f: ["labels", "report", f / "run"],
    "eval": lambda f: ["eval", f / "run", "episodes=1"],
    "eval last": lambda f: ["eval", f / "run", "episodes=1", "checkpoint=last"],
    "report": lambda f: ["report", f / "run"],
    "resume": lambda f: ["train", f"resume={f / 'run'}"],
    "train": partial(offline, "bc", "data"),
    "train on labels": partial(offline, "cpl", "labels"),
}
NEEDED = {
    "labels import": ("run",),
    "import indices": ("d4rl.npz", "indices.npy", "indices_2.npy", "answers.npy"),
}
CHECKPOINT = "run/checkpoints/600"
NO_FILE = ("no_file", "link_loop", "link_to_nothing")
NO_LOG = ("no_file", "empty", "half", "noise")  # SQLite checks its log itself
WHOLE = {name: damage for name, damage in damages.ANY.items() if name != "half"}
# file, its kind, the commands that read it, and what is no damage to it; one file of each kind is damaged in all ways
READ = [
    ("data/meta.json", damages.JSON, ["data info"], {}),
    ("data/meta.json", damages.ANY, ["data export", "train"], {}),
    ("data/episodes.npz", damages.NPZ, ["data info"], {}),
    ("data/segments.npz", damages.ANY | damages.EMPTY, ["data info"], {}),
    ("data/comparisons_return.npz", damages.ANY | damages.EMPTY, ["data info"], {}),
    ("labels/meta.json", damages.JSON, ["labels info"], {}),
    ("labels/meta.json", damages.ANY, ["labels import", "train on labels"], {}),
    ("labels/comparisons.npz", damages.NPZ, ["labels info"], {}),
    ("pairs.npz", damages.ANY | damages.EMPTY | {"bomb": damages.bomb}, ["import pairs"], {}),
    ("d4rl.npz", damages.ANY | damages.EMPTY, ["import indices"], {}),
    ("indices.npy", damages.ANY, ["import indices"], {}),
    ("answers.npy", damages.ANY, ["import indices"], {}),
    ("run/config.yaml", damages.YAML, ["eval"], {}),
    ("run/config.yaml", damages.ANY, ["report", "resume"], {}),
    ("run/config.yaml", WHOLE, ["labels export"], {}),  # half of it may be one, and all that is read there
    ("run/labels.sqlite", damages.ANY, ["labels export", "labels report"], {"labels report empty"}),
    ("run/labels.sqlite-wal", damages.ANY, ["labels export"], {f"labels export {d}" for d in NO_LOG}),
    ("run/episodes/session_00001.npz", damages.ANY | damages.EMPTY, ["labels export"], {}),
    ("run/policy.zip", damages.ZIP, ["eval"], {"eval no_file"}),  # the checkpoint
    ("run/reward.safetensors", damages.ANY, ["eval"], {}),
    ("run/summary.json", damages.JSON, ["eval"], {"eval no_file"}),  # a run that goes on
    ("run/evaluations.csv", damages.TEXT, ["report"], {}),
    ("run/progress.csv", damages.ANY, ["report"], {"report half"}),
    ("run/versions.json", damages.ANY, ["report"], {"report no_file"}),
    ("run/command.txt", damages.ANY, ["report"], {f"report {d}" for d in ("no_file", "empty", "half")}),
    ("run/checkpoints/last", damages.TEXT, ["eval last"], {f"eval last {d}" for d in NO_FILE}),
    (f"{CHECKPOINT}/manifest.json", damages.JSON, ["eval last"], {}),
    (f"{CHECKPOINT}/state.json", damages.JSON, ["eval last"], {}),
    (f"{CHECKPOINT}/tensors.pt", damages.ZIP, ["eval last"], {}),
]
CASES = [
    (file, damage, command, f"{command} {name}" in fine)
    for file, kinds, commands, fine in READ
    for name, damage in kinds.items()
    for command in commands
]


NAMES = [f"{file}-{damage}-{command}" for file, kinds, commands, _ in READ for damage in kinds for command in commands]


@pytest.mark.parametrize(("file", "damage", "command", "fine"), CASES, ids=NAMES)
def test_a_damaged_file_is_one_line(whole, tmp_path, capsys, monkeypatch, file, damage, command, fine):
    path = tmp_path / file
    parts = {file.split("/")[0], *NEEDED.get(command, ())}
    for name in parts:
        copy = shutil.copytree if (whole / name).is_dir() else shutil.copy
        copy(whole / name, tmp_path / name)
    monkeypatch.setattr("pbrl.reports.run_report.film", lambda *args, **options: None)  # takes seconds, reads nothing
    if not path.exists():
        path.touch()  # SQLite's log of a database that is in use
    damage(path)
    fit_checksums(path)
    before = {p.relative_to(tmp_path) for p in tmp_path.iterdir()}
    code = main([str(a) for a in COMMANDS[command](tmp_path)])
    printed = capsys.readouterr()
    print(printed.err)
    assert code == (0 if fine else 2)
    if not fine:
        assert printed.err.startswith("pbrl: ")
        assert printed.err.count("\n") == 1
        assert printed.err.rstrip("\n").isprintable()
        assert {p.relative_to(tmp_path) for p in tmp_path.iterdir()} == before


def fit_checksums(path):
    """What a stranger would do who wants the file to be opened."""
    if not path.is_file() or path.is_symlink():
        return
    meta = path.parent / "meta.json"
    if path.suffix == ".npz" and meta.exists():
        found = json.loads(meta.read_text())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found["sha256"] = digest if isinstance(found["sha256"], str) else found["sha256"] | {path.name: digest}
        meta.write_text(json.dumps(found))
    manifest = path.parent / "manifest.json"
    if path != manifest and manifest.exists():
        content = path.read_bytes()
        facts = {"bytes": len(content), "crc32": zlib.crc32(content)}
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {path.name: facts}))
