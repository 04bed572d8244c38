import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pbrl.commands.list_command import BY_KEY, GROUPS, LISTS, first_comment
from pbrl.config import config_dir
from pbrl_envs.registry import suites

Run = Callable[..., str]


@pytest.mark.parametrize("name", GROUPS)
def test_every_yaml_of_a_group_is_listed_with_its_description(name: str, output: Run):
    lines = {line.split()[0]: line for line in output("list", name).splitlines()[1:] if line.strip()}
    files = list((config_dir() / GROUPS[name][0]).glob("*.yaml"))
    assert files
    for file in files:
        described = lines[file.stem].strip().removeprefix(file.stem).strip()
        assert described, f"{file} says nothing about itself in its first comment"
        assert described in file.read_text()


def test_without_a_name_all_groups_are_listed(output: Run):
    everything = output("list")
    assert [name for name in LISTS if output("list", name).strip() in everything] == list(LISTS)


def test_what_is_no_yaml_is_listed_by_the_names_that_its_command_takes(output: Run, refusal: Run):
    named = ("tabular", "boards", "executors")
    listed = {name: [line.split()[0] for line in output("list", name).splitlines()[1:]] for name in named}
    for word in listed["tabular"]:
        assert word in refusal("tabular", "nothing")
    for word in listed["boards"]:
        assert word in refusal("tabular", "board=nothing")
    assert listed["executors"] == ["local", "stack", "ray", "slurm"]


def test_the_key_that_chooses_names_the_list_too(output: Run):
    for key, name in BY_KEY.items():
        assert output("list", key) == output("list", name)


def test_the_first_comment_is_not_hydras(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("# @package _global_\n# What it is:\n#   details\nsteps: 1\n")
    assert first_comment(file) == "What it is"


def test_without_a_comment_what_it_builds_is_shown(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("_target_: my.Thing\n# later\n")
    assert first_comment(file) == "my.Thing"


def test_own_configs_are_listed_too_and_win(tmp_path: Path, output: Run):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "kitchen.yaml").write_text("# Open the fridge.\nname: kitchen\n")
    (tmp_path / "env" / "hopper.yaml").write_text("# My own hopper.\nname: hopper\n")
    listed = output("list", "envs", "--config-dir", tmp_path)
    assert "Open the fridge." in listed
    assert "My own hopper." in listed
    assert "Hopper-v5" not in listed


def test_tasks_of_a_suite(output: Run):
    if suites()["metaworld"].version is None:
        pytest.skip(f"metaworld is not installed; get it with: {suites()['metaworld'].install}")
    tasks = output("list", "envs", "metaworld").split()
    assert len(tasks) == 50
    assert "drawer-open-v3" in tasks


@pytest.mark.parametrize("args", [["--help"], ["list"], ["eval", "--help"], ["labels", "--help"], ["doctor", "--help"]])
def test_what_only_prints_does_not_import_torch(args: list[str]):
    script = f"import sys; from pbrl.cli import main; main({args}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["environments"], "valid are envs, methods"),
        (["envs", "atari"], "unknown suite 'atari'"),
        (["methods", "pebble"], "takes one name"),
        (["envs", "dmc", "gym"], "takes one name"),
        (["env=hopper"], "unknown key 'env'"),
        (["--config-dir", "/nowhere/at/all"], "no such folder"),
        (["--config-dir"], "--config-dir needs a value"),
        (["--all"], "unknown option --all"),
    ],
)
def test_wrong_input_is_one_line(args: list[str], says: str, refusal: Run):
    assert says in refusal("list", *args)
