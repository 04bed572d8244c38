import pytest
from killed import server
from tiny import train


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
