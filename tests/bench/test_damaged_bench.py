"""What a bench reads, damaged: one line, exit code 2, soon."""

from pathlib import Path

import damages
import pytest
from made_bench import MadeBench

from pbrl.cli import main

KINDS = {"bench.json": damages.JSON, "results.csv": damages.ANY, "curves.csv": damages.ANY, "with.csv": damages.ANY}
NO_CURVES = ("curves.csv", "no_file")  # is well
CASES = [case for name, kinds in KINDS.items() for damage in kinds if (case := (name, damage)) != NO_CURVES]


def one_line(capsys: pytest.CaptureFixture[str], *args: object) -> None:
    assert main([str(a) for a in args]) == 2
    said = capsys.readouterr().err
    assert said.startswith("pbrl: ")
    assert said.count("\n") == 1
    assert said.rstrip("\n").isprintable()


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
