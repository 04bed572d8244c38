import csv
import json
import shutil
import sys
from types import SimpleNamespace

import pytest

import pbrl.commands.tabular_command as command
from pbrl.cli import main
from pbrl.tabular import study
from pbrl.tabular.beds import Bed, Measured

TINY = ("mdps=3", "sizes=3,10", "iterations=20", "seed=3")
ROWS_PER_MDP = 2 * 2 * 2 * 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The CSV of a study that nothing disturbed. Read only."""
    path = tmp_path_factory.mktemp("study") / "whole.csv"
    assert main(["tabular", *TINY, f"out={path}"]) == 0
    return path


def files(path):
    return {suffix: path.with_suffix(suffix).read_bytes() for suffix in (".csv", ".png")}


def test_a_study_gives_rows_a_table_and_a_figure(output, tmp_path):
    out = tmp_path / "study.csv"
    printed = output("tabular", *TINY, f"out={out}")
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 3 * ROWS_PER_MDP
    assert {row["mdp"] for row in rows} == {"0", "1", "2"}
    page = out.with_suffix(".md").read_text()
    assert page in printed
    assert f"pbrl tabular mdps=3 sizes=3,10 iterations=20 seed=3 out={out}" in page
    assert page.count("| noiseless | regret |") == 2
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(out.with_suffix(".json").read_text())["settings"]["sizes"] == [3, 10]


def test_two_workers_give_the_rows_of_one(output, whole, tmp_path):
    output("tabular", *TINY, "workers=2", f"out={tmp_path / 'two.csv'}")
    assert files(tmp_path / "two.csv") == files(whole)


@pytest.mark.parametrize("left", [0, 17, -40, None])
def test_a_killed_study_goes_on_as_if_it_had_not_been(output, whole, tmp_path, left):
    """Cut off before the first row, within the second world, within the last row, or at the very end."""
    cut = tmp_path / "cut.csv"
    shutil.copy(whole.with_suffix(".json"), cut.with_suffix(".json"))
    header, *lines = whole.read_text().splitlines(keepends=True)
    text = {0: "", 17: "".join(lines[:17]), -40: "".join(lines)[:-40], None: "".join(lines)}[left]
    cut.write_text(header + text)
    output("tabular", f"resume={cut}")
    assert files(cut) == files(whole)


def test_a_study_that_is_stopped_keeps_the_worlds_before(output, whole, tmp_path, monkeypatch):
    def stopped(settings, mdp):
        if mdp == 1:
            raise KeyboardInterrupt
        return make(settings, mdp)

    make, cut = study.mdp_rows, tmp_path / "cut.csv"
    with monkeypatch.context() as patch:
        patch.setattr(study, "mdp_rows", stopped)
        assert main(["tabular", *TINY, f"out={cut}"]) == 130
    assert len(cut.read_text().splitlines()) == 1 + ROWS_PER_MDP
    output("tabular", f"resume={cut}", "workers=1")
    assert files(cut) == files(whole)


def test_a_board_by_name_or_file(output, tmp_path):
    (tmp_path / "mine.json").write_text("[[0, 3, 0], [0, 4, 0], [0, 0, 1]]")
    for board in ("two_goals", tmp_path / "mine.json"):
        out = tmp_path / f"{len(str(board))}.csv"
        printed = output("tabular", f"board={board}", "mdps=2", "sizes=5", "iterations=5", f"out={out}")
        assert f"n = 2\ndata sets on the board {board}" in printed


def test_the_default_name_is_the_next_free_one(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tabular.png").write_text("mine")
    output("tabular", "mdps=1", "sizes=3", "iterations=1")
    assert (tmp_path / "tabular_2.csv").exists()
    assert (tmp_path / "tabular.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("mdps=0", "mdps=0: expected a whole number of at least 1"),
        ("sizes=3,x", "sizes=3,x: expected whole numbers of at least 1, with commas"),
        ("sizes=0", "sizes=0: expected whole numbers"),
        ("sizes=10,3", "sizes=10,3: expected each number once, in rising order"),
        ("sizes=", "sizes=: expected whole numbers"),
        ("labels=noisy", "labels=noisy: valid are noiseless, stochastic or both"),
        ("labels=noiseless,noiseless", "labels=noiseless,noiseless: valid are"),
        ("seed=-1", "seed=-1: expected a whole number of at least 0"),
        ("workers=0", "workers=0: expected a whole number of at least 1"),
        ("learning_rate=nan", "learning_rate=nan: expected a number above 0 and up to 100"),
        ("learning_rate=fast", "learning_rate=fast: expected a number above 0"),
        ("board=nowhere", "board nowhere is missing; valid are brick_shortcut, coin_detour"),
        ("out=study.txt", "out=study.txt: expected a name that ends with .csv"),
        ("out=no/such/file.csv", "out=no/such/file.csv: there is no folder no/such"),
        ("mdp=3", "unknown key 'mdp': valid are mdps, sizes, labels, board"),
        ("study", "unknown test bed 'study': valid are rlif, spo, "),
        ("resume=nowhere.csv", "nowhere.json is missing; valid is the NAME.csv of a study"),
    ],
)
def test_bad_input_is_one_line(refusal, word, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal("tabular", word).startswith(f"pbrl: {said}")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(refusal, tmp_path):
    (tmp_path / "study.md").write_text("mine")
    said = refusal("tabular", f"out={tmp_path / 'study.csv'}")
    assert f"{tmp_path / 'study.md'} exists and is not overwritten" in said
    assert [p.name for p in tmp_path.iterdir()] == ["study.md"]


def test_what_cannot_be_resumed(output, refusal, tmp_path):
    out = tmp_path / "study.csv"
    output("tabular", "mdps=1", "sizes=3", "iterations=1", f"out={out}")
    assert "mdps= is settled by resume=" in refusal("tabular", f"resume={out}", "mdps=5")
    rows = out.read_text()
    out.write_text(rows.replace("\n0,", "\n7,"))
    assert "has other rows than its .json asks for" in refusal("tabular", f"resume={out}")
    out.write_text("a,b\n1,2\n")
    assert "is not the CSV of a study" in refusal("tabular", f"resume={out}")
    out.unlink()
    assert "study.csv is missing" in refusal("tabular", f"resume={out}")
    out.with_suffix(".json").write_text('{"settings": {}}')
    assert "does not hold the settings of a study" in refusal("tabular", f"resume={out}")


def test_help_names_every_key(output):
    text = output("tabular", "--help")
    for key in command.KEYS:
        assert f"{key}=" in text


def test_a_bed_gives_rows_a_table_and_a_figure_of_all_seeds(output, refusal, tmp_path, monkeypatch):
    def run(seed):
        return [Measured("easy", "ours", 2 + seed), Measured("easy", "theirs", 1), Measured("hard", "ours", -1)]

    made = SimpleNamespace(BED=Bed("Ours is better.", "a toy", "points", run, seeds=3))
    monkeypatch.setitem(sys.modules, "pbrl.tabular.intervention_grid", made)
    out = tmp_path / "bed.csv"
    printed = output("tabular", "rlif", "seed=4", f"out={out}")
    rows = list(csv.DictReader(out.open()))
    assert [(row["seed"], row["arm"], row["value"]) for row in rows[:3]] == [
        ("4", "ours", "6"),
        ("4", "theirs", "1"),
        ("4", "ours", "-1"),
    ]
    assert len(rows) == 3 * 3
    assert "| easy | 7.00 (4.52 to 9.48) | 1.00 (1.00 to 1.00) |" in printed  # 6, 7, 8: t of 2 degrees is 4.303
    assert "| hard | -1.00 (-1.00 to -1.00) |  |" in printed
    assert out.with_suffix(".md").read_text() in printed
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "is not overwritten" in refusal("tabular", "rlif", f"out={out}")
    assert "unknown test bed 'rlfi'" in refusal("tabular", "rlfi")
    assert "takes one test bed, 2 given" in refusal("tabular", "rlif", "spo")
    assert "unknown key 'mdps'" in refusal("tabular", "rlif", "mdps=3")
