"""Folders are taken by whatever name they have, a refused command leaves none behind, and printing never fails."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pbrl.cli import main
from pbrl.config import compose_config
from pbrl.errors import UserError
from pbrl.files import expand_home, new_folder, replacing
from pbrl.terminal import print_what_it_can

QUICK = (
    "method=true_reward",
    "steps=60",
    "agent.learning_starts=20",
    "agent.hidden=[8,8]",
    "evaluation.episodes=1",
    "report=false",
)
ODD_NAMES = (
    "läufe/a",
    "my runs (new), 1+2/it's",
    "[x]{y}",
    "$HOME",
    "2024_01_02",
    "1e3",
    "true",
    "a=b",
    "x\\",
    "ランズ",
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("key", ["run_dir", "data", "teacher.labels"])
def test_any_name_of_a_folder_is_taken_as_it_stands(key, name):
    config = compose_config(["teacher=replay", f"{key}={name}"])
    for part in key.split("."):
        config = config[part]
    assert config == name


def test_a_folder_in_quotes_and_none_at_all_mean_what_they_did():
    config = compose_config(["run_dir='my runs'", "data=null"])
    assert (config.run_dir, config.data) == ("my runs", None)


def test_words_with_letters_of_any_alphabet_need_no_quotes():
    assert compose_config(["env=gym", "env.id=mäuse:Läuft-v0"]).env.id == "mäuse:Läuft-v0"
    with pytest.raises(UserError, match="cannot be read"):
        compose_config(["agent.hidden=[8,"])


def test_yamls_of_a_folder_with_any_name(tmp_path):
    folder = tmp_path / "meine Übungen, 1"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "kurz.yaml").write_text("# @package _global_\nsteps: 21\ndata: ~/sets\n")
    config = compose_config(["experiment=kurz"], str(folder))
    assert config.steps == 21
    assert config.data == str(Path.home() / "sets")


def test_the_tilde_is_the_home_folder(home):
    at = str(home)
    assert expand_home("~/a") == f"{at}/a"
    assert expand_home("run:~/a@500,expert:1,run:~") == f"run:{at}/a@500,expert:1,run:{at}"
    assert expand_home("a~/b") == "a~/b"
    assert expand_home("./~/b") == "./~/b"


def test_the_tilde_is_the_home_folder_in_every_command(home, capsys):
    sizes = ("episodes=6", "segments=20", "segment_length=10", "comparisons=5", "heldout=2")
    collect = ("collect", "env=point_reach", *sizes)
    assert main([*collect, "policies=random", "out=~/sets/data"]) == 0
    assert main(["data", "info", "~/sets/data"]) == 0
    assert main(["train", "env=point_reach", *QUICK, "run_dir=~/läufe/a"]) == 0
    assert main(["eval", "~/läufe/a", "episodes=1", "out=~/numbers.json"]) == 0
    assert main([*collect, "policies=run:~/läufe/a", "out=~/sets/own"]) == 0
    assert {path.name for path in home.iterdir()} == {"sets", "läufe", "numbers.json"}
    assert json.loads((home / "numbers.json").read_text())["run"] == str(home / "läufe/a")
    assert os.listdir() == []
    capsys.readouterr()


def test_refused_commands_leave_no_folder(home, capsys):
    Path("grid.yaml").write_text(
        "about: x\nseeds: 1\nbudgets: [5]\nenvs: {p: {set: [env=nowhere]}}\nmethods: {pebble: }\n"
    )
    for words in (
        ("train", "env=gym", "env.id=Pendulm-v1"),
        ("train", "env=gym", "env.id=Pendulm-v1", "run_dir=a/b/c"),
        ("train", "env=point_reach", *QUICK, f"run_dir=a/b/{'x' * 300}"),
        ("bench", "grid=grid.yaml", "out=a/b/c"),
        ("tune", "space=pebble", "env=nowhere", "out=a/b/c"),
        ("collect", "env=point_reach", "episodes=6", "segment_length=500", "policies=random", "out=a/b/c"),
    ):
        assert main(list(words)) == 2
        assert os.listdir() == ["grid.yaml"], words
    Path("mine").mkdir()
    assert main(["train", "env=gym", "env.id=Pendulm-v1", "run_dir=mine"]) == 2
    assert os.listdir("mine") == []  # what was there stays
    capsys.readouterr()


def test_a_name_that_is_too_long_is_one_line(home, capsys):
    long = "x" * 300
    for words in (
        ("train", "env=point_reach", *QUICK, f"run_dir={long}"),
        ("train", f"resume={long}"),
        ("train", "env=point_reach", "method=bc", f"data={long}"),
        ("eval", long),
        ("collect", "env=point_reach", f"out={long}"),
        ("data", "info", long),
        ("bench", "grid=smoke", f"out={long}"),
        ("tune", "space=pebble", "env=pendulum", f"out={long}"),
        ("report", long),
        ("label", f"run={long}"),
    ):
        assert main(list(words)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "File name too long" in error
    assert os.listdir() == []


def test_the_longest_names_that_there_are_can_be_written(tmp_path):
    with new_folder(tmp_path / ("ü" * 127)) as folder:
        (folder / "a").touch()
    with replacing(tmp_path / ("é" * 125 + ".json")) as partial:
        partial.write_text("{}")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_printing_never_fails(encoding, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    print_what_it_can()
    print("1.0 ± 0.5 → läufe/\udce4 ≤")
    out.flush()
    printed = out.buffer.getvalue().decode(encoding)
    expected = {
        "ascii": "1.0 +- 0.5 -> l\\xe4ufe/\\udce4 <=\n",
        "latin-1": "1.0 ± 0.5 -> läufe/\\udce4 <=\n",
        "utf-8": "1.0 ± 0.5 → läufe/\\udce4 ≤\n",
    }
    assert printed == expected[encoding]


def test_a_terminal_that_knows_ascii_alone_gets_all_lines(trained, tmp_path):
    command = [sys.executable, "-m", "pbrl", "eval", str(trained), "episodes=1", f"out={tmp_path / 'läufe.json'}"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b" +- " in done.stdout
    assert b"l\\xe4ufe.json" in done.stdout


def test_bytes_that_are_no_text_are_refused(home, capsys):
    assert main(["train", "env=point_reach", *QUICK, "run_dir=\udce4/a"]) == 2
    assert "not text in UTF-8" in capsys.readouterr().err
    assert os.listdir() == []
