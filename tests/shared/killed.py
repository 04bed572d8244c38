"""Commands in processes of their own, killed (SIGKILL: nothing is cleaned up) at a chosen call."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Kill(NamedTuple):
    """The n-th call of `where` ("module:name" or "module:Class.name") ends the process."""

    where: str
    n: int
    when: str = "before"  # the call, "after" it, or "torn": after it, with the file it wrote cut in half


def fork(action: Callable[[], int | None], kills: list[Kill]) -> int:
    """An action in a forked process; its exit code, -9 if it was killed. The kills share one count of calls."""
    pid = os.fork()
    if pid == 0:
        code, count = 1, itertools.count(1)
        try:
            for kill in kills:
                _arm(kill, count)
            code = action() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextlib.contextmanager
def server() -> Iterator[Callable[..., int]]:
    """`run(args, kill=None)`: the exit code of `pbrl ARGS` in a process forked from one that has imported it all."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(args: list[str], kill: Kill | None = None) -> int:
        process.stdin.write(json.dumps([args, kill]) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(60)


def _serve() -> None:
    import torch

    from pbrl.cli import main
    from pbrl.config import compose_config

    for module in ("torch._dynamo", "torch.utils.tensorboard", "pbrl.training.start", "pbrl_envs.suites.gym"):
        importlib.import_module(module)  # which takes seconds
    torch.set_num_threads(1)
    compose_config([])  # Hydra's parser builds its tables at first use
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        args, kill = json.loads(line)
        print(fork(lambda args=args: main(args), [Kill(*kill)] if kill else []), file=answers, flush=True)


def _arm(kill: Kill, count: itertools.count) -> None:
    module, _, path = kill.where.partition(":")
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)

    def counted(*args, **kwargs):
        if next(count) != kill.n:
            return original(*args, **kwargs)
        if kill.when != "before":
            original(*args, **kwargs)
        if kill.when == "torn":
            for path in args:
                if isinstance(path, Path) and path.is_file():
                    os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, counted)


if __name__ == "__main__":
    _serve()
