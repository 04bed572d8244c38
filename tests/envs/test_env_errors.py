"""What can go wrong says so in one line; what needs no picture needs no OpenGL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pbrl import install
from pbrl.errors import UserError
from pbrl_envs import gl, registry
from pbrl_envs.suites.dmc import make_dmc
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.suites.metaworld import make_metaworld
from pbrl_envs.suites.robotics import make_robotics

ROOT = Path(__file__).resolve().parents[2]
PIP = install.pip_install().removesuffix(" install")


def run_python(code, **environment):
    variables = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=variables | environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: make_gym("HalfCheeta-v5"), "env.id=HalfCheeta-v5 does not exist; did you mean HalfCheetah-v"),
        (lambda: make_gym("no_such_module:Env-v0"), "cannot import no_such_module"),
        (lambda: make_gym("CartPole-v1"), r"env=CartPole-v1 has actions Discrete\(2\); pbrl needs a bounded Box"),
        (lambda: make_gym("HalfCheetah-v5", {"legs": 3}), "unexpected keyword argument 'legs'; env.make.kwargs go to"),
        (lambda: make_dmc("walker-wlak"), "env.task=walker-wlak does not exist; did you mean walker-walk"),
        (lambda: make_dmc("walker"), "env.task=walker does not exist; "),
        (lambda: make_metaworld("drawer-open-v2", True), "did you mean drawer-open-v3"),
        (lambda: make_robotics("FetchReach-v9"), "did you mean FetchReach-v4"),
    ],
)
@pytest.mark.usefixtures("dmc", "metaworld", "robotics")
def test_unknown_names_are_answered_with_close_ones(make, expected):
    with pytest.raises(UserError, match=expected) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "extra"),
    [
        (lambda: make_dmc("walker-walk"), "env=walker-walk needs dm_control; install it with: {}[dmc]'"),
        (lambda: make_metaworld("reach-v3", True), "needs metaworld; install it with: {}[metaworld]'"),
        (lambda: make_robotics("FetchReach-v4"), "needs gymnasium-robotics; install it with: {}[robotics]'"),
    ],
)
def test_a_missing_suite_says_how_to_get_it(make, extra, monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda module: None)
    with pytest.raises(UserError) as caught:
        make()
    assert extra.format(f"{PIP} install -e '{ROOT}") in str(caught.value)


def test_a_python_that_a_suite_has_no_build_for_is_named(monkeypatch):
    monkeypatch.setattr("pbrl_envs.registry.sys.version_info", (3, 13, 0))
    monkeypatch.setattr("pbrl_envs.registry.find_spec", lambda module: None)
    with pytest.raises(UserError, match=r"^env=walker-walk needs dm_control; .*: Python 3.12 or older, .* for 3.13$"):
        make_dmc("walker-walk")
    with pytest.raises(UserError, match=r"needs metaworld; install it with: .*\[metaworld\]"):
        make_metaworld("reach-v3", True)


def test_suites_lists_what_is_installed_and_how_to_get_the_rest():
    found = registry.suites()
    assert found["gym"].version
    assert found["dmc"].install == f"{PIP} install -e '{ROOT}[dmc]'"


@pytest.mark.usefixtures("metaworld", "dmc", "robotics")
def test_tasks_of_a_suite():
    assert len(registry.tasks("metaworld")) == 50
    assert {"walker-walk", "humanoid-run"} <= set(registry.tasks("dmc"))
    assert "FetchPickAndPlaceDense-v4" in registry.tasks("robotics")
    assert {"HalfCheetah-v5", "pbrl_envs/PointReach-v0"} <= set(registry.tasks("gym"))


def test_importing_the_package_loads_no_simulator():
    code = "import pbrl_envs, sys; sys.exit(bool({'mujoco', 'dm_control', 'metaworld', 'torch'} & set(sys.modules)))"
    assert run_python(code).returncode == 0


@pytest.mark.usefixtures("dmc", "metaworld")
def test_training_opens_no_opengl():
    code = """
import sys
from pathlib import Path
from pbrl_envs.suites.dmc import make_dmc
from pbrl_envs.suites.gym import make_gym
from pbrl_envs.suites.metaworld import make_metaworld
for env in make_dmc("walker-walk"), make_gym("HalfCheetah-v5"), make_metaworld("reach-v3", True):
    env.reset(seed=0)
    env.step(env.action_space.sample())
sys.exit("OpenGL" in sys.modules)
"""
    assert run_python(code).returncode == 0


@pytest.mark.usefixtures("dmc")
@pytest.mark.skipif(sys.platform != "linux", reason="breaks EGL in the way of Linux")
def test_broken_opengl_stops_pictures_but_not_training():
    code = """
from pbrl.errors import UserError
from pbrl_envs.suites.dmc import make_dmc
env = make_dmc("cartpole-swingup")
env.reset(seed=0); env.step(env.action_space.sample())
drawn = make_dmc("cartpole-swingup", render_mode="rgb_array")
drawn.reset(seed=0)
try:
    drawn.render()
except UserError as error:
    print(error)
"""
    done = run_python(code, MUJOCO_GL="egl", __EGL_VENDOR_LIBRARY_DIRS="/nonexistent")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cannot render with MUJOCO_GL=egl (")
    assert "MUJOCO_GL=osmesa" in done.stdout
    assert "libosmesa6" in done.stdout


def test_a_display_or_the_users_choice_is_left_alone(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert gl.choose_backend() == "glfw"
    assert "MUJOCO_GL" not in os.environ
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert gl.choose_backend() == "osmesa"
