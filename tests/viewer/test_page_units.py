"""Runs the page's unit tests, which are JavaScript, with Node's own test runner."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TESTS = sorted((HERE / "page").glob("*.test.mjs"))


def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < (20, 19):
        pytest.skip(f"Node {version.strip()} cannot read .js files as modules; 20.19 can")
    return program


@pytest.mark.parametrize("test", TESTS, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_unit(test: Path) -> None:
    done = subprocess.run(
        [node(), "--test", "--test-reporter=spec", str(test)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
