"""A small run, trained once, and copies of it that a test may spoil."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pbrl.cli import main

TINY = (
    "env=point_reach",
    "steps=600",
    "agent.learning_starts=50",
    "agent.hidden=[16,16]",
    "method.model.hidden=[16,16]",
    "feedback.first=200",
    "feedback.every=100",
    "feedback.budget=20",
    "feedback.per_session=5",
    "feedback.segment_length=10",
    "evaluation.every=300",
    "evaluation.episodes=3",
    "log_every=100",
    "checkpoint.every=300",
    "checkpoint.keep=2",
    "report=false",
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 600 steps with 20 labels and checkpoints at 300 and 600. Read only."""
    path = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", *TINY, f"run_dir={path}"]) == 0
    return path


@pytest.fixture
def run_dir(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refusal("eval", ...)` runs a command that must fail as wrong input does, and returns its one line."""

    def run(*args: object) -> str:
        capsys.readouterr()
        assert main([str(a) for a in args]) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("pbrl: ")
        assert printed.err.count("\n") == 1, printed.err
        assert printed.out == ""
        return printed.err

    return run


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`output("eval", ...)` runs a command that must work, and returns what it printed."""

    def run(*args: object) -> str:
        capsys.readouterr()
        assert main([str(a) for a in args]) == 0
        return capsys.readouterr().out

    return run
