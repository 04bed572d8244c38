"""What users install: the wheel holds what it should and nothing else, and works without the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from pbrl import __version__
from pbrl.native import build

ROOT = Path(__file__).resolve().parents[1]
TIMED_IMPORT = """
import sys, time
start = time.perf_counter()
import pbrl
seconds = time.perf_counter() - start
print(seconds, *sorted({"torch", "gymnasium", "mujoco", "hydra", "stable_baselines3"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source archive, as on release: what that lacks, the wheel lacks."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = out.glob("*.whl")
    return path


def test_an_index_would_take_both_archives(wheel):
    pytest.importorskip("twine", reason="in the extra release")
    archives = [*map(str, wheel.parent.iterdir())]
    assert len(archives) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *archives]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_source_archive_has_what_its_readme_and_tests_name(wheel):
    [path] = wheel.parent.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"mkdocs.yml", "CHANGELOG.md", "CITATION.cff", "docs/pebble.md", "constraints.txt"} <= names


@pytest.fixture(scope="module")
def names(wheel):
    return zipfile.ZipFile(wheel).namelist()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs a command of a new environment, in an empty folder. The environment has the wheel, and sees
    the packages of this one but not its editable pbrl: folders named in a .pth file have their own .pth files ignored.
    """
    prefix = tmp_path_factory.mktemp("environment")
    venv.create(prefix, with_pip=False, symlinks=os.name != "nt")
    python = prefix / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True, timeout=600)
    [site] = prefix.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(program, *arguments):
        folder = tmp_path_factory.mktemp("empty")
        command = [str(prefix / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, folder

    for package in ("pbrl", "pbrl_envs"):
        where, _ = run("python", "-c", f"import {package}; print({package}.__file__)")
        assert where.startswith(str(site)), f"{package} is imported from {where}"
    return run


def test_top_level_has_the_two_packages_only(names):
    assert {n.split("/")[0] for n in names} == {"pbrl", "pbrl_envs", f"pbrl-{__version__}.dist-info"}


def test_wheel_has_the_files_of_the_packages_and_no_others(names):
    of_packages = {str(p.relative_to(ROOT)) for p in (ROOT / "pbrl").rglob("*") if p.is_file()}
    of_packages |= {str(p.relative_to(ROOT / "envs")) for p in (ROOT / "envs").rglob("*") if p.is_file()}
    expected = {name for name in of_packages if "__pycache__" not in name}
    expected |= {f"pbrl/configs/{p.relative_to(ROOT / 'configs')}" for p in (ROOT / "configs").rglob("*.yaml")}
    assert {n for n in names if ".dist-info/" not in n} == expected | set(kernels())


def kernels():
    """The compiled kernels of a wheel that is built here."""
    return [f"pbrl/native/{build.library_name(kind)}" for kind in build.kinds_of_machine() if build.compiler()]


def test_the_wheel_with_a_kernel_is_for_this_machine_and_any_python(wheel):
    expected = sysconfig.get_platform().replace("-", "_").replace(".", "_") if kernels() else "any"
    assert wheel.name.endswith(f"-py3-none-{expected}.whl")


@pytest.mark.skipif(not build.compiler() or not build.runnable(), reason="no kernel can be built here")
def test_the_installed_kernel_is_that_of_the_wheel(installed):
    found, _ = installed("python", "-c", "from pbrl.native.binding import load; print(load()[0].path.parent.parent)")
    package, _ = installed("python", "-c", "import pbrl; print(pbrl.__path__[0])")
    assert found == package


def test_configs_are_those_of_the_checkout(wheel, names):
    archive = zipfile.ZipFile(wheel)
    configs = [n for n in names if n.startswith("pbrl/configs/")]
    assert len(configs) > 30
    for name in configs:
        assert archive.read(name) == (ROOT / name.removeprefix("pbrl/")).read_bytes(), name


def test_one_console_script(wheel, names):
    [entry_points] = [n for n in names if n.endswith("entry_points.txt")]
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert text.splitlines() == ["[console_scripts]", "pbrl = pbrl.cli:main"]


def test_one_version(wheel, names):
    [metadata] = [n for n in names if n.endswith("dist-info/METADATA")]
    assert message_from_bytes(zipfile.ZipFile(wheel).read(metadata))["Version"] == __version__


def test_installed_wheel_trains(installed):
    questions = ["feedback.first=100", "feedback.budget=2", "feedback.segment_length=10", "method.critic_updates=1"]
    settings = ["env=point_reach", "steps=110", "evaluation.episodes=1", "agent.hidden=[8]", "report=false"]
    _, folder = installed("pbrl", "train", *settings, *questions, "run_dir=here")
    assert json.loads((folder / "here" / "summary.json").read_text())["labels"] == 2
    assert (folder / "here" / "policy.zip").is_file()


def test_installed_wheel_lists_environments(installed):
    assert "point_reach" in installed("pbrl", "list", "envs")[0]


def test_module_and_console_script_are_the_same(installed):
    assert installed("python", "-m", "pbrl", "--version")[0].strip() == __version__
    assert installed("python", "-m", "pbrl", "--help")[0] == installed("pbrl", "--help")[0]


def test_import_is_quick_and_light():
    command = [sys.executable, "-c", TIMED_IMPORT]
    done = [subprocess.run(command, capture_output=True, text=True, timeout=60) for _ in range(5)]
    seconds, heavy = zip(*((float(words[0]), words[1:]) for words in (d.stdout.split() for d in done)), strict=True)
    assert not any(heavy)
    assert min(seconds) < 0.3, seconds
