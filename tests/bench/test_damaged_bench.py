"""What a bench reads, damaged: one line, exit code 2, soon."""

from pathlib import Path

import damages
import pytest
from made_bench import MadeBench

from pbrl.cli import main

KINDS = {"bench.json": damages.JSON, "results.csv": damages.ANY, "curves.csv": damages.ANY, "with.csv": damages.ANY}
NO_CURVES = ("curves.csv", "no_file")  # is well
CASES = [case for name, kinds in KINDS.items() for damage in kinds if (case := (name, damage)) != NO_CURVES]


def one_line(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert main([str(a) for a in args]) == 2
    said = capsys.readouterr().err
    assert said.startswith("pbrl: ")
    assert said.count("\n") == 1
    assert said.rstrip("\n").isprintable()
    return said


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_bench_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str):
    folder = MadeBench("reach").add("pebble", {"reach": [0.5, 0.6]}).write(tmp_path / "b")
    (folder / "with.csv").write_bytes((folder / "results.csv").read_bytes())
    KINDS[name][damage](folder / name)
    one_line(capsys, "report", folder, *([f"with={folder / name}"] if name == "with.csv" else []))
    assert not (folder / "report").exists()


@pytest.mark.parametrize("damage", damages.YAML)
@pytest.mark.parametrize(("verb", "key"), [("bench", "grid"), ("tune", "space")])
def test_a_damaged_grid_or_space_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, key: str, damage: str
):
    file = tmp_path / "own.yaml"
    file.write_text("seeds: [0]\n")
    damages.YAML[damage](file)
    one_line(capsys, verb, f"{key}={file}", "env=point_reach", f"out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_a_grid_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "own.yaml"
    file.write_text("envs:\n  pendulum:\n  pendulum:\nmethods:\n  pebble:\n")
    said = one_line(capsys, "bench", f"grid={file}", f"out={tmp_path / 'out'}")
    assert "found duplicate key pendulum, line 3" in said


@pytest.mark.parametrize("word", ["seed=5", "run_dir=runs/one"])
def test_what_the_bench_sets_itself_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str):
    file = tmp_path / "own.yaml"
    file.write_text(f"about: one\ncommon: [{word}]\nenvs:\n  pendulum:\nmethods:\n  pebble:\n")
    assert f"own.yaml, common: {word}: " in one_line(capsys, "bench", f"grid={file}", f"out={tmp_path / 'out'}")


def test_a_dry_run_refuses_what_the_bench_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "own.yaml"
    file.write_text("about: one\nseeds: [0]\nenvs:\n  pendulum: [stepz=3]\nmethods:\n  pebble:\n")
    said = one_line(capsys, "bench", f"grid={file}", f"out={tmp_path / 'out'}", "dry_run=true")
    assert "unknown key 'stepz'; did you mean steps?" in said


@pytest.mark.parametrize("damage", damages.JSON)
def test_a_damaged_board_is_one_line(tmp_path: Path, damage: str):
    from pbrl.errors import UserError, as_line
    from pbrl.tabular.boards import load_board

    file = tmp_path / "board.json"
    file.write_text("[[0, 1]]")
    damages.JSON[damage](file)
    with pytest.raises(UserError) as caught:
        load_board(file)
    assert as_line(caught.value).isprintable()
