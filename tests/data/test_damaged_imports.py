"""Every file that an import reads, damaged in many ways: one line, exit code 2, soon, and nothing new on the disk."""

import json
import shutil
from pathlib import Path

import damages
import numpy as np
import pytest
from test_tables import film, table, write_csv, write_parquet

from pbrl.cli import main

h5py = pytest.importorskip("h5py", reason="h5py is not installed; get it with: pip install 'pbrl[data]'")
pytest.importorskip("pyarrow", reason="pyarrow is not installed; get it with: pip install 'pbrl[data]'")
FILES = Path(__file__).parent / "files"


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Files of each format, all of which are well."""
    f = tmp_path_factory.mktemp("whole")
    shutil.copytree(FILES / "lerobot_v3", f / "v3")
    shutil.copytree(FILES / "lerobot_v21", f / "v21")
    with h5py.File(f / "demos.hdf5", "w") as file:
        for i in range(3):
            file[f"data/demo_{i}/actions"], file[f"data/demo_{i}/obs/x"] = np.zeros((6, 2)), np.zeros((6, 3))
    steps = {"observations": np.zeros((40, 2)), "actions": np.zeros((40, 2)), "rewards": np.ones(40)}
    np.savez(f / "d4rl.npz", **steps, terminals=np.zeros(40, bool), timeouts=np.arange(40) % 10 == 9)
    np.savez(f / "og.npz", **{k: steps[k] for k in ("observations", "actions")}, terminals=np.arange(40) % 10 == 9)
    np.savez(
        f / "cpl.npz", obs=np.zeros((9, 4, 2)), action=np.zeros((9, 4, 1)), reward=np.zeros((9, 4)), rl_sum=np.ones(9)
    )
    write_csv(f / "steps.csv", table())
    write_parquet(f / "steps.parquet", table())
    for name, length in (("ep_1", 8), ("ep_2", 6), ("ep_10", 10)):
        film(f / "films" / f"{name}.mp4", length, 0)
    write_csv(f / "films" / "steps.csv", table())
    (f / "lists.txt").write_text("0 [2, 12]\n1 [21]\n")
    write_csv(f / "answers.csv", [{"left_episode": "ep_1", "right_episode": "ep_2", "choice": "left"}])
    (f / "answers.jsonl").write_text(
        json.dumps({"left": {"episode": "ep_1"}, "right": {"episode": "ep_10"}, "choice": "left"})
    )
    rows = {"start_indices_1": 0, "end_indices_1": 4, "start_indices_2": 12, "end_indices_2": 16}
    told = {"feedback_type": "comparative", "label": {"3": {"0": 0}}}
    (f / "queries.json").write_text(json.dumps([{"video_info": rows, "label_info": told}]))
    (f / "export").mkdir()
    (f / "export/meta_data.json").write_text(json.dumps({"question": json.dumps({"?": ["left", "right"]})}))
    write_csv(f / "export/label.csv", [rows | {"feedback_type": "comparative", "label": {"3": {"0": 0}}}])
    splits = ("splits=1,0,0", "segment_length=3")
    assert main(["data", "import", str(f / "steps.csv"), f"out={f / 'data'}", *splits]) == 0
    return f


FEW = {name: damages.ANY[name] for name in ("no_file", "folder", "fifo", "empty", "half", "noise")}
V3, V21 = "v3/meta/episodes/chunk-000/file-000.parquet", "v21/data/chunk-000/episode_000001.parquet"
# file, its kind, what is imported, its format, more options, and what is no damage to it
READ = [
    ("v3/meta/info.json", damages.JSON, "v3", "lerobot", ()),
    ("v3/meta/stats.json", FEW, "v3", "lerobot", ()),
    (V3, FEW, "v3", "lerobot", ()),
    ("v3/data/chunk-000/file-000.parquet", FEW, "v3", "lerobot", ()),
    ("v21/meta/episodes.jsonl", FEW | {"no_text": damages.no_text}, "v21", "lerobot", ()),
    ("v21/meta/episodes_stats.jsonl", FEW, "v21", "lerobot", ()),
    (V21, FEW, "v21", "lerobot", ()),
    ("demos.hdf5", damages.ANY, "demos.hdf5", "hdf5", ("obs=x",)),
    ("d4rl.npz", damages.ANY | damages.EMPTY, "d4rl.npz", "d4rl", ()),
    ("og.npz", damages.ANY | damages.EMPTY, "og.npz", "ogbench", ()),
    ("cpl.npz", damages.ANY | damages.EMPTY, "cpl.npz", "cpl", ()),
    ("steps.csv", damages.TEXT, "steps.csv", "tables", ()),
    ("steps.parquet", FEW, "steps.parquet", "tables", ()),
    ("films/ep_2.mp4", damages.ANY, "films", "videos", ()),
    ("films/steps.csv", FEW, "films", "videos", ()),
    ("lists.txt", FEW | {"no_text": damages.no_text}, "lists.txt", "lire", ("data=d4rl.npz", "segment_length=4")),
    ("d4rl.npz", FEW, "lists.txt", "lire", ("data=d4rl.npz", "segment_length=4")),
    ("answers.csv", damages.TEXT, "answers.csv", "comparisons", ("data=data",)),
    ("answers.jsonl", damages.JSON, "answers.jsonl", "comparisons", ("data=data",)),
    ("data/episodes.npz", FEW, "answers.csv", "comparisons", ("data=data",)),
    ("data/episodes.csv", FEW | {"no_text": damages.no_text}, "answers.csv", "comparisons", ("data=data",)),
    ("queries.json", damages.JSON, "queries.json", "uni_rlhf", ("data=d4rl.npz", "choices=left,right")),
    ("export/meta_data.json", FEW | {"no_text": damages.no_text}, "export", "uni_rlhf", ("data=d4rl.npz",)),
    ("export/label.csv", FEW | {"no_text": damages.no_text}, "export", "uni_rlhf", ("data=d4rl.npz",)),
]
NO_DAMAGE = {  # what is left is well
    ("v3/meta/stats.json", "no_file"): "the range of the actions must then be told",
    ("films/steps.csv", "no_file"): "the pictures are observed",
}
VIDEO = "v3/videos/observation.images.top/chunk-000/file-000.mp4"
READ.append((VIDEO, FEW, "v3", "lerobot", ()))
CASES = [(file, name, *rest) for file, kinds, *rest in READ for name in kinds]

NOT_SAID = {  # what a file of this ending is, where the format is not named and the file is not whole
    "demos.hdf5": "an HDF5 file",
    "og.npz": "an npz file",
    "steps.csv": "a CSV file in UTF-8",
    "steps.parquet": "a parquet file",
    "queries.json": "JSON",
}


@pytest.mark.parametrize("name", NOT_SAID)
def test_a_damaged_file_whose_format_is_not_said_is_not_called_unknown(whole, tmp_path, refusal, name):
    cut, empty = tmp_path / name, tmp_path / f"empty{Path(name).suffix}"
    content = (whole / name).read_bytes()
    cut.write_bytes("größe,".encode("latin-1") + content if name.endswith(".csv") else content[: len(content) // 2])
    empty.touch()
    assert f"{cut} is damaged or not {NOT_SAID[name]} (" in refusal("data", "import", f"from={cut}", "out=new")
    assert f"{empty} is empty; valid is" in refusal("data", "import", f"from={empty}", "out=new")
    (tmp_path / "folder").mkdir()
    assert "folder is empty; valid is" in refusal("data", "import", f"from={tmp_path / 'folder'}", "out=new")
    cut.rename(tmp_path / "folder" / name)
    assert f"folder/{name} is damaged or not" in refusal("data", "import", f"from={tmp_path / 'folder'}", "out=new")


@pytest.mark.parametrize(
    ("file", "damage", "source", "kind", "options"), CASES, ids=[f"{c[2]}-{c[0].split('/')[-1]}-{c[1]}" for c in CASES]
)
def test_a_damaged_file_is_one_line(whole, tmp_path, capsys, monkeypatch, file, damage, source, kind, options):
    for path in whole.iterdir():
        (tmp_path / path.name).symlink_to(path)
    top = tmp_path / file.split("/")[0]
    top.unlink()
    (shutil.copytree if (whole / top.name).is_dir() else shutil.copy)(whole / top.name, top)
    [kinds] = [k for f, k, *rest in READ if f == file and tuple(rest) == (source, kind, options)]
    kinds[damage](tmp_path / file)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    length = () if kind in ("lire", "comparisons", "uni_rlhf") else ("segment_length=3",)
    code = main(["data", "import", source, f"format={kind}", "out=new", *length, *options])
    printed = capsys.readouterr()
    if code == 0:
        assert (file, damage) in NO_DAMAGE
        return
    assert code == 2
    assert printed.err.startswith("pbrl: ")
    assert printed.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
