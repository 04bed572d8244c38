"""What all tests share: one torch thread, and one OpenGL back end."""

import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from killed import server
from offline_data import make_data
from tiny import train

from pbrl.cli import main
from pbrl_envs import gl

torch.set_num_threads(1)  # networks of a few units only wait for each other
gl.choose_backend()  # before anything imports PyOpenGL, which binds to one platform per process


@pytest.fixture(scope="session")
def gl_backend() -> str:
    backend = gl.choose_backend()
    if backend is None or gl.probe(backend) is not None:
        pytest.skip(f"no OpenGL back end draws here; {gl.HOW_TO_GET}")
    return backend


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals as a terminal leaves them, here and in processes that a test starts.

    `nohup` hands on that SIGHUP is ignored, and a job in the background of a script that SIGINT is; a program that is
    told to ignore a signal goes on ignoring it, so that a test that sends one would wait for nothing.
    """
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def run():
    """`run(args, kill=None)`: `pbrl ARGS` in a process of its own."""
    with server() as run:
        yield run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`finished(*overrides, method=...)`: the folder of such a run, made once. Not to be written to."""
    done = {}

    def get(*overrides, method="pebble"):
        if (key := (method, *overrides)) not in done:
            done[key] = tmp_path_factory.mktemp("finished") / "run"
            assert train(done[key], *overrides, method=method)[0] == 0
        return done[key]

    return get


@pytest.fixture(scope="session")
def data():
    """What the offline methods are tried on, see `offline_data`."""
    return make_data()


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
