import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pbrl.cli import main
from pbrl.training.log import read_table
from pbrl.training.run import Run
from pbrl_envs import gl

Call = Callable[..., str]

TINY = (
    "env=point_reach",
    "steps=300",
    "agent.learning_starts=50",
    "agent.hidden=[16,16]",
    "feedback.first=100",
    "feedback.every=100",
    "feedback.budget=10",
    "feedback.per_session=5",
    "feedback.segment_length=10",
    "evaluation.every=100",
    "evaluation.episodes=2",
)


def returns(printed: str) -> dict[str, float]:
    return {who: float(value) for who, value in re.findall(r"^  (\w+ \w+) +return (-?[\d.]+)", printed, re.MULTILINE)}


def test_ends_with_both_returns_and_where_to_look(tmp_path: Path, output: Call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gl, "choose_backend", lambda: None)  # a report without a clip is made sooner
    printed = output("demo", *TINY, f"run_dir={tmp_path / 'run'}")
    rows = read_table(tmp_path / "run" / "evaluations.csv")
    found = returns(printed)
    assert found["this agent"] == pytest.approx(rows[-1]["return_mean"], abs=0.06)
    assert 0 < found["random policy"] < 100  # a step of this task is worth between 0 and 1, and there are 100
    assert "10 labels, 300 steps" in printed
    assert f"see            {tmp_path / 'run' / 'report.html'}" in printed
    assert (tmp_path / "run" / "report.html").is_file()


def test_shows_each_evaluation_where_there_is_no_terminal(tmp_path: Path, output: Call):
    printed = output("demo", *TINY, "report=false", f"run_dir={tmp_path / 'run'}")
    shown = [int(step) for step in re.findall(r"^[\d:]+ step (\d+) of", printed, re.MULTILINE)]
    assert shown == [0, 100, 200, 300]
    assert "random policy" in printed
    assert not (tmp_path / "run" / "report.html").exists()


def test_without_labels_it_says_so(tmp_path: Path, output: Call):
    printed = output("demo", *TINY, "method=true_reward", "report=false", f"run_dir={tmp_path / 'run'}")
    assert "point_reach from its own reward" in printed
    assert "0 labels" in printed


@pytest.mark.usefixtures("usual_signals")
def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    evaluate = Run._evaluate

    def interrupted(run: Run) -> None:
        evaluate(run)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "_evaluate", interrupted)
    assert main(["demo", *TINY, f"run_dir={tmp_path / 'run'}"]) == 130
    assert f"pbrl train resume={tmp_path / 'run'}" in capsys.readouterr().out


def test_the_preset_is_the_one_that_is_promised(output: Call):
    from pbrl.config import compose_config

    config = compose_config(["experiment=demo"])
    assert (config.env.name, config.method.name, config.report) == ("halfcheetah", "pebble", True)
    assert "cheetah" in output("demo", "--help")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["step=3"], "unknown key 'step'"),
        (["steps=0"], "at least 1"),
        (["steps=many"], "expected a whole number"),
        (["env=moon"], "env=moon"),
        (["fast"], "expected key=value"),
        (["--robot"], "unknown option --robot"),
        (["run_dir=FULL"], "exists; choose another"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, args: list[str], says: str, refusal: Call):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    place = [] if any(a.startswith("run_dir") for a in args) else [f"run_dir={tmp_path / 'run'}"]
    assert says in refusal("demo", *(a.replace("FULL", str(tmp_path / "full")) for a in args), *place)
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"
