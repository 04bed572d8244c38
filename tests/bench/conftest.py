"""What tests of several executors compare with."""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import LONG, uninterrupted


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of seed 0 that nothing interrupted."""
    return uninterrupted(tmp_path_factory.mktemp("alone") / "s0", 0, LONG)
