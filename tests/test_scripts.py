"""The shell scripts, with everything that they call replaced by stubs that write down what they were asked."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [*(ROOT / "scripts" / name for name in ("run.sh", "test.sh", "coverage.sh")), ROOT / ".ci" / "run"]

# Answers as the interpreter of a version would; `-m venv` copies it into the new environment.
PYTHON = """#!{bash}
case "$*" in
    "-c "*) exec "{python}" -c "import sys; sys.version_info = ({version}); $2" ;;
    --version) echo Python {dotted} ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip --version") ;;
    "-m pip install "*)
        echo "$*" >>"$STUBS/log"
        if [[ -e $STUBS/pip_fails ]]; then exit 1; fi
        if [[ -e $STUBS/pip_hangs ]]; then : >"$STUBS/hanging" && exec sleep 60; fi ;;
    *) echo "$* in $PWD" >>"$STUBS/log" ;;
esac
"""
RECORD = """#!{bash}
echo "{name} $*" >>"$STUBS/log"
{then}
"""


class Checkout:
    """A copy of what the scripts need, in a folder with a space in its name, and stubs first on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.root, self.stubs, self.elsewhere = folder / "a checkout", folder / "stubs", folder / "elsewhere"
        for path in (self.root, self.stubs, self.elsewhere):
            path.mkdir()
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root)
        self.python = self.add_python("python3", 3, 11, 7)
        self.stub("dpkg-query", "printf installed")
        self.stub("apt-get")
        self.environment = os.environ | {
            "PATH": f"{self.stubs}:{os.environ['PATH']}",
            "STUBS": str(self.stubs),
            "PIP_NO_INDEX": "1",  # should a real pip be called in spite of the stubs
        }
        for name in ("PYTHON", "PBRL_TORCH_INDEX"):
            self.environment.pop(name, None)

    def add_python(self, name: str, *version: int) -> Path:
        dotted, plain = ".".join(map(str, version)), ", ".join(map(str, version))
        text = PYTHON.format(bash=shutil.which("bash"), python=sys.executable, version=plain, dotted=dotted)
        return self.write(name, text)

    def stub(self, name: str, then: str = "") -> Path:
        return self.write(name, RECORD.format(bash=shutil.which("bash"), name=name, then=then))

    def write(self, name: str, text: str) -> Path:
        path = self.stubs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def start(self, script: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", str(self.root / "scripts" / script), *arguments],
            cwd=self.elsewhere,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that a signal reaches the script and its children only
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job inherits it ignored
        )

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[int, str]:
        started = self.start(script, *arguments, **environment)
        output, _ = started.communicate(timeout=60)
        return started.returncode, output

    def log(self) -> list[str]:
        """What was called since the last look."""
        path = self.stubs / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "scripts" / "setup.sh"], ids=lambda path: path.name)
def test_syntax(script):
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_can_be_executed_and_is_strict(script):
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text()


def test_torch_comes_first_and_alone_then_the_rest_with_pins(checkout):
    code, output = checkout.run("run.sh", "steps=10", "run_dir=a b")
    assert code == 0, output
    pins = f"--disable-pip-version-check -c {checkout.root}/constraints.txt"
    calls = [line for line in checkout.log() if not line.startswith("dpkg-query")]
    assert calls == [
        f"-m pip install --quiet {pins} torch==2.13.0",
        f"-m pip install --quiet {pins} -e {checkout.root}[suites]",
        f"-m pbrl demo steps=10 run_dir=a b in {checkout.elsewhere}",
    ]


def test_second_call_installs_nothing_and_is_quick(checkout):
    checkout.run("test.sh")
    seconds = []
    for _ in range(3):
        checkout.log()
        start = time.monotonic()
        code, output = checkout.run("test.sh", "-k", "wheel")
        seconds.append(time.monotonic() - start)
        assert (code, output) == (0, "")
        assert checkout.log() == [
            f"-m pytest -n auto --dist loadfile --max-worker-restart 1 -k wheel in {checkout.root}"
        ]
    assert min(seconds) < 1


def test_the_test_extra_includes_the_suites_but_not_the_other_way_round(checkout):
    checkout.run("test.sh")
    checkout.log()
    checkout.run("run.sh")
    assert not any("pip install" in line for line in checkout.log())
    shutil.rmtree(checkout.root / ".venv")
    checkout.run("run.sh")
    checkout.log()
    checkout.run("test.sh")
    assert any(line.endswith("[test]") for line in checkout.log())


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(checkout, name):
    checkout.run("test.sh")
    checkout.log()
    with (checkout.root / name).open("a") as file:
        file.write("# changed\n")
    checkout.run("test.sh")
    assert any(line.endswith("[test]") for line in checkout.log())


def test_failed_installation_is_an_error_and_is_tried_again(checkout):
    (checkout.stubs / "pip_fails").touch()
    for _ in range(2):
        code, output = checkout.run("test.sh")
        assert code == 1
        assert "test.sh: pip could not install this" in output
        assert [line[-13:] for line in checkout.log()] == ["torch==2.13.0"]
    (checkout.stubs / "pip_fails").unlink()
    assert checkout.run("test.sh")[0] == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_set_up_is_started_afresh(checkout, how):
    (checkout.stubs / "pip_hangs").touch()
    started = checkout.start("test.sh")
    while not (checkout.stubs / "hanging").exists():
        assert started.poll() is None
        time.sleep(0.01)
    os.killpg(started.pid, how)
    started.communicate(timeout=30)
    assert started.returncode != 0
    (checkout.root / ".venv" / "left_over").touch()
    (checkout.stubs / "pip_hangs").unlink()
    code, output = checkout.run("test.sh")
    assert code == 0
    assert "interrupted: starting afresh" in output
    assert not (checkout.root / ".venv" / "left_over").exists()


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 14, 0)])
def test_unsupported_python_is_named(checkout, version):
    dotted = ".".join(map(str, version))
    old = checkout.add_python("other", *version)
    code, output = checkout.run("run.sh", PYTHON=str(old))
    assert code == 1
    assert output.count("\n") == 1
    assert f"needs Python 3.10, 3.11, 3.12 or 3.13, but {old} is Python {dotted}" in output
    assert not (checkout.root / ".venv").exists()


def test_missing_python_is_named(checkout):
    code, output = checkout.run("run.sh", PYTHON="no_such_python")
    assert code == 1
    assert "but no_such_python is not found" in output


def test_another_python_is_found_if_the_usual_one_is_too_new(checkout):
    checkout.add_python("python3", 3, 14, 0)
    checkout.add_python("python3.12", 3, 12, 1)
    code, output = checkout.run("run.sh")
    assert code == 0
    assert "making .venv with Python 3.12.1" in output


def test_index_for_torch_is_for_torch_alone(checkout):
    checkout.run("run.sh", PBRL_TORCH_INDEX="https://index.invalid/cpu")
    with_index = [line for line in checkout.log() if "--extra-index-url https://index.invalid/cpu" in line]
    assert len(with_index) == 1
    assert with_index[0].endswith("torch==2.13.0")


def test_root_gets_missing_gl_packages(checkout):
    checkout.stub("dpkg-query", "if [[ $* == *libosmesa6 ]]; then exit 1; else printf installed; fi")
    checkout.stub("id", "echo 0")
    code, _ = checkout.run("run.sh")
    assert code == 0
    calls = [line for line in checkout.log() if line.startswith("apt-get")]
    assert calls == ["apt-get update -qq", "apt-get install -qq -y --no-install-recommends libosmesa6"]


@pytest.mark.parametrize("user", [0, 1000])
def test_without_gl_packages_the_set_up_goes_on_and_says_what_to_do(checkout, user):
    checkout.stub("dpkg-query", "exit 1")
    checkout.stub("id", f"echo {user}")
    checkout.stub("apt-get", "exit 100")
    code, output = checkout.run("run.sh")
    assert code == 0
    assert "sudo apt-get install libegl1 libgl1-mesa-dri libosmesa6" in output
    calls = checkout.log()
    assert any("pbrl demo" in line for line in calls)
    assert any(line.startswith("apt-get") for line in calls) == (user == 0)


def test_a_table_of_no_runs_is_no_table(tmp_path):
    script = [sys.executable, ROOT / "scripts" / "results_table.py", tmp_path, "return_mean"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no finished runs" in done.stderr


def test_a_table_has_the_mean_over_seeds_of_any_column_and_what_one_method_has_more(tmp_path):
    """With two seeds, t(0.975, 1) = 12.706 times half their distance; the mean of a curve is its area."""
    returns = {"torch": ((0, 10), (0, 20)), "native": ((20, 40), (20, 20))}
    for method, seeds in returns.items():
        for seed, (first, last) in enumerate(seeds):
            run = tmp_path / "runs" / "reach" / method / "none" / "0" / f"s{seed}"
            run.mkdir(parents=True)
            (run / "summary.json").write_text('{"status": "finished", "wall_s": 90, "reward_accuracy": 0.5}')
            (run / "evaluations.csv").write_text(f"env_steps,return_mean\n0,{first}\n9,{last}\n")
    script = [sys.executable, ROOT / "scripts" / "results_table.py", tmp_path, "return_mean", "reward_*"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert "| reach | torch | 2 | 15 ± 64 | 0.5 ± 0 | 1.5 |" in done.stdout
    areas = subprocess.run([*script[:4], "over=curve", "against=native"], capture_output=True, text=True, check=True)
    assert "| reach | native | 2 | 25 ± 64 | 1.5 |" in areas.stdout
    assert "| reach | torch | return_mean | 17.5 ± 95 | +17.5 (+10 to +25) | +233.3% (+" in areas.stdout
