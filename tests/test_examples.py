"""The programs and notebooks of examples/ run from an empty folder, cut short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHORT = {  # program: its arguments here, and what it says at the end
    "own_environment.py": (["700"], "report: runs/cart/report.html"),
    "people_label.py": (["1100", "--program"], "10 answers; Run('runs/people', finished"),
    "reward_elsewhere.py": (["1050"], "true return of the agent that never saw it: "),
    "offline_hdf5.py": (["50"], "the policy goes ["),
    "offline_videos.py": (["50"], "from the middle it goes ["),
    "own_method/gentle.py": (["600"], "Run('runs/gentle', finished"),
    "compare_methods.py": (["600", "2"], "p = "),
    "export_run.py": (["600"], "reward (torch): ["),
}
EXTRAS = {"offline_hdf5.py": "h5py"}


@pytest.fixture
def environment():
    return os.environ | {"MPLBACKEND": "agg", "PYTHONWARNINGS": "ignore"}


def test_every_program_is_tried():
    assert {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")} == SHORT.keys()


@pytest.mark.parametrize("program", SHORT)
def test_a_program_runs(program, tmp_path, environment, request):
    if program == "people_label.py":
        request.getfixturevalue("gl_backend")  # clips are drawn
    if program in EXTRAS:
        pytest.importorskip(EXTRAS[program])
    arguments, said = SHORT[program]
    command = [sys.executable, str(EXAMPLES / program), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", SHORT)
def test_a_program_is_short_and_says_how_it_is_called(program):
    text = (EXAMPLES / program).read_text()
    assert text.count("\n") <= 60
    assert f"python examples/{program} [" in text.split('"""')[1]


def test_environments_of_examples_have_names_that_gymnasium_has_not():
    """Else it warns that they are out of date."""
    pages = [*EXAMPLES.rglob("*.py"), *(EXAMPLES.parent / "docs").rglob("*.md")]
    registered = {name for page in pages for name in re.findall(r'register\("([\w/]+)-v\d', page.read_text())}
    assert {"Cart", "Slider"} <= registered
    assert not registered & {spec.name for spec in gymnasium.registry.values()}


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    content = nbformat.read(notebook, as_version=4)
    [parameters] = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = "STEPS = 600"
    nbclient.NotebookClient(content, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    last = content.cells[-1]
    assert any("data" in output for output in last.outputs)


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_printed(notebook):
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(notebook, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
