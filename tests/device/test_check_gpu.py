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


def load_script():
    spec = importlib.util.spec_from_file_location("check_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.parametrize("check", ["graph_distance", "stack_distance", "reward_distance"])
def test_the_cpu_agrees_with_itself(check):
    script = load_script()
    distance, greatest = getattr(script, check)(torch.device("cpu"))
    assert distance <= greatest
    assert "FAILED" not in script.measured("same", lambda: (distance, greatest))[1]
    assert "FAILED" in script.measured("other", lambda: (2 * greatest, greatest))[1]
    assert "FAILED: ValueError" in script.measured("broken", lambda: float("no"))[1]


def test_a_run_that_fails_after_its_first_evaluation_has_failed(monkeypatch):
    script = load_script()
    fails = (
        "import pathlib, sys; run = pathlib.Path(sys.argv[-1].removeprefix('run_dir=')); run.mkdir();"
        "(run / 'evaluations.csv').write_text('env_steps,labels,return_mean\\n0,0,1\\n'); sys.exit('out of memory')"
    )
    begin = subprocess.Popen
    monkeypatch.setattr(
        script.subprocess, "Popen", lambda command, **how: begin([sys.executable, "-c", fails, command[-1]], **how)
    )
    assert [row[1] for row in script.learning("cuda", 60)] == ["FAILED: out of memory"]
