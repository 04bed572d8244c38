"""A small run, trained once, and copies of it that a test may spoil."""

import shutil
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
