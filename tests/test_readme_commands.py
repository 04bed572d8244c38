"""scripts/readme_commands.py, on pages made up for it."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "readme_commands.py"
spec = importlib.util.spec_from_file_location("readme_commands", SCRIPT)
assert spec is not None
assert spec.loader is not None
readme_commands = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readme_commands)

TINY = "agent.hidden=[8] method.model.hidden=[8] method.critic_updates=1 report=false"
PAGE = f"""# A page

```sh
git clone somewhere    # not ours
pbrl --version
$ pbrl list envs
```

```text
pbrl nonsense
```

1. In a list, and over two lines:
   ```sh
   # this trains
   pbrl train env=point_reach steps=100000 {TINY} \\
       run_dir=runs/first
   ```

Then `pbrl nonsense` and

```sh
pbrl labels report RUN_DIR
MUJOCO_GL=egl pbrl eval runs/first episodes=50   # all of them
pbrl train resume=RUN_DIR
```
"""


@pytest.fixture
def page(tmp_path):
    def write(text):
        path = tmp_path / "page.md"
        path.write_text(text)
        return [str(path)]

    return write


def test_lines_are_those_of_sh_blocks(page):
    assert list(readme_commands.lines(PAGE)) == [
        "git clone somewhere    # not ours",
        "pbrl --version",
        "pbrl list envs",
        f"pbrl train env=point_reach steps=100000 {TINY} run_dir=runs/first",
        "pbrl labels report RUN_DIR",
        "MUJOCO_GL=egl pbrl eval runs/first episodes=50   # all of them",
        "pbrl train resume=RUN_DIR",
    ]


@pytest.mark.parametrize("line", ["pbrl label data=clips out=labels pairs=50", "pbrl data info data=clips"])
def test_what_trains_nothing_is_given_no_settings_of_training(line):
    assert readme_commands.shorten(readme_commands.read_command(line)) == line.split()[2:]


def test_every_command_of_a_good_page_is_run(page, capfd, monkeypatch):
    monkeypatch.setattr(readme_commands, "TRAIN", ())
    monkeypatch.setitem(readme_commands.SHORT, "train", ("steps=120", "feedback.first=100", "evaluation.episodes=1"))
    code = readme_commands.main(page(PAGE))
    output = capfd.readouterr().out
    assert code == 0, output
    assert "not run: git clone somewhere" in output
    assert [line for line in output.splitlines() if line.startswith("run: ")] == [
        f"run: {line}" for line in list(readme_commands.lines(PAGE))[1:]
    ]
    assert "labels report runs/first" in output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pbrl nonsense", "unknown command 'nonsense'"),
        ("pbrl list nothing", "nothing"),
        ("pbrl train env=point_reach stepz=10", "did you mean steps"),
        ("pbrl eval RUN_DIR", "RUN_DIR"),
        ("bash scripts/no_such.sh", "No such file"),
    ],
)
def test_broken_command_fails(page, capfd, line, message):
    assert readme_commands.main(page(f"```sh\npbrl --version\n{line}\npbrl --help\n```\n")) == 1
    output = capfd.readouterr().out
    assert message in output
    assert f"failed: {line}" in output
    assert "--help" not in output


def test_page_without_commands_fails(page, capfd):
    assert readme_commands.main(page("# A page\n\n```text\npbrl --version\n```\n")) == 1


def test_slow_command_fails(page, capfd, monkeypatch):
    monkeypatch.setattr(readme_commands, "TIMEOUT_S", 0.01)
    assert readme_commands.main(page("```sh\npbrl doctor\n```\n")) == 1


@pytest.mark.parametrize("line", ["pbrl list envs | head", "pbrl --help > out", "pbrl --help; pbrl doctor", "pbrl $X"])
def test_more_than_a_plain_command_is_refused(line):
    with pytest.raises(SystemExit, match="plain command"):
        readme_commands.read_command(line)


def test_short_settings_replace_those_of_the_page():
    command = readme_commands.read_command("pbrl train env=walker-walk steps=200000 seed=0")
    assert readme_commands.shorten(command) == ["env=walker-walk", "seed=0", *readme_commands.SHORT["train"]]


def test_a_run_on_data_is_shortened_in_its_own_keys():
    command = readme_commands.read_command("pbrl train method=cpl data=runs/point steps=2000")
    assert readme_commands.shorten(command) == ["method=cpl", "data=runs/point", *readme_commands.OFFLINE]


def test_scripts_are_those_of_the_checkout():
    command = readme_commands.read_command("bash scripts/run.sh seed=3")
    assert command.program == ["bash", str(SCRIPT.parent / "run.sh")]
    assert readme_commands.shorten(command) == ["seed=3", *readme_commands.TRAIN]
