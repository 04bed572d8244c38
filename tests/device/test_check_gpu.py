"""scripts/check_gpu.py, as far as it goes without a GPU."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("check_gpu: device=cuda: ")


@pytest.mark.parametrize("check", ["graph_distance", "stack_distance", "reward_distance"])
def test_the_cpu_agrees_with_itself(check):
    spec = importlib.util.spec_from_file_location("check_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    distance, greatest = getattr(script, check)(torch.device("cpu"))
    assert distance <= greatest
    assert "FAILED" not in script.measured("same", lambda: (distance, greatest))[1]
    assert "FAILED" in script.measured("other", lambda: (2 * greatest, greatest))[1]
    assert "FAILED: ValueError" in script.measured("broken", lambda: float("no"))[1]
